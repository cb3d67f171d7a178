"""What a step of a click model costs, measured in this process: its operations, time and memory."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow import keras

from mim_tf.efficiency.memory_in_use import forget_peak, memory_in_use, peak_memory
from mim_tf.efficiency.operations import count_operations
from mim_tf.efficiency.step_cost import INFERENCE, StepCost
from mim_tf.ranking.network import Features
from mim_tf.settings import Settings
from mim_tf.training.earlier_run import training_records
from mim_tf.training.rank_fit import compiled
from mim_tf.training.rank_input import EpochPlan, training_sessions
from mim_tf.training.rankers import build_ranker


def measured_step(settings: Settings, workdir: Path, variant: str, mode: str, steps: int) -> StepCost:
    """Take a few steps of the click model that settings describe, with fresh weights.

    The batches are a training's first. One more step, whose time does not count, comes before. A step's time holds its
    look-ups, and without the representation center the reading and decoding of the items too; the reading of the batch
    is not in it. The operations are those of the first batch.

    Args:
        settings: of the run.
        workdir: its folder.
        variant: as in `build_ranker`.
        mode: `TRAINING` or `INFERENCE`.
        steps: to be timed.

    Raises:
        MimError: as `build_ranker` and `training_sessions`.
    """
    batches = _batches(settings, workdir, steps + 1)
    step = _step(settings, workdir, variant, mode, batches[0])
    forget_peak()
    before, seconds = memory_in_use(), [_seconds(step, batch) for batch in batches]
    memory = peak_memory()  # before operations are counted, which is no step
    shown = [int(tf.math.count_nonzero(batch["is_shown"])) for batch in batches]
    per_sample = [taken / samples for taken, samples in zip(seconds, shown, strict=True)]
    operations = count_operations(step, batches[0])
    return StepCost(operations / shown[0] / 1e9, statistics.median(per_sample[1:]), memory, before)


def _batches(settings: Settings, workdir: Path, count: int) -> list[Features]:
    """The first batches of a training, but for those at an epoch's end that may show nothing."""
    records = training_records(settings, workdir, settings.seed)
    sessions = training_sessions(records, settings.rank, settings.seed, EpochPlan.of(records, settings.rank))
    return list(sessions.filter(lambda batch: tf.reduce_any(batch["is_shown"])).take(count))


def _step(settings: Settings, workdir: Path, variant: str, mode: str, batch: Features) -> Any:
    """The concrete function of a step, for any number of rows."""
    keras.utils.set_random_seed(settings.seed)
    ranker = build_ranker(settings, workdir, variant)
    step = ranker.probabilities if mode == INFERENCE else compiled(ranker, settings.rank, steps=1).train_step
    specs = {name: tf.TensorSpec([None, *values.shape[1:]], values.dtype) for name, values in batch.items()}
    return tf.function(lambda features: step(features)).get_concrete_function(specs)


def _seconds(step: Callable[[Features], Any], batch: Features) -> float:
    begun = time.perf_counter()
    step(batch)
    tf.test.experimental.sync_devices()
    return time.perf_counter() - begun
