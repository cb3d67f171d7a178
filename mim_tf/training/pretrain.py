"""Stage 1: align the image and the text encoder on the shop's items."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import keras

from mim_tf.data.records import read_items
from mim_tf.errors import SettingsError
from mim_tf.pretraining.image_text import ImageTextModel, image_text_batches
from mim_tf.settings import Settings
from mim_tf.training.loop import train
from mim_tf.training.models import adapt, build_encoders, records_folder, save_encoders
from mim_tf.workdir import StageFolder


def run(settings: Settings, workdir: Path) -> dict[str, float]:
    """Train, and leave both encoders in the stage's folder."""
    keras.utils.set_random_seed(settings.seed)
    prepare, stage = StageFolder(workdir, "prepare"), StageFolder(workdir, "pretrain")
    vision, text = build_encoders(settings.encoders, prepare)
    adapt(vision, text, settings.encoders)
    options = settings.pretrain
    batches_from = partial(
        image_text_batches,
        read_items(records_folder(prepare)),
        vision,
        text,
        batch_size=options.batch_size,
        seed=settings.seed,
    )
    steps = epoch_steps(int(prepare.metrics["items"]), options.batch_size, "pretrain") * options.epochs
    metrics = train(
        ImageTextModel(vision, text, options.temperature),
        lambda first_step: batches_from(first_step=first_step),
        steps=steps,
        learning_rate=options.learning_rate,
        weight_decay=options.weight_decay,
        checkpoints=stage.checkpoints,
        tensorboard=stage.tensorboard,
    )
    save_encoders(stage, vision, text)
    return metrics


def epoch_steps(examples: int, batch_size: int, section: str) -> int:
    """Full batches per epoch.

    Raises:
        SettingsError: there is not even one.
    """
    if examples < batch_size:
        raise SettingsError(
            f"`{section}.batch_size` must be at most {examples}, all there are. Received: {batch_size}."
        )
    return examples // batch_size
