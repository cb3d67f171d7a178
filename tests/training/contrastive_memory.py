"""Trains two steps in chunks of 256 at a batch size and prints the peak of this process's memory, MiB."""

import sys
from pathlib import Path

import tensorflow as tf

from mim_tf.pretraining.image_text import ImageText
from mim_tf.settings import ImageTextSettings
from mim_tf.training.trainer import Trainer
from tests.encoders.conftest import make_toy

STEPS = 2


def peak() -> float:
    """Of this process alone; `getrusage`'s starts at the parent's."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024


def main(batch_size: int) -> None:
    vision, text = make_toy("vision-vit").encoder, make_toy("text-bert").encoder
    objective = ImageText(vision, text)
    images = tf.zeros([batch_size, vision.image_size, vision.image_size, 3], tf.uint8)
    titles = tf.strings.as_string(tf.range(batch_size))
    batch = objective.tokenize({"image": images, "title": titles})
    trainer = Trainer(
        objective,
        ImageTextSettings(batch_size=batch_size, chunk_size=256),
        steps=STEPS,
        rates={},
        strategy=tf.distribute.get_strategy(),
        batches_from=lambda step: [batch] * STEPS,
        stop_requested=lambda: False,
    )
    trainer.train(tf.constant(STEPS))
    print(peak())


if __name__ == "__main__":
    main(int(sys.argv[1]))
