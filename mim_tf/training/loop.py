"""The training loop of stages 1 and 2: orbit, with evaluation, checkpoints, TensorBoard and a progress bar."""

from __future__ import annotations

import io
import math
import shutil
import sys
from collections.abc import Callable, Mapping
from contextlib import nullcontext, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import orbit
import tensorflow as tf
from tqdm import tqdm

from mim_tf.errors import StageStoppedError
from mim_tf.settings import HeldOutSettings
from mim_tf.training.checkpoints import Checkpoints
from mim_tf.training.input import Records, distributed_batches, epoch_steps
from mim_tf.training.run_metrics import RunMetrics, prefixed
from mim_tf.training.step_trace import StepTrace
from mim_tf.training.stopping import StopSignal
from mim_tf.training.strategies import wait_for_all
from mim_tf.training.trainer import Objective, StopRequestedError, Trainer
from mim_tf.training.weights_digest import tell_weights
from mim_tf.training.workers import ALONE, Worker

STEPS_PER_LOOP = 20

AnyObjective = TypeVar("AnyObjective", bound=Objective)


class Evaluation(NamedTuple):
    """What a model is worth on held-out records.

    Attributes:
        score: what the best weights are chosen by, the higher the better; None: measured, and nothing chosen by it.
        scalars: to show, by name.
    """

    score: float | None
    scalars: dict[str, float]


def nothing_held_out(objective: Any) -> Evaluation:
    """The evaluation where there is nothing to evaluate on."""
    return Evaluation(None, {})


def train(
    make_objective: Callable[[], AnyObjective],
    records: Records,
    options: HeldOutSettings,
    *,
    section: str,
    checkpoints: Path,
    tensorboard: Path,
    seed: int,
    strategy: tf.distribute.Strategy,
    worker: Worker = ALONE,
    rates: Callable[[AnyObjective], Mapping[str, float]] = lambda objective: {},
    evaluate: Callable[[AnyObjective], Evaluation] = nothing_held_out,
) -> tuple[AnyObjective, dict[str, float]]:
    """Train, continuing from the last checkpoint where there is one.

    A training that was interrupted, at whatever step, goes on as if it had not been: the same batches, the same losses.
    Where the evaluation gives a score, what is handed back is what was best by it, the start included; otherwise what
    came last, or its average. Without epochs it is what `make_objective` made.

    Args:
        make_objective: makes the model and its losses; called in the strategy's scope.
        records: what is trained on.
        options: of the training.
        section: where these options are in the settings, for errors to name.
        checkpoints: folder of the last checkpoint and, in `best/`, of the best weights.
        tensorboard: folder of the event files.
        seed: of order, views and masks.
        strategy: where it runs.
        worker: which process this is; the chief alone writes into the folder.
        rates: relative learning rates by variables' paths.
        evaluate: called before the first step, every `evaluate_every` steps and at the end.

    Returns:
        The objective with its final weights, and metrics: means over the last loop of steps, what the evaluation gave
        before the first step (`start_`) and of the final weights (`held_out_`), and speed.

    Raises:
        SettingsError: the batch does not go evenly onto replicas and chunks, or there are too few records for one.
        StageError: gradients are not finite any more, or the checkpoint is of another model.
        UnavailableError: another worker is lost; TensorFlow's.
        StageStoppedError: SIGTERM or Ctrl-C came; a checkpoint was saved.
    """
    replicas = strategy.num_replicas_in_sync
    steps = epoch_steps(records.count, options, replicas, section) * options.epochs if options.epochs else 0
    trace = StepTrace(tensorboard if worker.is_chief else None, options.profile)
    with StopSignal() as stop, trace:
        with strategy.scope():
            objective = make_objective()
            trainer = Trainer(
                objective,
                options,
                steps=steps,
                rates=rates(objective),
                strategy=strategy,
                batches_from=lambda step: distributed_batches(objective, records, options, seed, step, strategy),
                stop_requested=lambda: stop.requested,
                trace=trace,
            )
            run = _Run(trainer, checkpoints, tensorboard, steps, options, worker, evaluate)
        try:
            run.to_the_end()
            if worker.addresses:
                tell_weights(section, (variable.value.numpy() for variable in objective.variables))
            wait_for_all(strategy)  # the chief may still be writing what all of them read now
            metrics = run.hand_over()
            asked_at_the_end = wait_for_all(strategy, stop.requested)
        except StopRequestedError as stopped:
            run.save()
            raise _stopped(trainer.steps_done, steps) from stopped
        if asked_at_the_end:
            raise _stopped(steps, steps)
        return objective, metrics


class _Run(orbit.AbstractEvaluator):
    """A training from where it was to its end, and what it leaves in its folders."""

    def __init__(
        self,
        trainer: Trainer,
        checkpoints: Path,
        tensorboard: Path,
        steps: int,
        options: HeldOutSettings,
        worker: Worker,
        evaluate: Callable[[Any], Evaluation],
    ):
        self._trainer, self._steps, self._evaluate = trainer, steps, evaluate
        self._evaluate_every, self._checkpoint_every = options.evaluate_every, options.checkpoint_every
        self._tensorboard = str(tensorboard) if worker.is_chief else None
        self._metrics = RunMetrics()
        self._best_score = tf.Variable(-math.inf, trainable=False)
        self._evaluated_at = tf.Variable(-1, dtype=tf.int64, trainable=False)  # a stop may come before an evaluation
        everything = trainer.checkpoint()
        everything.best_score, everything.evaluated_at = self._best_score, self._evaluated_at
        weights = tf.train.Checkpoint(variables=[variable.value for variable in trainer.objective.variables])
        # All workers save, since saving may take them all; the chief alone to where everyone reads.
        self._own = checkpoints if worker.is_chief else _emptied(_beside(checkpoints, worker))
        self._is_chief = worker.is_chief
        places = {"training": checkpoints, "step": trainer.step}
        self._last = Checkpoints(everything, self._own, read_from=checkpoints, **places)
        self._best = Checkpoints(weights, self._own / "best", read_from=checkpoints / "best", **places)
        if self._last.exist:
            self._last.restore()
            self._metrics = RunMetrics.load(checkpoints)

    def to_the_end(self) -> None:
        """Train, evaluate and save until all steps are done."""
        done = first_step = self._trainer.steps_done
        if first_step:
            print(f"continues at step {first_step} of {self._steps}", file=sys.stderr)
        # orbit prints every loop to stdout; the bar shows the same on one line, and TensorBoard keeps it.
        quiet = redirect_stdout(io.StringIO())
        with tqdm(total=self._steps, initial=first_step, unit="step", disable=None) as bar, quiet:
            controller = orbit.Controller(
                global_step=self._trainer.step,
                trainer=self._trainer,
                evaluator=self,
                train_actions=[lambda means: self._show(means, bar)],
                steps_per_loop=lambda step: STEPS_PER_LOOP - step % STEPS_PER_LOOP,
                summary_dir=self._tensorboard,
            )
            while not self._settle(done, controller):
                ends = (_next(done, self._evaluate_every), _next(done, self._checkpoint_every), self._steps)
                controller.train(min(ends), checkpoint_at_completion=False)
                done = self._trainer.steps_done

    def _settle(self, done: int, controller: orbit.Controller) -> bool:
        """Do what is due after a step; whether it was the last."""
        ends = done == self._steps
        if done > self._evaluated_at.numpy() and (ends or done % self._evaluate_every == 0):
            controller.evaluate()
            self._evaluated_at.assign(done)
        if ends or done % self._checkpoint_every == 0:  # at the start too, so that it is measured once
            self.save()
        return ends

    def evaluate(self, num_steps: tf.Tensor) -> dict[str, float]:
        """Measure the weights, or their average, on held-out records, and keep them if they are the best so far."""
        average = self._trainer.average
        with average.in_place() if average else nullcontext():
            evaluation = self._evaluate(self._trainer.objective)
            self._keep_if_best(evaluation)
        if not self._trainer.steps_done:
            self._metrics.start = evaluation.scalars
        return prefixed("held_out", evaluation.scalars)

    def _keep_if_best(self, evaluation: Evaluation) -> None:
        """Keep the weights if they are the best so far, and what they gave if they are those to hand over so far."""
        score, best = evaluation.score, self._best_score.numpy()
        # Of equals the later one: a score may have no better value.
        if score is not None and math.isfinite(score) and score >= best:
            self._best_score.assign(score)
            self._best.save()
        elif math.isfinite(best):
            return
        self._metrics.held_out = evaluation.scalars

    def save(self) -> None:
        """Save a checkpoint to continue from, and what the last steps have shown."""
        self._own.mkdir(parents=True, exist_ok=True)
        self._metrics.training |= self._trainer.speed()
        self._metrics.save(self._own)
        self._last.save()

    def hand_over(self) -> dict[str, float]:
        """Give the objective its final weights and say how the training went."""
        if math.isfinite(self._best_score.numpy()):
            self._best.restore()
        elif self._trainer.average:
            self._trainer.average.swap()
        if not self._is_chief:
            _emptied(self._own)
        return self._metrics.together() | {"steps": float(self._steps)} | self._trainer.speed()

    def _show(self, means: dict[str, float], bar: tqdm) -> None:
        self._metrics.training = {name: value for name, value in means.items() if math.isfinite(value)}
        bar.set_postfix(loss=f"{means['loss']:.4f}", refresh=False)
        bar.update(self._trainer.steps_done - bar.n)


def _next(step: int, interval: int) -> int:
    """The first multiple of an interval after a step."""
    return step - step % interval + interval


def _stopped(step: int, steps: int) -> StageStoppedError:
    return StageStoppedError(f"stopped after step {step} of {steps}, with a checkpoint.")


def _beside(checkpoints: Path, worker: Worker) -> Path:
    return checkpoints.with_name(f"{checkpoints.name}.worker{worker.index}")


def _emptied(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    return folder
