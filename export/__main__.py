"""`python -m mim_tf.export`: the trained ranker as a SavedModel for TF Serving."""

from __future__ import annotations

import shlex
from pathlib import Path

from mim_tf.commandline import options_of, run_command, set_keras_mode, settings_of, stage_parser
from mim_tf.errors import SettingsError
from mim_tf.workdir import StageFolder

_EPILOG = """\
Writes DIR/<export.model_name>/<version>/, the version one above the highest there, and prints the folder. The
SavedModel holds the network and every item's embedding and needs nothing but TensorFlow. Serve it with TF Serving,
or with python -m mim_tf.serving --models DIR where there is none. Of several trainings (rank.seeds) it is the first.

example:
  python -m mim_tf.export --config configs/demo.yaml --workdir build/demo --to build/demo/models
"""


def main() -> None:
    """Run the command."""
    parser = stage_parser("export", "Export the trained ranker as a SavedModel.", _EPILOG)
    parser.add_argument("--to", required=True, metavar="DIR", help="folder of the served models")
    arguments = parser.parse_args()
    settings, workdir = settings_of(arguments), Path(arguments.workdir)
    if settings.rank.embeddings != "table":
        raise SettingsError(
            "`rank.embeddings` must be table for an export, because serving runs no encoder: train with that in "
            f"another --workdir. Received: {settings.rank.embeddings}."
        )
    StageFolder(workdir, "rank").require(settings, shlex.join(options_of(arguments)))
    set_keras_mode(legacy=True)
    from mim_tf.data.record_schema import RecordSchema
    from mim_tf.export.saved_model import export_ranker
    from mim_tf.training.models import records_folder
    from mim_tf.training.rank import load_ranker

    dtypes = RecordSchema.load(records_folder(StageFolder(workdir, "prepare"))).fields("impressions")
    ranker = load_ranker(settings, workdir, "model")
    version = export_ranker(ranker, Path(arguments.to) / settings.export.model_name, dtypes=dtypes)
    print(version)


if __name__ == "__main__":
    run_command(main)
