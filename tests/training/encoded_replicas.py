"""End-to-end training on some devices, its weights left in a file: run by `encoded_items_test.py`.

Arguments: a workdir with `run.yaml`, the number of devices that the CPU is split into, and the file.
"""

import sys
from pathlib import Path

import numpy as np
import tensorflow as tf

from mim_tf.data.records import read_impressions
from mim_tf.ranking.end_to_end_model import EndToEndModel
from mim_tf.settings import load_settings
from mim_tf.training.rankers import build_ranker
from mim_tf.training.strategies import make_strategy, split_cpu

STEPS, BATCH = 3, 32


def main(workdir: Path, devices: int, file: Path) -> None:
    """Train, the same batches on any number of devices."""
    if devices > 1:
        split_cpu(devices)
    settings = load_settings(workdir / "run.yaml", ["rank.embeddings=end_to_end"])
    with make_strategy("mirrored" if devices > 1 else "one_device").scope():
        tf.keras.utils.set_random_seed(0)
        model = EndToEndModel(build_ranker(settings, workdir, "model"))
        model.compile(tf.keras.optimizers.Adam(0.01), tf.keras.optimizers.Adam(0.001))
        batches = read_impressions(workdir / "prepare" / "records", "train", batch_size=BATCH)
        model.fit(batches.take(STEPS), verbose=0)
    np.savez(file, *[variable.numpy() for variable in model.trainable_variables])


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
