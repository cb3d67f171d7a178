"""Trainings on two replicas beside the same on one, as JSON: run by `replicas_test.py`, where devices are still free.

`two_replicas.py` splits the CPU into two devices; with `TF_CONFIG` it is one of two workers.
"""

import json
import os
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from mim_tf.encoders import text_encoder, vision_encoder
from mim_tf.finetuning.csft import CsftModel
from mim_tf.finetuning.item_encoder import ItemEncoder
from mim_tf.pretraining.causal_language import CausalLanguage
from mim_tf.pretraining.image_text import ImageText
from mim_tf.pretraining.image_views import ImageViews
from mim_tf.pretraining.masked_image import MaskedImage
from mim_tf.pretraining.masked_language import MaskedLanguage
from mim_tf.settings import ContrastiveSettings
from mim_tf.training.trainer import Trainer
from tests.encoders.toys import tokenizer_files

DIM, ROWS, STEPS = 4, 8, 3  # rows of both replicas together
Arrays = dict[str, np.ndarray]


def vision(name: str = "vit_toy") -> Any:
    return vision_encoder(name, dim=DIM, image_size=32)


def text(family: str = "bert") -> Any:
    return text_encoder(f"{family}_toy", dim=DIM, length=8, files=tokenizer_files(family))


# What is trained, and how many rows at once.
CASES: dict[str, tuple[Callable[[], Any], int | None]] = {
    "softmax": (lambda: ImageText(vision(), text()), None),
    "softmax in chunks": (lambda: ImageText(vision(), text()), 2),
    "sigmoid": (lambda: ImageText(vision(), text(), loss="sigmoid"), None),
    "masked language": (lambda: MaskedLanguage(text(), mask_share=0.3, whole_words=False), None),
    "causal language": (lambda: CausalLanguage(text("gpt2")), None),
    "masked image": (lambda: MaskedImage(vision()), None),
    "views": (lambda: ImageViews(vision("convnext_toy")), None),
    "views with batch normalisation": (lambda: ImageViews(vision("resnet_toy")), None),
    "fine-tuning": (lambda: CsftModel(ItemEncoder(vision(), text(), (), DIM), 0.1, 0.5, 0.25), None),
    "fine-tuning in chunks": (lambda: CsftModel(ItemEncoder(vision(), text(), (), DIM), 0.1, 0.5, 0.25), 2),
}
STEPPED = ("softmax in chunks", "masked language", "views with batch normalisation")  # the others' gradients suffice


def examples(step: int) -> dict[str, tf.Tensor]:
    """What items and pairs decode to; some titles and items come twice, on the same replica and on both."""
    random = np.random.default_rng(step)
    titles = np.array(["red dress", "a", "blue summer hat", "red dress", "bag of red", "shoe", "a", "red"])
    images = {
        name: tf.constant(random.integers(0, 256, (ROWS, 32, 32, 3), np.uint8))
        for name in ("image", "query_image", "negative_image")
    }
    return images | {
        "title": tf.constant(titles),
        "negative_title": tf.constant(random.permutation(titles)),
        "item_id": tf.constant([1, 2, 3, 1, 5, 6, 2, 8], tf.int64),
        "negative_item_id": tf.constant([2, 9, 1, 8, 10, 11, 12, 13], tf.int64),
        "query_item_id": tf.constant([-1, 8, -1, 9, -1, -1, 1, -1], tf.int64),
    }


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


def trained(
    make: Callable[[], Any],
    chunk_size: int | None,
    batches: list[Arrays],
    strategy: tf.distribute.Strategy,
    steps: int,
) -> Arrays:
    """The loss and gradients of the first batch; with steps, also weights and averages after them."""
    keras.utils.set_random_seed(0)
    options = ContrastiveSettings(batch_size=ROWS, chunk_size=chunk_size, averaging=0.5, warmup=0, clip_norm=0.1)
    inputs = strategy.distribute_datasets_from_function(partial(dataset, batches))
    with strategy.scope():
        objective = make()
        trainer = Trainer(
            objective,
            options,
            steps=10,
            rates={},
            strategy=strategy,
            batches_from=lambda step: inputs,
            stop_requested=lambda: False,
        )
    start = _values(objective)
    step = tf.function(lambda batch: strategy.run(trainer._gradients, (batch, tf.constant(False))))
    gradients, values, *_ = tf.nest.map_structure(
        lambda value: strategy.experimental_local_results(value)[0].numpy(), step(next(iter(inputs)))
    )
    found = {"loss": values[:1], "gradients": _flat(gradients)}
    if not steps:
        return found
    for variable, value in zip(objective.variables, start, strict=True):  # batch normalisation has moved
        variable.assign(value)
    trainer.train(tf.constant(steps))
    weights, averages = _values(objective), [average.numpy() for average in trainer.average.averages]
    moved = [weight - value for weight, value in zip(weights, start, strict=True)]
    return found | {"weights": _flat(weights), "averages": _flat(averages), "moved": _flat(moved)}


def _values(objective: Any) -> list[np.ndarray]:
    return [variable.value.numpy() for variable in objective.variables]


def _flat(arrays: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([array.ravel() for array in arrays]).astype(np.float64)


def compared(name: str, strategy: tf.distribute.Strategy) -> dict[str, float]:
    """Largest differences; those of gradients relative to the largest gradient."""
    make, chunk_size = CASES[name]
    keras.utils.set_random_seed(0)
    batches = batches_of(make())
    steps = STEPS if name in STEPPED else 0
    whole = trained(make, None, batches, tf.distribute.get_strategy(), steps)
    parts = trained(make, chunk_size, batches, strategy, steps)
    moved = {"moved": float(np.abs(whole.pop("moved")).max())} if steps else {}
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
