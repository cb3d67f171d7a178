"""A training small enough to be run many times: real records of numbers, an objective that can misbehave on purpose."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pyarrow as pa
import tensorflow as tf

from mim_tf.data.record_schema import TRAIN_ITEMS, RecordSchema, Shard
from mim_tf.data.record_writer import encode
from mim_tf.settings import CsftSettings
from mim_tf.training.input import Records
from mim_tf.training.loop import Evaluation, nothing_held_out, train

RECORDS, BATCH = 40, 4
EPOCH = RECORDS // BATCH  # steps


class KilledError(Exception):
    """Stands for what ends a process in the middle of a step."""


def write_records(folder: Path) -> Path:
    """Items whose title is their number, in two files."""
    (folder / TRAIN_ITEMS).parent.mkdir(parents=True)
    shards = []
    for number, ids in enumerate((range(25), range(25, RECORDS))):
        texts = [str(item) for item in ids]
        images = pa.array([text.encode() for text in texts])
        rows = pa.record_batch({"item_id": list(ids), "title": texts, "category": ["c"] * len(ids), "image": images})
        file = f"{TRAIN_ITEMS}-{number}"
        with tf.io.TFRecordWriter(str(folder / file)) as writer:
            for record in encode(rows):
                writer.write(record.example)
        shards.append(Shard(file, len(ids), (folder / file).stat().st_size))
    RecordSchema("int64", None, None, {TRAIN_ITEMS: RECORDS}, {TRAIN_ITEMS: shards}).save(str(folder))
    return folder


class Toy(keras.Model):
    """A dense layer behind batch normalisation that is to give each item's number back, from noisy inputs.

    Args:
        at_step: called with the number of each step before its loss; what it returns multiplies the loss.
        width: of the layer.
    """

    def __init__(self, at_step: Callable[[int], float] = lambda step: 1.0, width: int = 3):
        super().__init__(name="toy")
        self.norm = keras.layers.BatchNormalization()
        self.norm.build((None, width))
        self.dense = keras.layers.Dense(1)
        self.dense.build((None, width))
        self.step = self.add_weight(shape=(), dtype="int32", initializer="zeros", trainable=False, name="step")
        self.width, self.at_step = width, at_step
        self.losses_seen: dict[int, float] = {}
        self.built = True

    def decode(self, record: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        return {"number": tf.cast(record["item_id"], tf.float32) / RECORDS}

    def assemble(self, examples: dict[str, tf.Tensor], seed: tf.Tensor) -> dict[str, tf.Tensor]:
        noise = tf.random.stateless_normal([BATCH, self.width], seed)
        return {"inputs": examples["number"][:, tf.newaxis] + noise, "number": examples["number"]}

    def losses_of(self, batch: dict[str, tf.Tensor], training: bool = True) -> dict[str, tf.Tensor]:
        factor = tf.ensure_shape(
            tf.numpy_function(lambda step: np.float32(self.at_step(int(step))), [self.step], tf.float32), []
        )
        self.step.assign(self.step + 1)
        outputs = self.dense(self.norm(batch["inputs"] * factor, training=training))[:, 0]
        loss = tf.reduce_mean(tf.square(outputs - batch["number"])) * factor

        def note(step: np.ndarray, loss: np.ndarray) -> np.ndarray:
            self.losses_seen[int(step) - 1] = float(loss)
            return loss

        loss_seen = tf.numpy_function(note, [self.step, tf.stop_gradient(loss)], tf.float32)
        with tf.control_dependencies([loss_seen]):
            return {"loss": tf.identity(loss), "number": tf.reduce_mean(batch["number"])}


def fit(folder: Path, make: Callable[[], Any] = Toy, *, evaluate: Any = nothing_held_out, **changes: Any) -> Any:
    """Train in a folder that holds `records/`; the objective and its metrics."""
    keras.utils.set_random_seed(5)
    options = {"batch_size": BATCH, "epochs": 3, "learning_rate": 0.05, "warmup": 0.1}
    options |= {"checkpoint_every": 10, "evaluate_every": 7}
    return train(
        make,
        Records(folder / "records", TRAIN_ITEMS, RECORDS),
        CsftSettings(**options | changes),
        section="csft",
        checkpoints=folder / "checkpoints",
        tensorboard=folder / "tensorboard",
        seed=3,
        strategy=tf.distribute.get_strategy(),
        evaluate=evaluate,
    )


def state(objective: Toy) -> list[np.ndarray]:
    """All its variables."""
    return [np.array(variable) for variable in objective.variables]


def score_of(objective: Toy) -> Evaluation:
    """Worse and better in turn, by the weights alone."""
    weight = float(np.array(objective.dense.kernel)[0, 0])
    return Evaluation(float(np.sin(1e4 * weight)), {"weight": weight})
