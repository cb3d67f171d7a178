"""The training loop of the contrastive stages: orbit, with checkpoints, TensorBoard and a progress bar."""

from __future__ import annotations

import contextlib
import io
import math
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import keras
import orbit
import tensorflow as tf
from tqdm import tqdm

from mim_tf.errors import StageError

STEPS_PER_LOOP = 20
STEPS_PER_CHECKPOINT = 100


class ContrastiveModel(Protocol):
    """What the loop trains: a Keras model that knows its losses."""

    trainable_variables: list[Any]

    def losses_of(self, batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """`loss` and further scalars to show."""
        ...


class _Trainer(orbit.AbstractTrainer):
    """One gradient step per batch; reports the mean of every scalar over a loop of steps."""

    def __init__(
        self,
        model: ContrastiveModel,
        optimizer: keras.Optimizer,
        batches_from: Callable[[int], tf.data.Dataset],
    ):
        self._model = model
        self._optimizer = optimizer
        self._batches_from = batches_from
        self._batches: Iterator[dict[str, tf.Tensor]] | None = None

    @tf.function
    def _step(self, batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        variables = self._model.trainable_variables
        with tf.GradientTape() as tape:
            scalars = self._model.losses_of(batch)
        self._optimizer.apply(tape.gradient(scalars["loss"], [variable.value for variable in variables]), variables)
        return scalars

    def train(self, num_steps: tf.Tensor) -> dict[str, tf.Tensor]:
        if self._batches is None:  # not before orbit has restored the step
            self._batches = iter(self._batches_from(int(self._optimizer.iterations)))
        steps = [self._step(next(self._batches)) for _ in range(int(num_steps))]
        return {name: tf.reduce_mean([scalars[name] for scalars in steps]) for name in steps[0]}


def train(
    model: ContrastiveModel,
    batches_from: Callable[[int], tf.data.Dataset],
    *,
    steps: int,
    learning_rate: float,
    weight_decay: float,
    checkpoints: Path,
    tensorboard: Path,
) -> dict[str, float]:
    """Train up to `steps` steps, continuing from the latest checkpoint where there is one.

    AdamW; the rate climbs over the first 5% of the steps, then falls to zero along a cosine; gradients are clipped to
    a global norm of 1.

    Args:
        model: the model and its losses.
        batches_from: given the first step, an endless dataset of what `losses_of` takes in that step and the next ones.
        steps: of the whole training, those before an interruption included.
        learning_rate: at its peak.
        weight_decay: of AdamW.
        checkpoints: folder of the checkpoints.
        tensorboard: folder of the event files.

    Returns:
        The scalars' means over the last loop, the seconds spent and the steps per second.

    Raises:
        StageError: the loss is not finite any more.
    """
    optimizer = _adamw(model.trainable_variables, steps, learning_rate, weight_decay)
    optimizer.build(model.trainable_variables)
    step = optimizer.iterations.value
    manager = tf.train.CheckpointManager(
        checkpoint_of(model, optimizer),
        str(checkpoints),
        max_to_keep=2,
        step_counter=step,
        checkpoint_interval=STEPS_PER_CHECKPOINT,
    )
    scalars: dict[str, float] = {}
    start = time.monotonic()
    with tqdm(total=steps, unit="step", disable=None) as bar:

        def show(means: dict[str, tf.Tensor]) -> None:
            scalars.update({name: float(value) for name, value in means.items()})
            if not math.isfinite(scalars["loss"]):
                raise StageError(f"the loss is {scalars['loss']} at step {int(step)}. Lower the learning rate.")
            bar.set_postfix(loss=f"{scalars['loss']:.4f}", refresh=False)
            bar.update(int(step) - bar.n)

        # orbit prints every loop to stdout; the bar shows the same on one line, and TensorBoard keeps it.
        with contextlib.redirect_stdout(io.StringIO()):
            controller = orbit.Controller(
                global_step=step,
                trainer=_Trainer(model, optimizer, batches_from),
                train_actions=[show],
                steps_per_loop=STEPS_PER_LOOP,
                checkpoint_manager=manager,
                summary_dir=str(tensorboard),
            )
            first_step = int(step)
            if first_step:
                print(f"continues at step {first_step} of {steps}", file=sys.stderr)
            bar.update(first_step)
            controller.train(steps)
    seconds = time.monotonic() - start
    return {**scalars, "steps": steps, "seconds": seconds, "steps_per_second": (steps - first_step) / seconds}


def checkpoint_of(model: keras.Model, optimizer: keras.optimizers.Optimizer) -> tf.train.Checkpoint:
    """All that a training needs to continue, what is frozen included.

    TensorFlow does not see Keras 3 layers that a layer keeps in a list, as several encoders keep their blocks. So the
    variables are listed, in the order in which the model has them.
    """
    variables = [variable.value for variable in model.variables]
    return tf.train.Checkpoint(model=model, optimizer=optimizer, variables=variables)


def _adamw(
    variables: list[keras.Variable], steps: int, learning_rate: float, weight_decay: float
) -> keras.optimizers.AdamW:
    warmup = max(1, steps // 20)
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0, decay_steps=max(1, steps - warmup), warmup_steps=warmup, warmup_target=learning_rate
    )
    optimizer = keras.optimizers.AdamW(schedule, weight_decay=weight_decay, global_clipnorm=1.0)
    # Biases, which attention keeps by head, and all other vectors: scales of norms and layers, single tokens.
    exempt = [variable for variable in variables if variable.name == "bias" or _is_vector(variable)]
    optimizer.exclude_from_weight_decay(var_list=exempt)
    return optimizer


def _is_vector(variable: keras.Variable) -> bool:
    return sum(size > 1 for size in variable.shape) < 2
