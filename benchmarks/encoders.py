"""Images and titles per second of our encoders and of the libraries they were published in, side by side.

    make parity                                    # once: PyTorch's environment
    .venv/bin/python -m benchmarks.encoders        # all of ENCODERS; or name some: ... encoders resnet50 bert_base

Both sides hold the same architecture with random weights in processes of their own and take turns, one repetition each,
so that what else the machine does meets both. Printed are medians. A training step is forward, backward and an update
by SGD of all weights, in float32. OpenMP's threads (PyTorch's) wait passively: actively they take the cores from the
side whose turn it is, and from themselves where the machine is not idle.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# name: batch, and pixels (vision) or tokens (text). In text, titles of full length.
ENCODERS: dict[str, tuple[int, int]] = {
    "resnet50": (8, 224),
    "convnext_tiny": (8, 224),
    "convnextv2_atto": (16, 224),
    "swin_tiny": (8, 224),
    "vit_small": (8, 224),
    "dinov2_small": (8, 224),
    "dinov3_small": (8, 224),
    "siglip_base": (4, 224),
    "eva02_tiny": (8, 224),
    "beit3_base": (4, 224),
    "bert_base": (16, 32),
    "bge_small": (32, 32),
    "gpt2_base": (16, 32),
    "xlm_roberta_base": (16, 32),
    "qwen3_600m": (4, 32),
}
REPETITIONS = 7
WORKERS = {
    "mim_tf": [".venv/bin/python", "-m", "benchmarks.encoder_worker"],
    "reference": [".venv-parity/bin/python", "-m", "benchmarks.reference_worker"],
}


class Worker:
    """A process that holds one side's encoder and times one repetition at a time."""

    def __init__(self, command: list[str]):
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=os.environ | {"OMP_WAIT_POLICY": "PASSIVE"},
        )

    def ask(self, request: dict[str, Any]) -> float:
        """Send one request and wait for its answer, seconds.

        Raises:
            RuntimeError: the process ended.
        """
        print(json.dumps(request), file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the worker ended at {request}: run it alone to see why")
        return float(answer)

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()


@contextmanager
def both_sides(name: str) -> Iterator[dict[str, Worker]]:
    """Both sides' processes, ready with the encoder."""
    batch, size = ENCODERS[name]
    workers = {side: Worker(command) for side, command in WORKERS.items()}
    try:
        for worker in workers.values():
            worker.ask({"encoder": name, "batch": batch, "size": size})
        yield workers
    finally:
        for worker in workers.values():
            worker.close()


def measure(name: str) -> list[str]:
    """One row of the table for inference and one for a training step."""
    batch, _ = ENCODERS[name]
    rows = []
    with both_sides(name) as workers:
        for mode in ("inference", "training"):
            seconds: dict[str, list[float]] = {side: [] for side in workers}
            for repetition in range(REPETITIONS + 2):
                for side, worker in workers.items():
                    elapsed = worker.ask({"mode": mode})
                    if repetition >= 2:  # compiled and warm
                        seconds[side].append(elapsed)
            ours, theirs = (batch / statistics.median(seconds[side]) for side in WORKERS)
            rows.append(f"{name:18} {mode:10} {ours:10.1f} {theirs:10.1f} {ours / theirs:7.2f}")
    return rows


def main(names: list[str]) -> None:
    """Print the table, row by row."""
    unknown = sorted(set(names) - set(ENCODERS))
    if unknown:
        raise SystemExit(f"no such encoder: {', '.join(unknown)}. Known: {', '.join(sorted(ENCODERS))}.")
    print(f"{'encoder':18} {'':10} {'mim_tf/s':>10} {'reference/s':>10} {'ratio':>6}")
    for name in names or ENCODERS:
        for row in measure(name):
            print(row, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
