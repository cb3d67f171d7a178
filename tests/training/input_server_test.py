"""One input for several processes: whoever asks gets the next batch, and none comes twice."""

import functools
import gc
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from mim_tf.training import input_server
from mim_tf.training.input_server import InputServer


def numbers() -> InputServer:
    """Serves 0, 1, 2, and so on."""
    return InputServer(tf.data.Dataset.range(10**9), "localhost")


def test_two_at_unequal_pace_share_the_batches() -> None:
    served = InputServer(tf.data.Dataset.range(10**9).batch(2).map(lambda number: {"number": number}), "localhost")
    fast, slow = iter(served.batches()), iter(served.batches())
    taken = []
    for turn in range(60):
        for iterator in (fast, fast, fast, slow) if turn % 2 else (fast,):
            taken += next(iterator)["number"].numpy().tolist()
    assert len(taken) == len(set(taken)) == 2 * (30 + 30 * 4)
    # What was on its way to the slow one comes when it goes on: of the first 200 none is missing.
    taken += [number for _ in range(30) for number in next(slow)["number"].numpy().tolist()]
    assert set(range(200)) <= set(taken)


def test_what_a_training_reads_is_served_after_its_end() -> None:
    """And it is not what the next one reads, though that is the same dataset."""
    first = numbers().batches()
    gc.collect()
    second = numbers().batches()
    for batches in (first, second):
        assert [int(number) for number in batches.take(3)] == [0, 1, 2]


def test_who_comes_back_to_what_was_let_go_begins_it_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(input_server, "_UNUSED_MS", 100)
    monkeypatch.setattr(input_server, "_CHECK_MS", 100)
    monkeypatch.setattr(input_server, "_servers", functools.cache(input_server._servers.__wrapped__))
    server = numbers()
    assert int(next(iter(server.batches()))) == 0
    end = time.monotonic() + 60
    while int(next(iter(server.batches()))) != 0:  # it goes on: its buffers are there yet
        assert time.monotonic() < end, "never begun anew"
        time.sleep(0.5)


@pytest.mark.slow
@pytest.mark.legacy_keras
def test_workers_of_a_parameter_server_see_each_example_once_an_epoch() -> None:
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-m", "tests.training.counting_workers"]
    done = subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr
    *trained, beyond = np.array(json.loads(done.stdout.splitlines()[-1]))
    assert np.max(trained) == 1  # none twice
    # At the training's end some batches of ten may still be on their way to a worker; the other took ones beyond.
    missing = np.sum(np.array(trained) == 0, axis=1)
    assert missing[:-1].tolist() == [0, 0]
    assert missing[-1] == beyond.sum() <= 2 * 5 * 10
