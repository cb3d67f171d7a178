"""What gradient caching saves: peak memory of a training step over the batch size, in one piece and in chunks.

    .venv/bin/python -m benchmarks.gradient_caching                        # chunks of 256, random images
    .venv/bin/python -m benchmarks.gradient_caching 128                    # other chunks
    .venv/bin/python -m benchmarks.gradient_caching 256 build/demo/prepare/records    # a training's own input

The image-text alignment of a small vision transformer and a small BERT, by the `Trainer` that `pretrain` uses. Each row
in a process of its own, whose peak resident memory is read after some steps; "before" is the same process's memory when
everything is built, before its first step. In chunks, what is left to grow with the batch is, at 4,096:

- batches of images, uint8: 50 MB each (64 px), of which one is trained on, one is ready and one in the making,
- which titles are equal, one byte a pair: 17 MB,
- embeddings and their gradients: 2 MB each.

The similarities, 67 MB a matrix, are computed a block of rows at a time. "To one piece" is the ratio of the peaks.

Random images are made by the input pipeline, so nothing but the batches on their way is held. Records are shuffled,
decoded and augmented, as in a training; there must be as many as the largest batch.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

STEPS = 3  # the first one builds the graph
BATCHES = (256, 512, 1024, 2048, 4096)
IN_ONE_PIECE = (256, 512, 1024)  # more do not fit into small machines
IMAGE_SIZE, LENGTH, DIM = 64, 16, 64
WORDS = ("red", "blue", "summer", "winter", "dress", "shirt", "shoe", "bag", "cotton", "wool")


def measure(batch_size: int, chunk_size: int | None, records: str | None) -> tuple[float, float, float]:
    """MiB before the first step, MiB at the peak, examples per second, of this process."""
    import tensorflow as tf

    from mim_tf.encoders import text_encoder, vision_encoder, vocabulary_files
    from mim_tf.encoders.tokenizers import learn_vocabulary
    from mim_tf.pretraining.image_text import ImageText
    from mim_tf.settings import ImageTextSettings
    from mim_tf.training.trainer import Trainer

    titles = tf.data.Dataset.from_tensor_slices([" ".join(WORDS)])
    text = text_encoder("bert_tiny", dim=DIM, length=LENGTH, files=vocabulary_files(learn_vocabulary(titles)))
    objective = ImageText(vision_encoder("vit_mini_patch8", dim=DIM, image_size=IMAGE_SIZE), text)
    options = ImageTextSettings(batch_size=batch_size, chunk_size=chunk_size)
    trainer = Trainer(
        objective,
        options,
        steps=STEPS,
        rates={},
        strategy=tf.distribute.get_strategy(),
        batches_from=lambda step: _batches(objective, options, records),
        stop_requested=lambda: False,
    )
    before = _peak()
    speed = trainer.train(tf.constant(STEPS))["examples_per_second"]
    return before, _peak(), speed


def _batches(objective: Any, options: Any, records: str | None) -> Any:
    import tensorflow as tf

    from mim_tf.data.record_schema import TRAIN_ITEMS
    from mim_tf.training.input import Records, distributed_batches

    if records:
        source = Records(Path(records), TRAIN_ITEMS, count=options.batch_size)
        return distributed_batches(objective, source, options, seed=0, step=0, strategy=tf.distribute.get_strategy())
    return random_examples(options.batch_size).map(objective.tokenize).prefetch(2)


def random_examples(batch_size: int) -> Any:
    """An endless dataset of batches: images of noise, titles of `WORDS`."""
    import tensorflow as tf

    def example(number: tf.Tensor) -> dict[str, tf.Tensor]:
        seed = tf.stack([number, 0])
        image = tf.random.stateless_uniform([IMAGE_SIZE, IMAGE_SIZE, 3], seed, 0, 256, tf.int32)
        words = tf.gather(WORDS, tf.random.stateless_uniform([4], seed, 0, len(WORDS), tf.int32))
        return {"image": tf.cast(image, tf.uint8), "title": tf.strings.reduce_join(words, separator=" ")}

    examples = tf.data.Dataset.range(2**31).map(example, num_parallel_calls=tf.data.AUTOTUNE)
    return examples.batch(batch_size, drop_remainder=True)


def _peak() -> float:
    """MiB; not `getrusage`'s, which in a child starts at its parent's."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024


def row(*arguments: object) -> list[float]:
    """What `measure` returns, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.gradient_caching", "--row", *map(str, arguments)]
    answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [float(value) for value in answer.split()[-3:]]


def main(arguments: list[str]) -> None:
    """Print the table, or with `--row` what one row is made of."""
    if arguments[:1] == ["--row"]:
        _, batch_size, chunk_size, records = [*arguments, ""][:4]
        print(*measure(int(batch_size), int(chunk_size) or None, records or None))
        return
    chunk_size, records = arguments + ["256", ""][len(arguments) :]
    header = ("batch", "chunk", "MiB before", "MiB peak", "examples/s", "to one piece")
    print("".join(f"{name:>13}" for name in header))
    for batch in BATCHES:
        whole = row(batch, 0, records) if batch in IN_ONE_PIECE else None
        chunked = row(batch, chunk_size, records)
        if whole:
            print(_line(batch, "none", *whole, "1.00"), flush=True)
        print(_line(batch, chunk_size, *chunked, f"{chunked[1] / whole[1]:.2f}" if whole else ""), flush=True)


def _line(batch: int, chunk: str, before: float, peak: float, speed: float, ratio: str) -> str:
    return f"{batch:13}{chunk:>13}{before:13.0f}{peak:13.0f}{speed:13.0f}{ratio:>13}"


if __name__ == "__main__":
    main(sys.argv[1:])
