"""One step of a training, on any strategy, and what it keeps between steps."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple, Protocol

import keras
import orbit
import tensorflow as tf

from mim_tf.errors import StageError
from mim_tf.settings import ContrastiveSettings, TrainingSettings
from mim_tf.training.gradients import Batch, Gradients, batch_statistics, cached_gradients_of, gradients_of
from mim_tf.training.optimizer import adamw
from mim_tf.training.step_trace import StepTrace
from mim_tf.training.weight_average import WeightAverage

SKIPPED_IN_A_ROW = 10
"""As many steps without a finite gradient, one after the other, end a training."""


class Objective(Protocol):
    """What is trained: a Keras model that knows its input and its losses.

    A contrastive one has also `embed(batch, training)` to `[rows, embeddings, dim]` and `contrast(embeddings, batch)`.
    """

    trainable_variables: list[keras.Variable]
    variables: list[keras.Variable]

    def decode(self, record: Batch) -> Batch:
        """One record to an example."""
        ...

    def assemble(self, examples: Batch, seed: tf.Tensor) -> Batch:
        """Examples to a batch, everything random drawn from the seed."""
        ...

    def losses_of(self, batch: Batch, training: bool = True) -> dict[str, tf.Tensor]:
        """`loss` and further scalars, of which the mean over replicas counts."""
        ...


class Trainer(orbit.AbstractTrainer):
    """Steps of AdamW on clipped gradients; a step whose gradients are not finite is skipped and counted.

    Args:
        objective: made, like this, in the scope of the strategy.
        options: of the training.
        steps: of the whole training.
        rates: relative learning rates by variables' paths.
        strategy: where it runs.
        batches_from: given the first step, the strategy's dataset of batches.
        stop_requested: asked before each step; once it says so on any worker, all of them leave by an error.
        trace: is told of every step; None for no trace.

    Attributes:
        step: int64 variable, the steps done, skipped ones included.
        average: of the weights, if there is one.
    """

    def __init__(
        self,
        objective: Objective,
        options: TrainingSettings,
        *,
        steps: int,
        rates: Mapping[str, float],
        strategy: tf.distribute.Strategy,
        batches_from: Callable[[int], Any],
        stop_requested: Callable[[], bool],
        trace: StepTrace | None = None,
    ):
        self.objective = objective
        variables = objective.trainable_variables
        self.optimizer = adamw(variables, steps, options, rates)
        self.average = WeightAverage(variables, options.averaging) if options.averaging else None
        self.step = _counter()
        self.skipped = _counter()
        self._spent = _Spent()
        self._warm = False
        self._options, self._strategy = options, strategy
        self._batches_from, self._stop_requested = batches_from, stop_requested
        self._trace = trace or StepTrace(None, None)
        self._batches: Iterator[Any] | None = None
        self._names: list[str] = []
        self._skipped_in_a_row = 0
        chunk_size = chunk_size_of(options)
        self._gradients_of = partial(cached_gradients_of, chunk_size=chunk_size) if chunk_size else gradients_of
        if strategy.num_replicas_in_sync > 1 and not chunk_size:  # chunks differ in their statistics anyway
            _share_batch_statistics(objective)

    def checkpoint(self) -> tf.train.Checkpoint:
        """All that a training needs to continue, what is frozen included.

        TensorFlow does not see Keras 3 layers that a layer keeps in a list, as several encoders keep their blocks. So
        the variables are listed, in the order in which the model has them.
        """
        return tf.train.Checkpoint(
            variables=[variable.value for variable in self.objective.variables],
            optimizer=[variable.value for variable in self.optimizer.variables],
            averages=self.average.averages if self.average else [],
            step=self.step,
            skipped=self.skipped,
        )

    def train(self, num_steps: tf.Tensor) -> dict[str, float]:
        """Do some steps; the mean of every scalar over those that were not skipped, and how fast they were."""
        if self._batches is None:  # not before the step was restored
            self._batches = iter(self._batches_from(self.steps_done))
        before = self._spent
        first = self.steps_done
        rows = [self._traced_step(self._batches, first + number) for number in range(int(num_steps))]
        shown = [row for row in rows if math.isfinite(row["gradient_norm"])] or rows
        means = {name: sum(row[name] for row in shown) / len(shown) for name in rows[0]}
        return means | {"skipped_steps": float(self.skipped.numpy())} | self._speed(before)

    def speed(self) -> dict[str, float]:
        """Examples per second and the share of the time spent in waiting for them, the first step left out."""
        return self._speed(_Spent())

    def _speed(self, before: _Spent) -> dict[str, float]:
        steps, seconds, waited = (now - then for now, then in zip(self._spent, before, strict=True))
        if not steps:
            return {}
        return {"examples_per_second": steps * self._options.batch_size / seconds, "input_wait_share": waited / seconds}

    @property
    def steps_done(self) -> int:
        """As a number."""
        return int(self.step.numpy())

    def _traced_step(self, batches: Iterator[Any], number: int) -> dict[str, float]:
        self._trace.before(number)
        row = self._timed_step(batches)
        self._trace.after(number)
        return row

    def _timed_step(self, batches: Iterator[Any]) -> dict[str, float]:
        start = time.perf_counter()
        batch = next(batches)
        arrived = time.perf_counter()
        values, finite = self._step(batch, tf.constant(self._stop_requested()))
        *scalars, stop = values.numpy()
        self._note_time(time.perf_counter() - start, arrived - start)
        row = dict(zip(self._names, map(float, scalars), strict=True))
        self._give_up_where_nothing_is_finite(bool(finite), row["loss"])
        if stop:
            raise StopRequestedError
        return row

    def _note_time(self, seconds: float, waited: float) -> None:
        if self._warm:
            self._spent = _Spent(self._spent.steps + 1, self._spent.seconds + seconds, self._spent.waited + waited)
        self._warm = True  # the first step builds the graph and fills the input's buffers

    def _give_up_where_nothing_is_finite(self, finite: bool, loss: float) -> None:
        self._skipped_in_a_row = 0 if finite else self._skipped_in_a_row + 1
        if self._skipped_in_a_row == SKIPPED_IN_A_ROW:
            raise StageError(
                f"{SKIPPED_IN_A_ROW} steps in a row, up to step {self.steps_done}, had no finite gradients; the loss "
                f"was {loss}. Lower the learning rate, or train in float32."
            )

    @tf.function
    def _step(self, batch: Batch, stop: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        strategy = self._strategy
        statistics = strategy.run(self._batch_statistics)
        gradients, values, norm, moved = strategy.run(self._gradients, (batch, stop))
        values, norm = (strategy.experimental_local_results(value)[0] for value in (values, norm))
        finite = tf.math.is_finite(norm)  # the same on all replicas, as the gradients are
        if finite:
            strategy.run(self._apply, (gradients, norm, moved))
        else:
            strategy.run(self._set_statistics, (statistics,))
            self.skipped.assign_add(1)
        self.step.assign_add(1)
        return values, finite

    def _gradients(self, batch: Batch, stop: tf.Tensor) -> tuple[Gradients, tf.Tensor, tf.Tensor, list[tf.Tensor]]:
        """On each replica the same: gradients, scalars, the gradients' global norm, and where batch statistics went."""
        gradients, scalars = self._gradients_of(self.objective, batch)
        self._names = [*scalars, "gradient_norm"]
        values = tf.stack([*scalars.values(), tf.cast(stop, tf.float32)])
        moved = self._batch_statistics()
        if self._strategy.num_replicas_in_sync > 1:
            # Statistics too: of chunks, each replica has its own.
            means = tf.distribute.get_replica_context().all_reduce(
                tf.distribute.ReduceOp.MEAN, [values, *moved, *gradients]
            )
            values, moved, gradients = means[0], means[1 : len(moved) + 1], means[len(moved) + 1 :]
        norm = tf.linalg.global_norm(gradients)
        return gradients, tf.concat([values[:-1], [norm], values[-1:]], axis=0), norm, moved

    def _batch_statistics(self) -> list[tf.Tensor]:
        """What batch normalisation keeps, which a forward pass moves."""
        return [tf.identity(variable) for variable in batch_statistics(self.objective)]

    def _set_statistics(self, statistics: list[tf.Tensor]) -> None:
        for variable, value in zip(batch_statistics(self.objective), statistics, strict=True):
            variable.assign(value)

    def _apply(self, gradients: Gradients, norm: tf.Tensor, statistics: list[tf.Tensor]) -> None:
        """On each replica, alike: clip, move, average."""
        self._set_statistics(statistics)
        clipped, _ = tf.clip_by_global_norm(gradients, self._options.clip_norm, use_norm=norm)
        self.optimizer.apply(clipped, self.objective.trainable_variables)
        if self.average:
            self.average.update(self.optimizer.iterations.value - 1)


class _Spent(NamedTuple):
    """Steps, and the seconds that they took: in all, and in waiting for their batches."""

    steps: int = 0
    seconds: float = 0.0
    waited: float = 0.0


class StopRequestedError(Exception):
    """A worker was asked to stop, and all of them do so after the same step."""


def chunk_size_of(options: TrainingSettings) -> int | None:
    """Examples embedded at once, of trainings that know chunks."""
    return options.chunk_size if isinstance(options, ContrastiveSettings) else None


def _share_batch_statistics(objective: Any) -> None:
    """Let batch normalisation see the batch of all replicas, and keep one mean and variance."""
    for layer in objective._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.synchronized = True


def _counter() -> tf.Variable:
    return tf.Variable(0, dtype=tf.int64, trainable=False, aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA)
