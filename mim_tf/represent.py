"""`python -m mim_tf.represent`: every item's embedding into the store, by this process or by a Spark cluster."""

from __future__ import annotations

import shlex
from pathlib import Path

from mim_tf.commandline import add_engine, engine_of, options_of, run_command, settings_of, stage_parser
from mim_tf.training.stages import run_stage

_EPILOG = """\
The same as `python -m mim_tf.train --stage represent`, whose store --engine spark fills with the same embeddings.
Executors read the item records and load DIR/represent/item_encoder_model: they must see DIR under the same path, and
have this package installed. A file of records (data.shards) is one task, so there should be many more than cores. A
task has three Python workers, with as many threads as it has cores (spark.task.cpus). Workers are used again, and so
each may come to hold TensorFlow and an encoder: an executor needs three times that per task, beside the JVM's memory.

Interrupted, the same command embeds only the files that are missing from DIR/represent/embedded.

example:
  python -m mim_tf.represent --config configs/demo.yaml --workdir build/demo --engine spark \\
      --engine-option spark.master=yarn --engine-option spark.executor.memoryOverhead=8g
"""


def main() -> None:
    """Run the command."""
    parser = stage_parser("represent", "Embed all items into the store.", _EPILOG)
    add_engine(parser)
    arguments = parser.parse_args()
    options, engine = shlex.join(options_of(arguments)), engine_of(arguments)
    run_stage("represent", settings_of(arguments), Path(arguments.workdir), options, engine=engine)


if __name__ == "__main__":
    run_command(main)
