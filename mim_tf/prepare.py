"""`python -m mim_tf.prepare`: the shop's catalogue and logs to training records."""

from __future__ import annotations

import shlex
from pathlib import Path

from mim_tf.commandline import add_engine, engine_of, options_of, run_command, settings_of, stage_parser
from mim_tf.training.stages import run_stage

_EPILOG = """\
input (Parquet, CSV or JSON lines; a file, a folder or a URI), named in the config's `data` section:
  items        item_id (int64 or string), title, category, and image (encoded bytes) or image_path
  impressions  user_id, item_id, timestamp (int64 seconds), label (0 or 1)
  pairs        query_image, item_id, action (click or purchase); optional, mined from purchases where absent

A missing column or a wrong type stops the command with the whole list of them. A bad row (an image that does not
decode, an unknown item, an empty title ...) is left out, counted, and written to DIR/prepare/records/rejects.parquet
with its reason.

example:
  python -m mim_tf.prepare --config configs/demo.yaml --workdir build/demo
"""


def main() -> None:
    """Run the command."""
    parser = stage_parser("prepare", "Check the shop's data and turn it into training records.", _EPILOG)
    add_engine(parser)
    arguments = parser.parse_args()
    options, engine = shlex.join(options_of(arguments)), engine_of(arguments)
    run_stage("prepare", settings_of(arguments), Path(arguments.workdir), options, engine=engine)


if __name__ == "__main__":
    run_command(main)
