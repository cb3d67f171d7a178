"""Stage 2: C-SFT on the shop's interest pairs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import keras
import tensorflow as tf

from mim_tf.contrastive import NegativeQueue
from mim_tf.data.catalogue import Catalogue
from mim_tf.data.hard_negatives import HardNegatives
from mim_tf.data.record_schema import PAIRS, TRAIN_ITEMS, VALIDATION_PAIRS, RecordSchema
from mim_tf.data.training_batches import evaluation_batches
from mim_tf.errors import DataError
from mim_tf.finetuning.category_classification import CategoryClassification
from mim_tf.finetuning.csft import CsftModel, Negatives
from mim_tf.finetuning.item_encoder import ItemEncoder
from mim_tf.finetuning.item_matching import ItemMatching
from mim_tf.finetuning.multi_level import MultiLevel
from mim_tf.finetuning.queue_drift import QueueDrift
from mim_tf.finetuning.slow_weights import SlowWeights
from mim_tf.finetuning.space_time_contrast import SpaceTimeContrast
from mim_tf.settings import Settings
from mim_tf.training.input import Records
from mim_tf.training.loop import nothing_held_out, train
from mim_tf.training.models import adapt, load_encoders, rates_of, records_folder, save_item_encoder
from mim_tf.training.pair_retrieval import pair_retrieval
from mim_tf.training.strategies import make_strategy, no_worker_lost
from mim_tf.training.workers import worker_of
from mim_tf.workdir import StageFolder

_WATCHED = 8  # items whose drift is shown
_MOST_AT_ONCE = 256  # of an evaluation


@no_worker_lost()
def run(settings: Settings, workdir: Path) -> dict[str, float]:
    """Train from the encoders of stage 1, and leave the item encoder in the stage's folder."""
    options = settings.csft
    strategy = make_strategy(options.strategy)  # before anything else of TensorFlow
    worker = worker_of(options.strategy)
    keras.utils.set_random_seed(settings.seed)
    prepare, stage = StageFolder(workdir, "prepare"), StageFolder(workdir, "csft")
    records = records_folder(prepare)
    counts = RecordSchema.load(records).counts
    if options.epochs and not counts.get(PAIRS):
        raise DataError(
            "`data.pairs` or `data.impressions` must be set for C-SFT to have pairs: set one, prepare again."
        )

    def make_model() -> CsftModel:
        vision, text = load_encoders(StageFolder(workdir, "pretrain"), settings.encoders.precision)
        adapt(vision, text, settings.encoders)
        items = ItemEncoder(
            vision, text, options.fusion_units, settings.encoders.dim, options.fusion, options.image_weight
        )
        categories = len(Catalogue.open(records, verify=False).categories)
        return csft_model(items, settings, HardNegatives(records), categories, _watched(items, records))

    model, metrics = train(
        make_model,
        Records(records, PAIRS, counts.get(PAIRS, 0)),
        options,
        section="csft",
        checkpoints=stage.checkpoints,
        tensorboard=stage.tensorboard,
        seed=settings.seed,
        strategy=strategy,
        worker=worker,
        rates=lambda model: rates_of(options, model.items.vision, model.items.text),
        evaluate=pair_retrieval(records, _MOST_AT_ONCE) if counts.get(VALIDATION_PAIRS) else nothing_held_out,
    )
    if worker.is_chief:
        save_item_encoder(stage, model.items)
    return metrics


def csft_model(
    items: ItemEncoder, settings: Settings, negatives: Negatives, categories: int, watched: tuple[tf.Tensor, tf.Tensor]
) -> CsftModel:
    """What is trained: the encoder under the loss that the settings ask for.

    Args:
        items: the encoder.
        settings: of the run.
        negatives: draws hard negatives.
        categories: how many the catalogue has.
        watched: images and token ids of the items whose drift is shown.
    """
    options, dim = settings.csft, settings.encoders.dim
    levels = MultiLevel(options.alpha, options.beta)
    make: Callable[..., CsftModel] = partial(CsftModel, items, negatives=negatives, augmentation=options.augmentation)
    if options.loss == "category":
        return make(CategoryClassification(levels, options.temperature, categories=categories, dim=dim))
    if options.loss == "matching":
        return make(ItemMatching(levels, options.temperature))
    space_time = options.st_nsg
    contrast = partial(
        SpaceTimeContrast, levels, options.temperature, mask_false_negatives=options.mask_false_negatives
    )
    if not space_time or not space_time.queue_batches:
        return make(contrast(space_time=space_time is not None))
    queue = NegativeQueue(
        batches=space_time.queue_batches,
        rows=2 * options.batch_size,
        levels=len(levels.weights),
        dim=dim,
        dtype=settings.encoders.precision,
    )
    slow = SlowWeights(items, space_time.momentum) if space_time.momentum else None
    drift = QueueDrift(items, *watched, every=space_time.queue_batches, dim=dim, slow=slow)
    return make(contrast(queue=queue), slow=slow, drift=drift)


def _watched(items: ItemEncoder, records: Path) -> tuple[tf.Tensor, tf.Tensor]:
    """Images and token ids of the first few items."""
    batches = evaluation_batches(
        records,
        TRAIN_ITEMS,
        batch_size=_WATCHED,
        decode=lambda record: {"image": items.vision.decode(record["image"]), "title": record["title"]},
        assemble=lambda examples, seed: examples | {"token_ids": items.text.tokenize(examples["title"])},
        seed=0,
        most=_WATCHED,
        verify=False,
    )
    batch = next(iter(batches))
    return tf.cast(batch["image"], tf.uint8), batch["token_ids"]
