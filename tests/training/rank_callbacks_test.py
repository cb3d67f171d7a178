"""Early stopping on validation AUC: when it stops, what it keeps, and what a restart knows."""

from pathlib import Path

import pytest

pytestmark = pytest.mark.legacy_keras


class Run:
    """A `fit` of one weight that counts its epochs, measured by a script of AUCs."""

    def __init__(self, path: Path, patience: int | None, aucs: list[float]):
        import tensorflow as tf
        from tensorflow import keras

        from mim_tf.training.rank_callbacks import BestEpoch

        class Counter(keras.Model):
            def __init__(self) -> None:
                super().__init__()
                self.epochs_run = self.add_weight(name="epochs_run", shape=(), initializer="zeros")
                self.built = True  # BackupAndRestore wants it so

            def train_step(self, data: tf.Tensor) -> dict[str, tf.Tensor]:
                self.epochs_run.assign_add(1.0)
                return {"loss": tf.reduce_sum(data)}

        self.model = Counter()
        self.model.compile()
        self.measured: list[float] = []

        def measure(epoch: int) -> dict[str, float]:
            assert epoch == int(self.model.epochs_run.numpy()) - 1
            self.measured.append(aucs[epoch])
            return {"auc": aucs[epoch], "grouped_auc": 0.5, "log_loss": 0.7}

        self.callbacks = [
            BestEpoch(tf.train.Checkpoint(model=self.model), path, patience, measure, tf.distribute.get_strategy()),
            keras.callbacks.BackupAndRestore(str(path.with_name("backup"))),
        ]
        self.data = tf.data.Dataset.from_tensors(tf.ones([1]))
        self.epochs = len(aucs)

    def fit(self, epochs: int | None = None) -> float:
        """Train, and give how many epochs the weights that are left had."""
        self.history = self.model.fit(
            self.data, epochs=epochs or self.epochs, verbose=0, callbacks=self.callbacks
        ).history
        return float(self.model.epochs_run.numpy())


def test_without_patience_all_epochs_run_and_the_last_weights_stay(tmp_path: Path) -> None:
    run = Run(tmp_path / "model", None, [0.9, 0.6, 0.5])
    assert run.fit() == 3
    assert run.history["val_auc"] == [0.9, 0.6, 0.5]
    assert not list(tmp_path.glob("model*"))


def test_the_best_weights_come_back(tmp_path: Path) -> None:
    assert Run(tmp_path / "model", 9, [0.6, 0.8, 0.7, 0.75]).fit() == 2


def test_it_stops_when_patience_runs_out(tmp_path: Path) -> None:
    run = Run(tmp_path / "model", 2, [0.6, 0.8, 0.7, 0.75, 0.9])
    assert run.fit() == 2
    assert run.measured == [0.6, 0.8, 0.7, 0.75]  # the fifth epoch would have been better: nobody waited for it


def test_a_restart_remembers_the_best_epoch_before_it(tmp_path: Path) -> None:
    aucs = [0.8, 0.6, 0.7, 0.9]
    first = Run(tmp_path / "model", 2, aucs)
    first.callbacks[1].on_train_end = lambda logs=None: None  # killed: the backup stays
    first.fit(epochs=1)
    again = Run(tmp_path / "model", 2, aucs)
    assert again.fit() == 1
    assert again.measured == [0.6, 0.7]


def test_a_restart_goes_on_with_the_epoch_after_the_saved_one(tmp_path: Path) -> None:
    """The input has to know before Keras does."""
    from tensorflow import keras

    from mim_tf.training.rank_fit import first_epoch_of

    run = Run(tmp_path / "model", None, [0.5] * 3)
    run.callbacks[1] = keras.callbacks.BackupAndRestore(str(tmp_path / "model-backup"), delete_checkpoint=False)
    assert first_epoch_of(tmp_path / "model") == 0
    run.fit(epochs=2)
    assert first_epoch_of(tmp_path / "model") == 2
    assert run.fit() == 3  # of three epochs the last one was left
