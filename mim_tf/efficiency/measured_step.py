"""`python -m mim_tf.efficiency.measured_step`: what a step of one click model costs, measured in this process alone."""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mim_tf.commandline import run_command, set_keras_mode, settings_of, stage_parser
from mim_tf.efficiency.step_cost import StepCost
from mim_tf.settings import Settings

if TYPE_CHECKING:  # comes with TensorFlow, so after the mode was chosen
    from mim_tf.ranking.network import Features

TRAINING, INFERENCE = "training", "inference"

_EPILOG = """\
Prints one line of JSON: what a step on the run's training impressions costs with fresh weights. One step warms up;
reading the batches takes part in neither time nor operations. `mim_tf.efficiency.efficiency` starts one for each number
of the paper's table 6.
"""


def measured_step(settings: Settings, workdir: Path, variant: str, mode: str, steps: int) -> StepCost:
    """Take a few steps of the click model that settings describe, with fresh weights.

    A step's time holds its look-ups, and without the representation center the reading and decoding of the items too;
    the reading of the batch is not in it.

    Args:
        settings: of the run.
        workdir: its folder.
        variant: as in `build_ranker`.
        mode: `TRAINING`, with forward pass, backward pass and update; or `INFERENCE`, the forward pass.
        steps: to be timed.

    Raises:
        MimError: as `build_ranker` and `training_sessions`.
    """
    import tensorflow as tf

    from mim_tf.efficiency.memory_in_use import forget_peak, memory_in_use, peak_memory
    from mim_tf.efficiency.operations import count_operations

    batches = _batches(settings, workdir, steps + 1)
    step = _step(settings, workdir, variant, mode, batches[0])
    forget_peak()
    before, seconds = memory_in_use(), [_seconds(step, batch) for batch in batches]
    memory = peak_memory()  # before the count, which keeps more at once than a step does
    shown = [int(tf.math.count_nonzero(batch["is_shown"])) for batch in batches]
    per_sample = [taken / samples for taken, samples in zip(seconds, shown, strict=True)]
    operations = count_operations(step, batches[0])
    return StepCost(operations / shown[0] / 1e9, statistics.median(per_sample[1:]), memory, before)


def _batches(settings: Settings, workdir: Path, count: int) -> list[Features]:
    """The first batches of a training; with `rank.negatives_kept` rows, and at its end batches, may be empty."""
    import tensorflow as tf

    from mim_tf.training.earlier_run import training_records
    from mim_tf.training.rank_input import EpochPlan, training_sessions

    records = training_records(settings, workdir, settings.seed)
    sessions = training_sessions(records, settings.rank, settings.seed, EpochPlan.of(records, settings.rank))
    return list(sessions.filter(lambda batch: tf.reduce_any(batch["is_shown"])).take(count))


def _step(settings: Settings, workdir: Path, variant: str, mode: str, batch: Features) -> Any:
    """The concrete function of a step, for any number of rows."""
    import tensorflow as tf

    from mim_tf.training.rank import compiled
    from mim_tf.training.rankers import build_ranker

    tf.keras.utils.set_random_seed(settings.seed)
    ranker = build_ranker(settings, workdir, variant)
    step = ranker.probabilities if mode == INFERENCE else compiled(ranker, settings.rank, 1).train_step
    specs = {name: tf.TensorSpec([None, *values.shape[1:]], values.dtype) for name, values in batch.items()}
    return tf.function(lambda features: step(features)).get_concrete_function(specs)


def _seconds(step: Callable[[Features], Any], batch: Features) -> float:
    import tensorflow as tf

    begun = time.perf_counter()
    step(batch)
    tf.test.experimental.sync_devices()
    return time.perf_counter() - begun


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"`--steps` must be positive. Received: {text}.")
    return number


def main() -> None:
    """Run the command."""
    parser = stage_parser("experiment.measured_step", "Measure what a step of a click model costs.", _EPILOG)
    parser.add_argument(
        "--variant", choices=("model", "base"), required=True, help="as settings say, or without content"
    )
    parser.add_argument("--mode", choices=(TRAINING, INFERENCE), required=True, help="a step of what")
    parser.add_argument("--steps", type=_positive, required=True, help="to be timed")
    arguments = parser.parse_args()
    set_keras_mode(legacy=True)
    cost = measured_step(
        settings_of(arguments), Path(arguments.workdir), arguments.variant, arguments.mode, arguments.steps
    )
    print(json.dumps(cost._asdict()))


if __name__ == "__main__":
    run_command(main)
