"""The contrastive loss against NumPy that keeps the history itself."""

import numpy as np
import pytest
import tensorflow as tf

from mim_tf.contrastive import NegativeQueue
from mim_tf.finetuning.multi_level import MultiLevel
from mim_tf.finetuning.space_time_contrast import SpaceTimeContrast
from tests.finetuning.toy_csft import DIM, LEVELS, contrast

PAIRS, TEMPERATURE = 3, 0.1
WEIGHTS = (1.0, LEVELS.alpha, LEVELS.beta)  # fused, text, image
Candidates = tuple[np.ndarray, np.ndarray]  # [candidates, levels, dim] and their items


def cosines(queries: np.ndarray, rows: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(queries, axis=-1)[:, None] * np.linalg.norm(rows, axis=-1)
    return queries @ rows.T / lengths


def expected_loss(
    queries: np.ndarray, past: list[Candidates], now: Candidates, own: np.ndarray, *, mask: bool = True
) -> float:
    """Equations (5) and (6), every sum written out; `own` `[pairs, 2]` are the items that are no negatives."""
    rows, items = (np.concatenate(parts) for parts in zip(now, *past, strict=True))
    total = 0.0
    for level, weight in enumerate(WEIGHTS):
        similar = np.exp(cosines(queries, rows[:, level]) / TEMPERATURE)
        for pair in range(len(queries)):
            others = [j for j in range(len(rows)) if j != pair and not (mask and items[j] in own[pair])]
            denominator = similar[pair, pair] + similar[pair, others].sum()
            total -= weight * np.log(similar[pair, pair] / denominator) / len(queries)
    return total


def batches(steps: int) -> list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """Queries, candidates `[pairs, 2, levels, dim]`, their items and the queries' own; items come again and again."""
    random = np.random.default_rng(4)
    return [
        (
            random.normal(size=(PAIRS, DIM)),
            random.normal(size=(PAIRS, 2, 3, DIM)),
            random.integers(0, 9, (PAIRS, 2)),
            random.choice([-1, -1, 3, 5], PAIRS),
        )
        for _ in range(steps)
    ]


def in_one_row(candidates: np.ndarray) -> np.ndarray:
    return np.concatenate([candidates[:, 0], candidates[:, 1]])


@pytest.mark.parametrize("k", [0, 1, 3])
@pytest.mark.parametrize("mask", [True, False])
def test_losses_and_gradients_equal_those_of_a_kept_history(k: int, mask: bool) -> None:
    loss = contrast(k, 2 * PAIRS, mask_false_negatives=mask)
    history: list[Candidates] = []
    for queries, candidates, items, query_item in batches(k + 3):
        own = np.stack([items[:, 0], query_item], axis=1)
        variables = [tf.Variable(queries, dtype=tf.float32), tf.Variable(candidates, dtype=tf.float32)]
        with tf.GradientTape() as tape:
            batch = {"items": tf.constant(items), "query_item": tf.constant(query_item)}
            scalars = loss(*(variable.value() for variable in variables), batch, training=True)
        gradients = tape.gradient(scalars["loss"], variables)

        def of(queries: np.ndarray, candidates: np.ndarray, items=items, own=own) -> float:
            past = history[-k:] if k else []
            return expected_loss(queries, past, (in_one_row(candidates), in_one_row(items)), own, mask=mask)

        np.testing.assert_allclose(scalars["loss"], of(queries, candidates), rtol=1e-5)
        for place, gradient in enumerate(gradients):
            numerical = central_differences(of, [queries, candidates], place)
            np.testing.assert_allclose(gradient, numerical, rtol=2e-3, atol=2e-4)
        history.append((in_one_row(candidates), in_one_row(items)))


def central_differences(function, inputs: list[np.ndarray], place: int, step: float = 1e-5) -> np.ndarray:
    gradient = np.zeros_like(inputs[place])
    for index in np.ndindex(gradient.shape):
        values = []
        for sign in (1, -1):
            moved = [array.copy() for array in inputs]
            moved[place][index] += sign * step
            values.append(function(*moved))
        gradient[index] = (values[0] - values[1]) / (2 * step)
    return gradient


@pytest.mark.parametrize("pairs", [4, 32])
@pytest.mark.parametrize("k", [0, 1, 10])
def test_a_query_has_two_n_k_plus_one_minus_one_negatives(pairs: int, k: int) -> None:
    """From the empty queue to the wrapped one, all items different: told by the count, and by what alike rows cost."""
    queue = NegativeQueue(batches=k, rows=2 * pairs, levels=1, dim=2) if k else None
    loss = SpaceTimeContrast(MultiLevel(0, 0), 1.0, queue=queue)
    for step in range(k + 3):
        items = 2 * pairs * step + tf.reshape(tf.range(2 * pairs, dtype=tf.int64), [pairs, 2])
        batch = {"items": items, "query_item": tf.fill([pairs], tf.constant(-1, tf.int64))}
        scalars = loss(tf.ones([pairs, 2]), tf.ones([pairs, 2, 1, 2]), batch, training=True)
        expected = 2 * pairs * (min(step, k) + 1) - 1
        assert scalars["negatives"] == expected
        assert scalars["false_negatives"] == 0
        np.testing.assert_allclose(np.exp(scalars["loss"]), expected + 1, rtol=1e-4)


@pytest.mark.parametrize(("mask", "negatives"), [(True, (2, 4)), (False, (3, 7))])
def test_false_negatives_are_counted_and_only_if_wanted_left_out(mask: bool, negatives: tuple[int, int]) -> None:
    # Pair 0 chose item 1 by the picture of item 7, pair 1 chose item 2 by a photo; their hard negatives are 1 and 7.
    # Beside pair 0's positive there are the rows 2, 1, 7, of which 1 and 7 are false; pair 1's 1, 1, 7 are negatives.
    # The queue then holds 1, 2, 1, 7: three are false for pair 0, one for pair 1.
    batch = {"items": tf.constant([[1, 1], [2, 7]], tf.int64), "query_item": tf.constant([7, -1], tf.int64)}
    loss = contrast(1, 4, mask_false_negatives=mask)
    found = [loss(tf.ones([2, DIM]), tf.ones([2, 2, 3, DIM]), batch, training=True) for _ in range(2)]
    assert [float(scalars["false_negatives"]) for scalars in found] == [(2 + 0) / 2, (5 + 1) / 2]
    assert tuple(float(scalars["negatives"]) for scalars in found) == negatives


def test_without_space_and_time_the_positives_of_the_batch_are_all_there_is() -> None:
    loss = contrast(space_time=False)
    assert loss.candidates_per_pair == 1
    random = np.random.default_rng(2)
    queries, candidates = random.normal(size=(PAIRS, DIM)), random.normal(size=(PAIRS, 1, 3, DIM))
    items = np.array([[4], [5], [6]])
    batch = {"items": tf.constant(items), "query_item": tf.constant([-1] * 3, tf.int64)}
    scalars = loss(tf.constant(queries, tf.float32), tf.constant(candidates, tf.float32), batch, training=True)
    expected = expected_loss(queries, [], (candidates[:, 0], items[:, 0]), np.stack([items[:, 0], [-1] * 3], axis=1))
    np.testing.assert_allclose(scalars["loss"], expected, rtol=1e-5)
    assert scalars["negatives"] == PAIRS - 1


def test_nothing_is_remembered_out_of_training() -> None:
    loss = contrast(2, 2 * PAIRS)
    for queries, candidates, items, query_item in batches(2):
        batch = {"items": tf.constant(items), "query_item": tf.constant(query_item)}
        loss(tf.constant(queries, tf.float32), tf.constant(candidates, tf.float32), batch)
    assert loss.queue.filled_rows() == 0


def test_what_is_remembered_may_be_another_encoders() -> None:
    loss = contrast(1, 2 * PAIRS)
    (queries, candidates, items, query_item), (_, slow, *_) = batches(2)
    own = np.stack([items[:, 0], query_item], axis=1)
    inputs = tf.constant(queries, tf.float32), tf.constant(candidates, tf.float32)
    batch = {"items": tf.constant(items), "query_item": tf.constant(query_item)}
    loss(*inputs, batch, remembered=tf.constant(slow, tf.float32), training=True)
    found = loss(*inputs, batch)["loss"]
    past = [(in_one_row(slow), in_one_row(items))]
    expected = expected_loss(queries, past, (in_one_row(candidates), in_one_row(items)), own)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
