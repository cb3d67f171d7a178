"""InfoNCE against NumPy."""

import numpy as np
import pytest
import tensorflow as tf

from mim_tf.contrastive import FurtherNegatives, info_nce


def numpy_info_nce(queries, candidates, positives, temperature, excluded):
    """Equation (5) one query at a time, in float64, without a log-sum-exp trick."""
    losses = []
    for row, query in enumerate(queries):
        similarities = [np.dot(query, c) / np.linalg.norm(query) / np.linalg.norm(c) for c in candidates]
        kept = [j for j in range(len(candidates)) if j == positives[row] or not excluded[row, j]]
        total = sum(np.exp(similarities[j] / temperature) for j in kept)
        losses.append(-np.log(np.exp(similarities[positives[row]] / temperature) / total))
    return np.array(losses)


@pytest.mark.parametrize("temperature", [1.0, 0.07])
def test_loss_equals_the_equation(temperature: float) -> None:
    rng = np.random.default_rng(1)
    queries, candidates = rng.normal(size=(5, 3)), rng.normal(size=(9, 3))
    positives, excluded = np.array([4, 0, 8, 2, 2]), rng.random((5, 9)) < 0.3
    losses, *_ = info_nce(
        tf.constant(queries),
        tf.constant(candidates),
        tf.constant(positives),
        temperature=temperature,
        excluded=excluded,
    )
    np.testing.assert_allclose(losses, numpy_info_nce(queries, candidates, positives, temperature, excluded), rtol=2e-5)


def test_the_gradient_equals_softmax_minus_one_hot() -> None:
    # Unit vectors in the plane. d loss / d logits = softmax - one_hot; along the query's own direction the
    # normalisation leaves nothing, so only the tangential part of each candidate counts.
    query, candidates = np.array([[1.0, 0.0]]), np.array([[0.6, 0.8], [0.0, 1.0], [-1.0, 0.0]])
    with tf.GradientTape() as tape:
        variable = tf.Variable(query, dtype=tf.float32)
        loss, *_ = info_nce(variable, tf.constant(candidates), tf.constant([0]), temperature=0.5)
    logits = candidates @ query[0] / 0.5  # 1.2, 0, -2
    softmax = np.exp(logits) / np.exp(logits).sum()
    tangential = np.array([0.0, ((softmax - [1, 0, 0]) / 0.5) @ candidates[:, 1]])
    np.testing.assert_allclose(tape.gradient(loss, variable)[0], tangential, atol=1e-6)


def test_an_excluded_candidate_gets_no_gradient_and_a_positive_cannot_be_excluded() -> None:
    with tf.GradientTape() as tape:
        candidates = tf.Variable([[1.0, 0.1], [0.9, 0.2], [0.0, 1.0]])
        losses, *_ = info_nce(
            tf.constant([[1.0, 0.0]]),
            candidates,
            tf.constant([0]),
            temperature=0.1,
            excluded=tf.constant([[True, True, False]]),
        )
    gradient = tf.convert_to_tensor(tape.gradient(losses, candidates))
    np.testing.assert_array_equal(gradient[1], [0, 0])
    assert np.abs(gradient[0]).sum() > 0
    assert 0 < losses[0] < 0.1  # against the third candidate alone: log(1 + exp((0 - 0.995) / 0.1))


def test_first_says_whether_the_positive_won() -> None:
    _, first, _ = info_nce(tf.eye(2), tf.constant([[1.0, 0.0], [1.0, 0.1]]), tf.constant([0, 0]), temperature=1.0)
    np.testing.assert_array_equal(first, [1.0, 0.0])


def test_half_precision_embeddings_are_contrasted_in_float32() -> None:
    queries = tf.random.normal([4, 8])
    losses, *_ = info_nce(tf.cast(queries, tf.float16), tf.cast(queries, tf.float16), tf.range(4), temperature=0.01)
    assert losses.dtype == tf.float32
    assert np.isfinite(losses).all()


def test_a_temperature_of_zero_is_refused() -> None:
    with pytest.raises(ValueError, match=r"`temperature` must be positive\. Received: 0"):
        info_nce(tf.eye(2), tf.eye(2), tf.range(2), temperature=0)


def test_the_gradient_of_a_learnt_temperature_equals_a_finite_difference() -> None:
    random = np.random.default_rng(3)
    queries, candidates = random.normal(size=(3, 4)), random.normal(size=(5, 4))
    positives, excluded = np.array([1, 0, 4]), random.random((3, 5)) < 0.3
    temperature = tf.Variable(0.3)
    with tf.GradientTape() as tape:
        losses, *_ = info_nce(
            tf.constant(queries),
            tf.constant(candidates),
            tf.constant(positives),
            temperature=tf.identity(temperature),
            excluded=excluded,
        )
    sums = [numpy_info_nce(queries, candidates, positives, t, excluded).sum() for t in (0.3 + 1e-6, 0.3 - 1e-6)]
    np.testing.assert_allclose(tape.gradient(losses, temperature), (sums[0] - sums[1]) / 2e-6, rtol=1e-4)


def test_negatives_are_all_but_the_positive_and_what_is_excluded() -> None:
    excluded = np.array([[True, True, False, False], [False, False, False, True]])  # the first's positive as well
    contrast = info_nce(tf.eye(2, 3), tf.ones([4, 3]), tf.constant([0, 1]), temperature=1.0, excluded=excluded)
    np.testing.assert_array_equal(contrast.negatives, [2, 2])
    np.testing.assert_array_equal(info_nce(tf.eye(2), tf.eye(2), tf.range(2), temperature=1.0).negatives, [1, 1])


def further(log_sum_exp: list[float], largest: list[float], negatives: list[float]) -> FurtherNegatives:
    return FurtherNegatives(*(tf.constant(values) for values in (log_sum_exp, largest, negatives)))


def test_further_negatives_enter_the_sum_the_count_and_the_comparison() -> None:
    # Logits of the first query: its positive 2, another 0; elsewhere a sum of e^1.5 + e^1 and of e^3 + e^1.
    queries, candidates = tf.constant([[1.0, 0.0], [1.0, 0.0]]), tf.eye(2)
    sums = np.log([np.exp(1.5) + np.exp(1), np.exp(3) + np.exp(1)]).tolist()
    contrast = info_nce(
        queries, candidates, tf.constant([0, 0]), temperature=0.5, further=further(sums, [1.5, 3.0], [2.0, 2.0])
    )
    totals = np.exp(2) + 1 + np.exp(sums)
    np.testing.assert_allclose(contrast.losses, np.log(totals) - 2, rtol=1e-6)
    np.testing.assert_array_equal(contrast.first, [1, 0])
    np.testing.assert_array_equal(contrast.negatives, [3, 3])


def test_no_further_negatives_change_nothing() -> None:
    queries, candidates, nothing = tf.random.normal([3, 4]), tf.random.normal([5, 4]), [tf.float32.min] * 3
    plain = info_nce(queries, candidates, tf.range(3), temperature=0.1)
    same = info_nce(queries, candidates, tf.range(3), temperature=0.1, further=further(nothing, nothing, [0.0] * 3))
    for one, other in zip(plain, same, strict=True):
        np.testing.assert_array_equal(one, other)


def test_gradients_with_further_negatives_equal_finite_differences_and_reach_their_sum() -> None:
    random = np.random.default_rng(4)
    queries, candidates = random.normal(size=(2, 3)), random.normal(size=(4, 3))
    positives, excluded, sums = np.array([3, 1]), np.zeros((2, 4), bool), np.array([0.5, 4.0])
    variables = [tf.Variable(value, dtype=tf.float32) for value in (queries, candidates, sums)]
    with tf.GradientTape() as tape:
        rows, columns, log_sums = variables
        more = FurtherNegatives(tf.identity(log_sums), tf.zeros(2), tf.ones(2))
        losses, *_ = info_nce(rows, columns, tf.constant(positives), temperature=0.3, further=more)

    def expected_loss(queries: np.ndarray, candidates: np.ndarray, sums: np.ndarray) -> float:
        """`log(e^(L + p) + F) - p`, where `L + p` is the log of the sum without the further ones."""
        alone = numpy_info_nce(queries, candidates, positives, 0.3, excluded)
        lengths = np.linalg.norm(queries, axis=1) * np.linalg.norm(candidates[positives], axis=1)
        logits = (queries * candidates[positives]).sum(1) / lengths / 0.3
        return float((np.log(np.exp(alone + logits) + np.exp(sums)) - logits).sum())

    values = [queries, candidates, sums]
    for index, gradient in enumerate(tape.gradient(losses, variables)):
        expected = np.zeros_like(values[index])
        for place in np.ndindex(expected.shape):
            moved = [[value.copy() for value in values] for _ in range(2)]
            moved[0][index][place] += 1e-6
            moved[1][index][place] -= 1e-6
            expected[place] = (expected_loss(*moved[0]) - expected_loss(*moved[1])) / 2e-6
        np.testing.assert_allclose(tf.convert_to_tensor(gradient), expected, rtol=1e-4, atol=1e-5)
