"""Stage 2: C-SFT on the shop's interest pairs."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import keras

from mim_tf.data.records import read_pairs
from mim_tf.finetuning.csft import CsftModel, csft_batches
from mim_tf.finetuning.item_encoder import ItemEncoder
from mim_tf.settings import Settings
from mim_tf.training.loop import train
from mim_tf.training.models import adapt, load_encoders, records_folder, save_item_encoder
from mim_tf.training.pretrain import epoch_steps
from mim_tf.workdir import StageFolder


def run(settings: Settings, workdir: Path) -> dict[str, float]:
    """Train from the pre-trained encoders, and leave the item encoder in the stage's folder."""
    keras.utils.set_random_seed(settings.seed)
    prepare, stage = StageFolder(workdir, "prepare"), StageFolder(workdir, "csft")
    options = settings.csft
    vision, text = load_encoders(StageFolder(workdir, "pretrain"), settings.encoders.precision)
    adapt(vision, text, settings.encoders)
    items = ItemEncoder(vision, text, options.fusion_units, settings.encoders.dim)
    batches_from = partial(
        csft_batches,
        read_pairs(records_folder(prepare)),
        items,
        batch_size=options.batch_size,
        seed=settings.seed,
    )
    steps = epoch_steps(int(prepare.metrics["pairs"]), options.batch_size, "csft") * options.epochs
    metrics = train(
        CsftModel(items, options.temperature, options.alpha, options.beta),
        lambda first_step: batches_from(first_step=first_step),
        steps=steps,
        learning_rate=options.learning_rate,
        weight_decay=options.weight_decay,
        checkpoints=stage.checkpoints,
        tensorboard=stage.tensorboard,
    )
    save_item_encoder(stage, items)
    return metrics
