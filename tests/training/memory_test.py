"""Gradient caching: how much memory a step takes hardly depends on the size of the batch."""

import subprocess
import sys
from pathlib import Path

import pytest

MIB = 2**20


def peak(batch_size: int) -> float:
    """MiB, of a training of toys in a process of its own."""
    command = [sys.executable, "-m", "tests.training.contrastive_memory", str(batch_size)]
    root = Path(__file__).parents[2]
    return float(subprocess.run(command, check=True, capture_output=True, text=True, cwd=root).stdout.split()[-1])


@pytest.mark.slow
def test_sixteen_times_the_batch_takes_less_than_two_matrices_of_similarities_more() -> None:
    # What may grow: images of 32 pixels, 12 MiB; which titles are equal, a byte per pair, 16 MiB and once more while
    # they are compared. A single softmax over whole matrices, with its gradient, would hold three of 64 MiB.
    matrix = 4096 * 4096 * 4 / MIB
    assert peak(4096) - peak(256) < 2 * matrix
