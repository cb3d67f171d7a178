"""Stage 2: C-SFT on the shop's interest pairs."""

from __future__ import annotations

from pathlib import Path

import keras

from mim_tf.data.record_schema import PAIRS
from mim_tf.finetuning.csft import CsftModel
from mim_tf.finetuning.item_encoder import ItemEncoder
from mim_tf.settings import Settings
from mim_tf.training.input import Records
from mim_tf.training.loop import train
from mim_tf.training.models import adapt, load_encoders, rates_of, records_folder, save_item_encoder
from mim_tf.training.strategies import make_strategy, no_worker_lost
from mim_tf.training.workers import worker_of
from mim_tf.workdir import StageFolder


@no_worker_lost()
def run(settings: Settings, workdir: Path) -> dict[str, float]:
    """Train from the encoders of stage 1, and leave the item encoder in the stage's folder."""
    options = settings.csft
    strategy = make_strategy(options.strategy)  # before anything else of TensorFlow
    worker = worker_of(options.strategy)
    keras.utils.set_random_seed(settings.seed)
    prepare, stage = StageFolder(workdir, "prepare"), StageFolder(workdir, "csft")

    def make_model() -> CsftModel:
        vision, text = load_encoders(StageFolder(workdir, "pretrain"), settings.encoders.precision)
        adapt(vision, text, settings.encoders)
        items = ItemEncoder(vision, text, options.fusion_units, settings.encoders.dim)
        return CsftModel(items, options.temperature, options.alpha, options.beta)

    model, metrics = train(
        make_model,
        Records(records_folder(prepare), PAIRS, int(prepare.metrics["pairs"])),
        options,
        section="csft",
        checkpoints=stage.checkpoints,
        tensorboard=stage.tensorboard,
        seed=settings.seed,
        strategy=strategy,
        worker=worker,
        rates=lambda model: rates_of(options, model.items.vision, model.items.text),
    )
    if worker.is_chief:
        save_item_encoder(stage, model.items)
    return metrics
