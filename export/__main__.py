"""`python -m mim_tf.export`: the trained ranker, its tables and the encoders as SavedModels for TF Serving."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

from mim_tf.commandline import command_parser, options_of, run_command, set_keras_mode, settings_of, stage_parser
from mim_tf.errors import SettingsError
from mim_tf.settings import Settings
from mim_tf.workdir import StageFolder

_EPILOG = """\
Writes DIR/<export.model_name>/<version>/ and prints the folder. The SavedModel holds the network and every item's
embedding and needs nothing but TensorFlow. Serve it with TF Serving, or with python -m mim_tf.serving --models DIR
where there is none. Of several trainings (rank.seeds) it is the first.

With --shards P the embeddings are served apart, by P machines, and mim_tf.serving.client.open_ranker brings both
together: DIR/<model>_table_<p>/<version>/ hold a part of them each, DIR/<model>/<version>/ the network. Another P takes
no training. Give it, and whole rankers, another DIR: start its servers, then let the clients go over to them.

Every model is written aside and gets warm-up records of real rows. It is published only after it passed the gate: it
answers as the training model does, in a fresh process and in TensorFlow's C API (where there is a C++ compiler), with
stock ops and nothing large in its graph. `inspect` prints what a version holds and what it came from.

What is exported is the newest version of the store. It is tagged <model>-<version> there, so that compaction keeps what
a server must catch up from: remove old folders and their tags together. A version is above all that DIR holds and all
that are tagged.

examples:
  python -m mim_tf.export --config configs/demo.yaml --workdir build/demo --to build/demo/models
  python -m mim_tf.export --config configs/demo.yaml --workdir build/demo --to build/demo/sharded --shards 4 --encoders
  python -m mim_tf.export inspect build/demo/models/ranker
"""


def main() -> None:
    """Run the command."""
    if sys.argv[1:2] == ["inspect"]:
        _inspect(sys.argv[2:])
        return
    parser = stage_parser("export", "Export the trained ranker as a SavedModel.", _EPILOG)
    parser.add_argument("--to", required=True, metavar="DIR", help="folder of the served models")
    parser.add_argument("--shards", type=int, metavar="P", help="cut the table into P models of their own")
    parser.add_argument("--tables-only", action="store_true", help="with --shards: the tables, without the network")
    parser.add_argument(
        "--encoders", action="store_true", help="export item_encoder, of new items, and query_encoder, of images, too"
    )
    arguments = parser.parse_args()
    settings = settings_of(arguments)
    _check(arguments, settings)
    stage = "represent" if arguments.tables_only else "rank"
    StageFolder(arguments.workdir, stage).require(settings, shlex.join(options_of(arguments)))
    set_keras_mode(legacy=True)
    _publish(arguments, settings)


def _inspect(arguments: list[str]) -> None:
    parser = command_parser("export inspect", "What a published model holds and came from.", "")
    parser.add_argument("folder", type=Path, metavar="DIR", help="of a version, or of a model, for its highest version")
    folder = parser.parse_args(arguments).folder
    from mim_tf.export.inspection import inspect

    print(inspect(folder))


def _check(arguments: argparse.Namespace, settings: Settings) -> None:
    if arguments.tables_only and arguments.shards is None:
        raise SettingsError("--tables-only is for tables of their own: give --shards too.")
    if settings.rank.embeddings != "table" and not arguments.tables_only:
        raise SettingsError(
            "`rank.embeddings` must be table for an export, because serving runs no encoder: train with that in "
            f"another --workdir. Received: {settings.rank.embeddings}."
        )


def _publish(arguments: argparse.Namespace, settings: Settings) -> None:
    from mim_tf.export.publication import publish_encoders, publish_ranker, publish_shards

    run = settings, Path(arguments.workdir), Path(arguments.to)
    if arguments.encoders:  # first: an older run may lack them
        print("\n".join(map(str, publish_encoders(*run))), flush=True)
    if arguments.shards is None:
        print(publish_ranker(*run))
    else:
        print("\n".join(map(str, publish_shards(*run, arguments.shards, network=not arguments.tables_only))))


if __name__ == "__main__":
    run_command(main)
