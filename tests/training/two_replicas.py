"""Trainings on two replicas beside the same on one, as JSON: run by `replicas_test.py`, where devices are still free.

`two_replicas.py` splits the CPU into two devices; with `TF_CONFIG` it is one of two workers.
"""

import json
import os
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from mim_tf.finetuning.csft import CsftModel
from mim_tf.finetuning.item_encoder import ItemEncoder
from mim_tf.finetuning.item_matching import ItemMatching
from mim_tf.finetuning.queue_drift import QueueDrift
from mim_tf.finetuning.slow_weights import SlowWeights
from mim_tf.pretraining.causal_language import CausalLanguage
from mim_tf.pretraining.image_text import ImageText
from mim_tf.pretraining.image_views import ImageViews
from mim_tf.pretraining.masked_image import MaskedImage
from mim_tf.pretraining.masked_language import MaskedLanguage
from mim_tf.settings import ContrastiveSettings
from mim_tf.training.trainer import Trainer
from tests.finetuning.toy_csft import (
    DIM,
    LEVELS,
    ROWS,
    contrast,
    examples,
    item_encoder,
    negatives,
    text,
    vision,
)

STEPS = 3
Arrays = dict[str, np.ndarray]


def fine_tuning() -> CsftModel:
    """C-SFT whose queue of two batches is full and begins anew within the steps."""
    items, token_ids = item_encoder(), tf.constant([[2, 5, 6, 3, 0, 0, 0, 0]] * 2)
    drift = QueueDrift(items, examples(9)["image"][:2], token_ids, every=2, dim=DIM)
    return CsftModel(items, contrast(2), negatives, drift=drift)


def slow_fine_tuning() -> CsftModel:
    """The same, its queue filled by a slow encoder."""
    items = item_encoder()
    return CsftModel(items, contrast(2), negatives, slow=SlowWeights(items, 0.5))


def slow_fine_tuning_with_batch_normalisation() -> CsftModel:
    """As above, by a network whose batch is that of all replicas."""
    items = ItemEncoder(vision("resnet_toy"), text(), (), DIM)
    return CsftModel(items, contrast(2), negatives, slow=SlowWeights(items, 0.5))


def image_text() -> ImageText:
    """Two towers."""
    return ImageText(vision(), text())


# What is trained, and how many rows at once.
CASES: dict[str, tuple[Callable[[], Any], int | None]] = {
    "softmax": (image_text, None),
    "softmax in chunks": (image_text, 2),
    "sigmoid": (lambda: ImageText(vision(), text(), loss="sigmoid"), None),
    "masked language": (lambda: MaskedLanguage(text(), mask_share=0.3, whole_words=False), None),
    "causal language": (lambda: CausalLanguage(text("gpt2")), None),
    "masked image": (lambda: MaskedImage(vision()), None),
    "views": (lambda: ImageViews(vision("convnext_toy")), None),
    "views with batch normalisation": (lambda: ImageViews(vision("resnet_toy")), None),
    "fine-tuning": (fine_tuning, None),
    "fine-tuning in chunks": (slow_fine_tuning, 2),
    "fine-tuning with batch normalisation": (slow_fine_tuning_with_batch_normalisation, None),
    "matching": (lambda: CsftModel(item_encoder(), ItemMatching(LEVELS, 0.1), negatives), None),
}
STEPPED = (  # the others' gradients suffice
    "softmax in chunks",
    "masked language",
    "views with batch normalisation",
    "fine-tuning",
    "fine-tuning in chunks",
)
BEGUN_ALONE = ("fine-tuning in chunks",)  # on one replica; two go on before the last step, from a checkpoint


class WatchedTrainer(Trainer):
    """A trainer that keeps the gradients of its last step: to compute them beside it would trace the model once more.

    Args:
        learns: whether its steps move anything.
    """

    def __init__(self, *arguments: Any, learns: bool, **options: Any):
        super().__init__(*arguments, **options)
        self.gradients = tf.Variable(
            tf.zeros([_flat(_values(self.objective.trainable_variables)).size]),
            trainable=False,
            synchronization=tf.VariableSynchronization.ON_READ,
            aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
        )
        self._learns = learns

    def _gradients(self, batch: dict[str, tf.Tensor], stop: tf.Tensor) -> Any:
        gradients, *others = super()._gradients(batch, stop)
        self.gradients.assign(tf.concat([tf.reshape(gradient, [-1]) for gradient in gradients], axis=0))
        return gradients, *others

    def _apply(self, *step: Any) -> None:
        if self._learns:
            super()._apply(*step)


def batches_of(objective: Any) -> list[Arrays]:
    """A batch per step, for all replicas together."""
    batches = [objective.assemble(examples(step), tf.constant([step, 7])) for step in range(STEPS)]
    return [{name: rows.numpy() for name, rows in batch.items()} for batch in batches]


def dataset(batches: list[Arrays], context: tf.distribute.InputContext) -> tf.data.Dataset:
    """The share of one worker, a batch for each of its replicas in turn."""
    count = context.num_replicas_in_sync
    replicas = range(context.input_pipeline_id, count, context.num_input_pipelines)
    shares = [
        {name: np.split(rows, count)[replica] for name, rows in batch.items()}
        for batch in batches
        for replica in replicas
    ]
    return tf.data.Dataset.from_tensor_slices({name: np.stack([share[name] for share in shares]) for name in shares[0]})


def trained(first: Callable[[], WatchedTrainer], last: Callable[[], WatchedTrainer] | None = None) -> Arrays:
    """Scalars and gradients of the first batch; where it learns, also what is there after all steps.

    Args:
        first: makes a trainer.
        last: makes another one, which does the last step from a checkpoint.
    """
    keras.utils.set_random_seed(0)
    trainer = first()
    before = _flat(_values(trainer.objective.trainable_variables))
    scalars = trainer.train(tf.constant(1))
    shown = [scalars[name] for name in ("loss", "negatives", "false_negatives") if name in scalars]
    found = {"loss": np.array(shown), "gradients": trainer.gradients.numpy().astype(np.float64)}
    if not trainer._learns:
        return found
    trainer.train(tf.constant(STEPS - 2))
    if last:
        trainer = restarted(trainer, last())
    trainer.train(tf.constant(1))
    weights = _flat(_values(trainer.objective.trainable_variables))
    statistics = _values(trainer.objective.non_trainable_variables)  # and the queue
    return found | {
        "weights": weights,
        "averages": _flat([average.numpy() for average in trainer.average.averages]),
        **({"statistics": _flat(statistics)} if statistics else {}),
        "moved": weights - before,
    }


def new_trainer(
    name: str, batches: list[Arrays], strategy: tf.distribute.Strategy, *, in_chunks: bool
) -> WatchedTrainer:
    """The objective of a case and its trainer, at the beginning."""
    make, chunk_size = CASES[name]
    # From here on. On one replica a few steps take less time than their graph.
    tf.config.run_functions_eagerly(strategy.num_replicas_in_sync == 1)
    options = ContrastiveSettings(
        batch_size=ROWS, chunk_size=chunk_size if in_chunks else None, averaging=0.5, warmup=0, clip_norm=0.1
    )
    with strategy.scope():
        return WatchedTrainer(
            make(),
            options,
            learns=name in STEPPED,
            steps=10,
            rates={},
            strategy=strategy,
            batches_from=lambda step: strategy.distribute_datasets_from_function(partial(dataset, batches[step:])),
            stop_requested=lambda: False,
        )


def restarted(trainer: Trainer, other: WatchedTrainer) -> WatchedTrainer:
    """Another trainer, which goes on where the first one is."""
    with tempfile.TemporaryDirectory() as folder:  # of this worker alone
        other.checkpoint().read(trainer.checkpoint().write(f"{folder}/checkpoint")).assert_consumed()
    return other


def _values(variables: list[Any]) -> list[np.ndarray]:
    return [variable.value.numpy() for variable in variables]


def _flat(arrays: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([array.ravel() for array in arrays]).astype(np.float64)


def compared(name: str, strategy: tf.distribute.Strategy) -> dict[str, float]:
    """Largest differences; those of gradients relative to the largest gradient."""
    keras.utils.set_random_seed(0)
    batches = batches_of(CASES[name][0]())
    alone = tf.distribute.get_strategy()
    whole = trained(partial(new_trainer, name, batches, alone, in_chunks=False))
    here, there = (partial(new_trainer, name, batches, on, in_chunks=True) for on in (alone, strategy))
    parts = trained(here, there) if name in BEGUN_ALONE else trained(there)
    moved = {"moved": float(np.abs(whole.pop("moved")).max())} if name in STEPPED else {}
    differences = {key: float(np.abs(parts[key] - whole[key]).max()) for key in whole}
    differences["gradients"] /= np.abs(whole["gradients"]).max()
    return differences | moved


def main() -> None:
    """Print the differences of every case, or of those named."""
    if "TF_CONFIG" in os.environ:
        strategy: tf.distribute.Strategy = tf.distribute.MultiWorkerMirroredStrategy()
    else:
        halves = [tf.config.LogicalDeviceConfiguration()] * 2
        tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], halves)
        strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    assert strategy.num_replicas_in_sync == 2
    print(json.dumps({name: compared(name, strategy) for name in sys.argv[1:] or CASES}))


if __name__ == "__main__":
    main()
