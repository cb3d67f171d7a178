"""Whether trainings wait for their input: examples per second of the pipeline alone and of the whole training.

    .venv/bin/python -m benchmarks.training_input

Records of the drawn demo shop, prepared in a temporary folder, and the small encoders of `configs/demo.yaml`, where a
step is short and input has the least time. Per objective: the pipeline alone, megabytes per second of it, the
training with it, and the share of the training's time spent in waiting for the next batch.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras
import tensorflow as tf

from mim_tf.data.demo_shop import make_demo_shop
from mim_tf.data.hard_negatives import HardNegatives
from mim_tf.data.record_schema import PAIRS, TRAIN_ITEMS
from mim_tf.encoders import TextEncoder, VisionEncoder, vision_encoder
from mim_tf.finetuning.csft import CsftModel
from mim_tf.finetuning.item_encoder import ItemEncoder
from mim_tf.finetuning.multi_level import MultiLevel
from mim_tf.finetuning.space_time_contrast import SpaceTimeContrast
from mim_tf.pretraining.image_text import ImageText
from mim_tf.pretraining.image_views import ImageViews
from mim_tf.pretraining.masked_image import MaskedImage
from mim_tf.pretraining.masked_language import MaskedLanguage
from mim_tf.settings import TrainingSettings, load_settings
from mim_tf.training.input import Records, distributed_batches
from mim_tf.training.models import build_encoders, records_folder
from mim_tf.training.trainer import Trainer
from mim_tf.workdir import StageFolder

CONFIG = "configs/demo.yaml"
BATCH, STEPS, DIM = 128, 20, 64
OBJECTIVES: dict[str, Callable[[VisionEncoder, TextEncoder], keras.Model]] = {
    "masked_language": lambda vision, text: MaskedLanguage(text, mask_share=0.15, whole_words=False),
    "masked_image": lambda vision, text: MaskedImage(vision),
    "image_views": lambda vision, text: ImageViews(vision_encoder("resnet_toy", dim=DIM, image_size=64)),
    "image_text": ImageText,
}


def measure(name: str, workdir: Path) -> str:
    """One row."""
    stage, strategy = StageFolder(workdir, "prepare"), tf.distribute.get_strategy()
    encoders = build_encoders(load_settings(CONFIG).encoders, stage)
    objective = _csft(*encoders, records_folder(stage)) if name == "csft" else OBJECTIVES[name](*encoders)
    records = Records(records_folder(stage), PAIRS if name == "csft" else TRAIN_ITEMS, BATCH)
    options = TrainingSettings(batch_size=BATCH)
    batches = distributed_batches(objective, records, options, 0, 0, strategy)
    alone, megabytes = _alone(batches)
    trainer = Trainer(
        objective,
        options,
        steps=STEPS,
        rates={},
        strategy=strategy,
        batches_from=lambda step: distributed_batches(objective, records, options, 0, step, strategy),
        stop_requested=lambda: False,
    )
    trainer.train(tf.constant(STEPS))
    speed = trainer.speed()
    return (
        f"{name:16}{alone:12.0f}{alone * megabytes / BATCH:10.1f}{speed['examples_per_second']:12.0f}"
        f"{speed['input_wait_share']:12.1%}"
    )


def _csft(vision: VisionEncoder, text: TextEncoder, records: Path) -> CsftModel:
    loss = SpaceTimeContrast(MultiLevel(0.5, 0.5), 0.1)
    return CsftModel(ItemEncoder(vision, text, (), DIM), loss, HardNegatives(records))


def _alone(batches: tf.data.Dataset) -> tuple[float, float]:
    """Examples per second, and megabytes of a batch."""
    iterator = iter(batches)
    batch = next(iterator)  # fills the buffers
    start = time.perf_counter()
    for _ in range(STEPS):
        next(iterator)
    megabytes = sum(tensor.shape.num_elements() * tensor.dtype.size for tensor in batch.values()) / 1e6
    return STEPS * BATCH / (time.perf_counter() - start), megabytes


def main(names: list[str]) -> None:
    """Print the table, row by row."""
    with tempfile.TemporaryDirectory() as folder:
        shop, workdir = Path(folder) / "shop", Path(folder) / "work"
        make_demo_shop(shop)
        tables = [f"data.{name}={shop / name}.parquet" for name in ("items", "impressions", "pairs")]
        overrides = [part for table in tables for part in ("--set", table)]
        command = [sys.executable, "-m", "mim_tf.prepare", "--config", CONFIG, "--workdir", str(workdir), *overrides]
        subprocess.run(command, check=True, capture_output=True)
        print(f"{'objective':16}{'alone/s':>12}{'MB/s':>10}{'training/s':>12}{'waiting':>12}", flush=True)
        for name in names or [*OBJECTIVES, "csft"]:
            print(measure(name, workdir), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
