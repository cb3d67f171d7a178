"""What the queue of C-SFT costs: time and memory of a training step over k, the past batches that it holds.

    .venv/bin/python -m benchmarks.csft          # 256 triplets a step
    .venv/bin/python -m benchmarks.csft 64

The encoders of configs/demo.yaml on random images and titles, by the `Trainer` that `csft` uses, every queue full.
Times are taken in turns, one step of each k after the other, so that all of them meet the same load: the ratio is the
median over the turns of a step's time to that with k = 0 in the same turn. Memory is that of a process of its own: its
peak over five steps, beside what the rows of the queue weigh.

The floor of a full queue's step, for 2 N k rows of three embeddings: two products of N x dim x 2 N k for each of them,
one for the logits and one for the gradient, and 3 x 2 N k x N exponentials. With N = 256, dim = 64 and k = 10 that is
1.0 GFLOP and 3.9 million exponentials.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

CONFIG = "configs/demo.yaml"
KS = (0, 1, 10, 50)
TURNS = 21
_ROW_BYTES = 3 * 64 * 4 + 8  # three embeddings of 64 float32 and an id: configs/demo.yaml's
WORDS = ("red", "blue", "summer", "winter", "dress", "shirt", "shoe", "bag", "cotton", "wool")


def trainer_of(k: int, batch_size: int) -> Any:
    """A training whose queue is full, and whose batches are one and the same."""
    import tensorflow as tf

    from mim_tf.encoders import text_encoder, vision_encoder, vocabulary_files
    from mim_tf.encoders.tokenizers import learn_vocabulary
    from mim_tf.finetuning.item_encoder import ItemEncoder
    from mim_tf.settings import load_settings
    from mim_tf.training.csft import csft_model
    from mim_tf.training.trainer import Trainer

    queue = [f"csft.st_nsg.queue_batches={k}", "csft.st_nsg.momentum=0"]
    settings = load_settings(CONFIG, [*queue, f"csft.batch_size={batch_size}"])
    encoders, dim = settings.encoders, settings.encoders.dim
    titles = tf.data.Dataset.from_tensor_slices([" ".join(WORDS)])
    files = vocabulary_files(learn_vocabulary(titles))
    items = ItemEncoder(
        vision_encoder(encoders.vision.name, dim=dim, image_size=encoders.vision.image_size),
        text_encoder(encoders.text.name, dim=dim, length=encoders.text.length, files=files),
        (),
        dim,
    )
    batch = _batch(items, batch_size)
    watched = (batch["images"][:8, 0], batch["token_ids"][:8, 0])
    objective = csft_model(items, settings, lambda *_: {}, 1, watched)  # no draw: the batch has its negatives
    if k:
        _fill(objective.pair_loss.queue, k, batch_size, dim)
    return Trainer(
        objective,
        settings.csft,
        steps=100,
        rates={},
        strategy=tf.distribute.get_strategy(),
        batches_from=lambda step: [batch] * 100,
        stop_requested=lambda: False,
    )


def _batch(items: Any, rows: int) -> dict[str, Any]:
    import tensorflow as tf

    size = items.vision.image_size
    titles = tf.strings.reduce_join(
        tf.gather(WORDS, tf.random.uniform([2 * rows, 4], 0, 10, tf.int32)), 1, separator=" "
    )
    return {
        "images": tf.cast(tf.random.uniform([rows, 3, size, size, 3], 0, 256, tf.int32), tf.uint8),
        "token_ids": tf.reshape(items.text.tokenize(titles), [rows, 2, -1]),
        "items": tf.reshape(tf.range(2 * rows, dtype=tf.int64), [rows, 2]),
        "query_item": tf.fill([rows], tf.constant(-1, tf.int64)),
        "category": tf.zeros([rows], tf.int64),
        "fallback": tf.zeros([rows]),
    }


def _fill(queue: Any, k: int, batch_size: int, dim: int) -> None:
    import tensorflow as tf

    push = tf.function(queue.push)
    for number in range(1, k + 1):
        items = tf.range(2 * batch_size, dtype=tf.int64) + 2 * batch_size * number
        push(tf.random.normal([2 * batch_size, 3, dim]), items)


def step_times(batch_size: int) -> list[list[float]]:
    """Seconds of each turn, of each k."""
    import tensorflow as tf

    trainers = [trainer_of(k, batch_size) for k in KS]
    for trainer in trainers:
        trainer.train(tf.constant(2))  # builds the graph
    return [[_seconds(trainer) for trainer in trainers] for _ in range(TURNS)]


def _seconds(trainer: Any) -> float:
    import tensorflow as tf

    start = time.perf_counter()
    trainer.train(tf.constant(1))
    return time.perf_counter() - start


def peak_of(k: int, batch_size: int) -> float:
    """MiB at the peak of five steps, of this process."""
    import tensorflow as tf

    trainer_of(k, batch_size).train(tf.constant(5))
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024


def _peak_in_a_process(k: int, batch_size: int) -> float:
    command = [sys.executable, "-m", "benchmarks.csft", "--peak", str(k), str(batch_size)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def main(arguments: list[str]) -> None:
    """Print the table, or with `--peak` one process' peak."""
    if arguments[:1] == ["--peak"]:
        print(peak_of(int(arguments[1]), int(arguments[2])))
        return
    batch_size = int(arguments[0]) if arguments else 256
    turns = step_times(batch_size)
    header = ("k", "rows", "ms a step", "to k = 0", "MiB of rows", "MiB peak", "more than k = 0")
    print("".join(f"{name:>16}" for name in header))
    first = 0.0
    for place, k in enumerate(KS):
        rows = 2 * batch_size * k
        peak = _peak_in_a_process(k, batch_size)
        first = first or peak
        columns = (
            f"{k}",
            f"{rows:,}",
            f"{1000 * median(turn[place] for turn in turns):.0f}",
            f"{median(turn[place] / turn[0] for turn in turns):.3f}",
            f"{rows * _ROW_BYTES / 2**20:.1f}",
            f"{peak:.0f}",
            f"{peak - first:.1f}",
        )
        print("".join(f"{column:>16}" for column in columns), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
