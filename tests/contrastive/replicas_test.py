"""What replicas share: on one nothing changes, on two the values and gradients of the arithmetic by hand."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from mim_tf.contrastive import gather, own_rows, replica_count, replica_index, replica_mean


def test_a_single_replica_has_all_rows() -> None:
    rows = tf.random.normal([3, 2])
    assert replica_count() == 1
    assert replica_index() == 0
    np.testing.assert_array_equal(gather(rows), rows)
    np.testing.assert_array_equal(own_rows(3), [0, 1, 2])


def test_the_mean_of_a_single_replica_is_the_weighted_mean() -> None:
    values, weights = tf.Variable([1.0, 2.0, 6.0]), tf.Variable([1.0, 0.0, 3.0])
    with tf.GradientTape() as tape:
        mean = replica_mean(values, weights)
    assert mean == (1 * 1 + 3 * 6) / 4
    gradient, of_weights = tape.gradient(mean, [values, weights])
    np.testing.assert_array_equal(gradient, [1 / 4, 0, 3 / 4])  # w_i / sum of w
    assert of_weights is None


def test_a_mean_of_nothing_is_zero_with_a_gradient_of_zero() -> None:
    values = tf.Variable([1.0, 2.0])
    with tf.GradientTape() as tape:
        mean = replica_mean(values, tf.zeros(2))
    assert mean == 0
    np.testing.assert_array_equal(tape.gradient(mean, values), [0, 0])


@pytest.fixture(scope="module")
def seen() -> dict[str, Any]:
    """What `two_replicas.py` saw, one entry per replica. Here the devices are initialised and cannot be split."""
    script = Path(__file__).with_name("two_replicas.py")
    run = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout.splitlines()[-1])


def test_two_replicas_know_their_place(seen: dict[str, Any]) -> None:
    assert seen["count"] == [2, 2]
    assert seen["index"] == [0, 1]


def test_two_replicas_gather_each_others_rows_in_their_order(seen: dict[str, Any]) -> None:
    assert seen["gathered"] == [[[1, 2], [3, 4], [5, 6], [7, 8]]] * 2
    assert seen["own"] == [[[1, 2], [3, 4]], [[5, 6], [7, 8]]]


def test_a_gathered_rows_gradient_is_the_sum_over_the_replicas_that_used_it(seen: dict[str, Any]) -> None:
    # Replica r's loss is sum_j s_rj (g_j1 + g_j2) over the four gathered rows, so row j's gradient is s_0j + s_1j:
    # 1 + 2, 10 + 20 for the first replica's rows, 100 + 200, 1000 + 2000 for the second's.
    assert seen["rows_gradient"] == [[[3, 3], [30, 30]], [[300, 300], [3000, 3000]]]


def test_the_mean_over_replicas_is_the_mean_of_the_whole_batch_however_weights_are_spread(seen: dict[str, Any]) -> None:
    # Weights sum to 3 and 1, 2 on average: shares (2 + 4 + 6) / 2 = 6 and 30 / 2 = 15, whose mean is
    # (2 + 4 + 6 + 30) / 4 = 10.5. A mean of the replicas' own means would be (4 + 30) / 2 = 17.
    assert seen["mean"] == [6, 15]
    # d share / d v_i = w_i / 2; averaged over two replicas by the loop, w_i / 4, as in the mean of all four.
    assert seen["values_gradient"] == [[0.5, 0.5, 0.5], [0, 0, 0.5]]
    assert seen["mean_of_nothing"] == [0, 0]


def test_two_replicas_hold_the_same_queue(seen: dict[str, Any]) -> None:
    # Three pushes into room for two: the third is over the first. Rows of both replicas, at unit length.
    assert seen["queue_items"] == [[20, 21, 22, 23, 10, 11, 12, 13]] * 2
    rows = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0], [7.0, 8.0]])
    units = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    for of_replica in seen["queue_rows"]:
        np.testing.assert_allclose(of_replica, np.concatenate([units, units]), rtol=1e-6)


def test_each_replica_asks_the_queue_with_queries_of_its_own(seen: dict[str, Any]) -> None:
    # Eight rows, of which one is of the query's own item; the same row under the former item has a cosine of 1.
    assert seen["queue_negatives"] == [[7, 7], [7, 7]]
    np.testing.assert_allclose(seen["queue_largest"], [[1, 1], [1, 1]], rtol=1e-6)
