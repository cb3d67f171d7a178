"""What the training options cost: examples per second and peak memory of a training step.

    .venv/bin/python -m benchmarks.encoder_training [encoder] [batch]

Each option in a process of its own, whose peak resident memory is read after some steps; the floor is the memory of the
same process before its first step. Adam as optimiser, so what learns costs two more copies of itself.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

STEPS = 6
OPTIONS = ("all", "last 2 blocks", "frozen", "LoRA 8", "all, recomputed", "all, bfloat16", "all, recomputed, bfloat16")


def measure(option: str, name: str, batch: int) -> str:
    """One row, in this process."""
    import keras
    import tensorflow as tf

    from mim_tf.encoders import VisionEncoder, add_lora, recompute_activations, train_last_blocks, vision_encoder

    adaptations: dict[str, Callable[[VisionEncoder], None]] = {
        "last 2 blocks": lambda encoder: train_last_blocks(encoder, 2),
        "frozen": lambda encoder: train_last_blocks(encoder, 0),
        "LoRA 8": lambda encoder: add_lora(encoder, 8),
    }
    dtype = "mixed_bfloat16" if "bfloat16" in option else "float32"
    encoder = vision_encoder(name, dim=64, image_size=224, dtype=dtype)
    if option in adaptations:
        adaptations[option](encoder)
    if "recomputed" in option:
        recompute_activations(encoder)
    images = tf.random.uniform([batch, 224, 224, 3], maxval=255)
    variables = encoder.trainable_variables
    optimizer = keras.optimizers.Adam(1e-4)
    optimizer.build(variables)

    @tf.function
    def step() -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(encoder(images, training=True)))
        optimizer.apply(tape.gradient(loss, [variable.value for variable in variables]), variables)
        return loss

    before, seconds = _peak(), []
    for _ in range(STEPS):
        start = time.perf_counter()
        step().numpy()
        seconds.append(time.perf_counter() - start)
    learning = sum(variable.numpy().size for variable in variables) / 1e6
    rate = batch / statistics.median(seconds[1:])
    return f"{option:26} {learning:12.2f} {rate:12.1f} {before:10.0f} {_peak():10.0f}"


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # MiB


def main(arguments: list[str]) -> None:
    """Print the table, or with an option's name its row."""
    if "--option" in arguments:
        _, option, name, batch = arguments
        print(measure(option, name, int(batch)))
        return
    name, batch = arguments + ["vit_small", "32"][len(arguments) :]
    print(f"{name}, 224 px, batch {batch}")
    print(f"{'learns':26} {'million':>12} {'images/s':>12} {'MiB before':>10} {'MiB peak':>10}")
    for option in OPTIONS:
        command = [sys.executable, "-m", "benchmarks.encoder_training", "--option", option, name, batch]
        print(subprocess.run(command, check=True, capture_output=True, text=True).stdout, end="", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
