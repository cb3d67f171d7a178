"""The queue against a NumPy history of the batches that were pushed, in float64, one query at a time."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import tensorflow as tf
from tensorflow import keras

from mim_tf.contrastive import FurtherNegatives, NegativeQueue, QueuedNegatives, info_nce, queue_softmax

pytestmark = pytest.mark.both_kerases

ROWS, LEVELS, DIM, QUERIES, ITEMS = 6, 3, 4, 5, 7
LOWEST = np.finfo(np.float32).min


class Batch(NamedTuple):
    embeddings: np.ndarray
    items: np.ndarray


class History:
    """All batches ever pushed; what is in the queue are the last k."""

    def __init__(self, batches: int):
        self._batches = batches
        self._pushed: list[Batch] = []

    def push(self, batch: Batch) -> None:
        self._pushed.append(batch)

    def expected(
        self, queries: np.ndarray, excluded_items: np.ndarray, temperature: float, mask: bool
    ) -> tuple[QueuedNegatives, np.ndarray]:
        """What the queue must return, and the gradient of the sum of `log_sum_exp` by the queries."""
        kept = self._pushed[-self._batches :]
        rows = np.concatenate([batch.embeddings for batch in kept])
        rows = rows / np.linalg.norm(rows, axis=-1, keepdims=True)
        items = np.concatenate([batch.items for batch in kept])
        log_sums, largest, negatives, false_negatives, gradients = [], [], [], [], []
        for query, own in zip(queries, excluded_items, strict=True):
            length = np.linalg.norm(query)
            counted = rows[~np.isin(items, own)] if mask else rows
            logits = counted @ query / length / temperature  # [rows, levels]
            top = logits.max(axis=0)
            log_sums.append(top + np.log(np.exp(logits - top).sum(axis=0)))
            largest.append(top)
            negatives.append(len(counted))
            false_negatives.append(np.isin(items, own).sum())
            by_unit = np.einsum("jl,jld->d", np.exp(logits - log_sums[-1]), counted) / temperature
            gradients.append((by_unit - (by_unit @ query) * query / length**2) / length)  # through q / |q|
        counts = np.array(negatives), np.array(false_negatives)
        return QueuedNegatives(np.array(log_sums), np.array(largest), *counts), np.array(gradients)


def drawn_batch(rng: np.random.Generator) -> Batch:
    return Batch(3 * rng.normal(size=(ROWS, LEVELS, DIM)), rng.integers(ITEMS, size=ROWS))


def drawn_queries(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Queries, and two excluded items each: one of the queue's and, as of a shopper's photo, none."""
    return 2 * rng.normal(size=(QUERIES, DIM)), np.stack([rng.integers(ITEMS, size=QUERIES), [-1] * QUERIES], axis=1)


def push(queue: NegativeQueue, batch: Batch) -> None:
    queue.push(tf.constant(batch.embeddings, tf.float32), tf.constant(batch.items))


def asked(
    queue: NegativeQueue, queries: np.ndarray, excluded_items: np.ndarray, temperature: float, mask: bool
) -> tuple[QueuedNegatives, tf.Tensor]:
    variable = tf.Variable(queries, dtype=tf.float32)
    with tf.GradientTape() as tape:
        result = queue(variable, tf.constant(excluded_items), temperature=temperature, mask=mask)
        total = tf.reduce_sum(result.log_sum_exp)
    return result, tape.gradient(total, variable)


def assert_equal(result: QueuedNegatives, expected: QueuedNegatives, tolerance: float) -> None:
    np.testing.assert_allclose(result.log_sum_exp, expected.log_sum_exp, atol=tolerance)
    np.testing.assert_allclose(result.largest, expected.largest, atol=tolerance)
    np.testing.assert_array_equal(result.negatives, expected.negatives)
    np.testing.assert_array_equal(result.false_negatives, expected.false_negatives)


# One block; and blocks of four rows, which six, twelve and eighteen rows do not all fill.
@pytest.mark.parametrize(
    ("batches", "mask", "block_rows"), [(1, True, 4), (2, False, 4), (3, True, 4), (3, True, 1000), (3, False, 1000)]
)
def test_it_equals_the_history_from_part_filled_to_wrapped_twice(
    batches: int, mask: bool, block_rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{queue_softmax.__name__}._LOGITS", block_rows * QUERIES)
    rng = np.random.default_rng(batches)
    queue, history = NegativeQueue(batches, ROWS, LEVELS, DIM), History(batches)
    queries, excluded_items = drawn_queries(rng)
    excluded = 0
    for pushed in range(1, 2 * batches + 3):
        batch = drawn_batch(rng)
        push(queue, batch)
        history.push(batch)
        result, gradient = asked(queue, queries, excluded_items, 0.2, mask)
        expected, expected_gradient = history.expected(queries, excluded_items, 0.2, mask)
        assert queue.filled_rows() == min(pushed, batches) * ROWS
        assert_equal(result, expected, 1e-5)
        np.testing.assert_allclose(gradient, expected_gradient, atol=1e-5)
        excluded += expected.false_negatives.sum()
    assert excluded > 0


def test_an_empty_queue_adds_nothing_and_no_gradient() -> None:
    result, gradient = asked(NegativeQueue(2, ROWS, LEVELS, DIM), *drawn_queries(np.random.default_rng(0)), 0.1, True)
    np.testing.assert_array_equal(result.log_sum_exp, np.full([QUERIES, LEVELS], LOWEST))
    np.testing.assert_array_equal(result.largest, np.full([QUERIES, LEVELS], LOWEST))
    np.testing.assert_array_equal(result.negatives, np.zeros(QUERIES))
    np.testing.assert_array_equal(gradient, np.zeros([QUERIES, DIM]))


def test_a_query_whose_negatives_are_all_false_has_none() -> None:
    queue = NegativeQueue(1, ROWS, LEVELS, DIM)
    push(queue, Batch(np.ones([ROWS, LEVELS, DIM]), np.full(ROWS, 3)))
    queries = np.ones([2, DIM])
    result, gradient = asked(queue, queries, np.array([[3], [4]]), 0.1, True)
    np.testing.assert_array_equal(result.negatives, [0, ROWS])
    np.testing.assert_array_equal(result.false_negatives, [ROWS, 0])
    np.testing.assert_array_equal(result.log_sum_exp[0], [LOWEST] * LEVELS)
    np.testing.assert_allclose(result.log_sum_exp[1], [np.log(ROWS) + 10] * LEVELS, rtol=1e-6)  # cosine 1
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("temperature", [0.01, 0.001])
def test_a_low_temperature_overflows_nowhere(temperature: float) -> None:
    # The first row is opposite and the last in the query's direction: logits -100 and 100, -1000 and 1000.
    queue = NegativeQueue(1, 3, 1, 2)
    rows = np.array([[[-1.0, 0.0]], [[0.0, 1.0]], [[1.0, 0.0]]])
    push(queue, Batch(rows, np.arange(3)))
    everything, gradient = asked(queue, np.array([[1.0, 0.0]]), np.array([[-1]]), temperature, True)
    np.testing.assert_allclose(everything.log_sum_exp, [[1 / temperature]], rtol=1e-6)
    np.testing.assert_allclose(gradient, [[0, 0]], atol=1e-6)  # the largest lies along the query
    # What is far below the bound of the logits counts as much where nothing is above it.
    opposite, _ = asked(queue, np.array([[1.0, 0.0]]), np.array([[1, 2]]), temperature, True)
    np.testing.assert_allclose(opposite.log_sum_exp, [[-1 / temperature]], rtol=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_batch_that_is_not_finite_is_not_taken_in(bad: float) -> None:
    rng = np.random.default_rng(1)
    queue, poisoned = NegativeQueue(2, ROWS, LEVELS, DIM), drawn_batch(rng)
    push(queue, drawn_batch(rng))
    push(queue, drawn_batch(rng))
    before = [np.array(weight) for weight in queue.get_weights()]
    poisoned.embeddings[2, 1, 3] = bad
    push(queue, poisoned)
    for now, then in zip(queue.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)
    push(queue, drawn_batch(rng))  # and the next one is
    assert not np.array_equal(queue.get_weights()[0], before[0])


@pytest.mark.parametrize(("policy", "tolerance"), [("mixed_bfloat16", 2**-7), ("mixed_float16", 2**-10)])
def test_rows_in_half_precision_are_near_and_what_is_computed_of_them_is_not_half(
    policy: str, tolerance: float
) -> None:
    rng = np.random.default_rng(2)
    queue, history = NegativeQueue(2, ROWS, LEVELS, DIM, dtype=policy), History(2)
    for _ in range(3):
        history.push(drawn_batch(rng))
        push(queue, history._pushed[-1])
    queries, excluded_items = drawn_queries(rng)
    result, _ = asked(queue, queries, excluded_items, 0.5, True)
    expected, _ = history.expected(queries, excluded_items, 0.5, True)
    assert {tf.as_dtype(weight.dtype).name for weight in queue.weights} == {policy.removeprefix("mixed_"), "int64"}
    assert result.log_sum_exp.dtype == tf.float32
    # Four features of at most half a unit in the last place each, over the temperature.
    assert_equal(result, expected, tolerance)
    # Of the rows as they are stored, the sums are exact.
    stored = tf.cast(queue.get_weights()[0], tf.float64).numpy().reshape(LEVELS, -1, DIM)
    logits = np.einsum("qd,ljd->qlj", queries / np.linalg.norm(queries, axis=1, keepdims=True), stored) / 0.5
    result, _ = asked(queue, queries, excluded_items, 0.5, False)
    np.testing.assert_allclose(result.log_sum_exp, np.log(np.exp(logits).sum(axis=-1)), rtol=1e-5)


def test_queries_may_be_of_unknown_number_or_one_and_pushes_compiled() -> None:
    rng = np.random.default_rng(3)
    queue, history = NegativeQueue(2, ROWS, LEVELS, DIM), History(2)
    compiled = tf.function(
        queue.push, input_signature=[tf.TensorSpec([None, LEVELS, DIM]), tf.TensorSpec([None], tf.int64)]
    )
    for _ in range(3):
        history.push(drawn_batch(rng))
        compiled(
            *(tf.cast(part, dtype) for part, dtype in zip(history._pushed[-1], (tf.float32, tf.int64), strict=True))
        )
    specs = [tf.TensorSpec([None, DIM]), tf.TensorSpec([None, 2], tf.int64)]
    traced = tf.function(lambda *inputs: queue(*inputs, temperature=0.3), input_signature=specs)
    queries, excluded_items = drawn_queries(rng)
    for count in (QUERIES, 1):
        result = traced(tf.constant(queries[:count], tf.float32), tf.constant(excluded_items[:count]))
        expected, _ = history.expected(queries[:count], excluded_items[:count], 0.3, True)
        assert_equal(result, expected, 1e-5)


def test_a_checkpoint_brings_back_the_queue_in_the_middle_of_a_round(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    queue, copy = (NegativeQueue(3, ROWS, LEVELS, DIM, dtype="mixed_bfloat16") for _ in range(2))
    for _ in range(4):
        push(queue, drawn_batch(rng))
    path = tf.train.Checkpoint(queue=queue).write(str(tmp_path / "checkpoint"))
    tf.train.Checkpoint(queue=copy).read(path).assert_consumed()
    following = drawn_batch(rng)
    for each in (queue, copy):
        push(each, following)
    for restored, original in zip(copy.get_weights(), queue.get_weights(), strict=True):
        np.testing.assert_array_equal(restored, original)
    assert queue.get_weights()[2] == 5


def test_config_makes_the_same_layer() -> None:
    queue = NegativeQueue(2, ROWS, LEVELS, DIM, dtype="mixed_bfloat16", name="a_name")
    config = keras.layers.serialize(queue)
    copy = keras.layers.deserialize(config)
    assert keras.layers.serialize(copy) == config
    assert [(weight.shape, weight.dtype) for weight in copy.weights] == [(w.shape, w.dtype) for w in queue.weights]
    assert not queue.trainable_weights


def test_the_loss_against_batch_and_queue_is_the_one_against_all_rows_at_once() -> None:
    rng = np.random.default_rng(5)
    queue, first, second = NegativeQueue(3, ROWS, 1, DIM), *(drawn_batch(rng) for _ in range(2))
    for batch in (first, second):
        push(queue, Batch(batch.embeddings[:, :1], batch.items))
    queries, candidates = (tf.Variable(rng.normal(size=(QUERIES, DIM)), dtype=tf.float32) for _ in range(2))
    own = np.array([[ITEMS + row] for row in range(QUERIES)])
    old = tf.constant(np.concatenate([first.embeddings[:, 0], second.embeddings[:, 0]]), tf.float32)
    with tf.GradientTape(persistent=True) as tape:
        further = queue(queries, tf.constant(own), temperature=0.1).of_level(0)
        split = info_nce(queries, candidates, tf.range(QUERIES), temperature=0.1, further=further)
        rows = tf.concat([candidates, old], axis=0)
        whole = info_nce(queries, rows, tf.range(QUERIES), temperature=0.1)
    np.testing.assert_allclose(split.losses, whole.losses, rtol=1e-5)
    np.testing.assert_array_equal(split.first, whole.first)
    np.testing.assert_array_equal(split.negatives, [2 * ROWS + QUERIES - 1] * QUERIES)
    for source in (queries, candidates):
        np.testing.assert_allclose(tape.gradient(split.losses, source), tape.gradient(whole.losses, source), atol=1e-4)
    assert isinstance(further, FurtherNegatives)


def test_a_step_never_copies_the_queue() -> None:
    """No step reads a weight as a whole, which copies it, but the counter."""
    queue = NegativeQueue(5000, 8, LEVELS, DIM)

    @tf.function
    def step(queries: tf.Tensor, embeddings: tf.Tensor) -> tf.Tensor:
        result = queue(queries, tf.zeros([256, 1], tf.int64), temperature=1.0)
        queue.push(embeddings, tf.zeros([8], tf.int64))
        return result.log_sum_exp

    graph = step.get_concrete_function(tf.zeros([256, DIM]), tf.zeros([8, LEVELS, DIM])).graph
    reads = [op for op in graph.get_operations() if op.type == "ReadVariableOp"]
    assert {op.outputs[0].shape.rank for op in reads} == {0}  # the counter's
    loops = [node.op for function in graph.as_graph_def().library.function for node in function.node_def]
    assert "ResourceGather" in loops
    assert "ReadVariableOp" not in loops


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((0, 1, 1, 1), r"`batches` must be positive\. Received: 0\."),
        ((1, -1, 1, 1), r"`rows` must be positive\. Received: -1\."),
        ((1, 1, 0, 1), r"`levels` must be positive\. Received: 0\."),
        ((1, 1, 1, 0), r"`dim` must be positive\. Received: 0\."),
    ],
)
def test_sizes_must_be_positive(sizes: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NegativeQueue(*sizes)


def test_a_batch_of_another_size_and_a_temperature_of_zero_are_refused() -> None:
    queue = NegativeQueue(1, ROWS, LEVELS, DIM)
    with pytest.raises(ValueError, match=r"`embeddings` must be \[6, 3, 4\]\. Received: \(5, 3, 4\)"):
        queue.push(tf.zeros([5, LEVELS, DIM]), tf.zeros([5], tf.int64))
    with pytest.raises(ValueError, match=r"`temperature` must be positive\. Received: 0"):
        queue(tf.zeros([1, DIM]), tf.zeros([1, 1], tf.int64), temperature=0.0)
