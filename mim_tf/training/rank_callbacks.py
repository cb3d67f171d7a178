"""What happens beside the steps of stage 3: validation, early stopping, a trace, a progress bar."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import tensorflow as tf
from tensorflow import keras
from tqdm import tqdm

from mim_tf.training.step_trace import StepTrace
from mim_tf.training.strategies import wait_for_all, write_checkpoint
from mim_tf.workdir import write_aside


class BestEpoch(keras.callbacks.Callback):
    """Measures the model after each epoch; with patience, stops when it gets no better and takes the best weights back.

    What it knows is in files beside the checkpoints, so that a training that was stopped still knows its best epoch. To
    be listed before the callbacks that save or show: they get its metrics, as `val_...`, in their logs.

    Args:
        checkpoint: of the weights that are kept.
        path: prefix of its files.
        patience: epochs without a better AUC after which training stops; None never stops, and keeps the last weights.
        measure: gives the metrics on validation impressions, `auc` among them, after the epoch of a number.
        strategy: that the model is trained under. All workers measure, since that may read what replicas keep apart;
            the chief's AUC decides for all.
    """

    def __init__(
        self,
        checkpoint: tf.train.Checkpoint,
        path: Path,
        patience: int | None,
        measure: Callable[[int], dict[str, float]],
        strategy: tf.distribute.Strategy,
    ):
        super().__init__()
        self._checkpoint = checkpoint
        self._best, self._history = str(path.with_name(f"{path.name}-best")), path.with_name(f"{path.name}-auc.json")
        self._patience, self._measure, self._strategy = patience, measure, strategy

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Measure, remember, and perhaps stop."""
        metrics = self._measure(epoch)
        if logs is not None:
            logs |= {f"val_{name}": metrics[name] for name in ("auc", "grouped_auc", "log_loss")}
        if self._patience is None:
            return
        if self._strategy.extended.should_checkpoint:
            aucs = {**self._aucs(), str(epoch): metrics["auc"]}  # an epoch that is run again takes its place
            self._history.parent.mkdir(parents=True, exist_ok=True)
            write_aside(self._history, json.dumps(aucs))
        wait_for_all(self._strategy)
        aucs = self._aucs()
        if aucs[str(epoch)] == max(aucs.values()):
            write_checkpoint(self._checkpoint, self._best, self._strategy)
        self.model.stop_training = epoch - self._best_epoch(aucs) >= self._patience

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        """Take the best weights back."""
        if self._patience is not None:
            self._checkpoint.read(self._best).assert_consumed()

    def _aucs(self) -> dict[str, float]:
        aucs: dict[str, float] = json.loads(self._history.read_text(encoding="utf-8")) if self._history.exists() else {}
        return aucs

    @staticmethod
    def _best_epoch(aucs: dict[str, float]) -> int:
        return int(max(aucs, key=lambda epoch: aucs[epoch]))


class Traced(keras.callbacks.Callback):
    """Tells a trace of every step.

    Args:
        trace: entered, and left, by whoever calls `fit`.
        steps: of an epoch.
    """

    def __init__(self, trace: StepTrace, steps: int):
        super().__init__()
        self._supports_tf_logs = True  # as `Progress`
        self._trace, self._steps, self._first = trace, steps, 0

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Count from the start of the training."""
        self._first = epoch * self._steps

    def on_train_batch_begin(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Say that a step begins."""
        self._trace.before(self._first + batch)

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Say that it has ended."""
        self._trace.after(self._first + batch)


class Progress(keras.callbacks.Callback):
    """A progress bar over all steps of a `fit`, with the last epoch's validation AUC.

    Args:
        name: of the training.
        epochs: at most.
        steps: of an epoch.
    """

    def __init__(self, name: str, epochs: int, steps: int):
        super().__init__()
        self._supports_tf_logs = True  # as Keras' own bar: counts steps that parameter servers have yet to answer for
        self._name, self._epochs, self._steps = name, epochs, steps

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        """Show it."""
        self._bar = tqdm(desc=self._name, total=self._epochs * self._steps, unit="step", disable=None)

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Move to where a continued training starts."""
        self._bar.update(epoch * self._steps - self._bar.n)

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Move on."""
        self._bar.update()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Tell the AUC."""
        self._bar.set_postfix(validation_auc=f"{(logs or {}).get('val_auc', float('nan')):.4f}")

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        """Take it away."""
        self._bar.close()
