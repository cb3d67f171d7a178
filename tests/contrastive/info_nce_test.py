"""InfoNCE against NumPy."""

import numpy as np
import pytest
import tensorflow as tf

from mim_tf.contrastive import info_nce

pytestmark = pytest.mark.both_kerases


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
    losses, _ = info_nce(
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
        loss, _ = info_nce(variable, tf.constant(candidates), tf.constant([0]), temperature=0.5)
    logits = candidates @ query[0] / 0.5  # 1.2, 0, -2
    softmax = np.exp(logits) / np.exp(logits).sum()
    tangential = np.array([0.0, ((softmax - [1, 0, 0]) / 0.5) @ candidates[:, 1]])
    np.testing.assert_allclose(tape.gradient(loss, variable)[0], tangential, atol=1e-6)


def test_an_excluded_candidate_gets_no_gradient_and_a_positive_cannot_be_excluded() -> None:
    with tf.GradientTape() as tape:
        candidates = tf.Variable([[1.0, 0.1], [0.9, 0.2], [0.0, 1.0]])
        losses, _ = info_nce(
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
    _, first = info_nce(tf.eye(2), tf.constant([[1.0, 0.0], [1.0, 0.1]]), tf.constant([0, 0]), temperature=1.0)
    np.testing.assert_array_equal(first, [1.0, 0.0])


def test_half_precision_embeddings_are_contrasted_in_float32() -> None:
    queries = tf.random.normal([4, 8])
    losses, _ = info_nce(tf.cast(queries, tf.float16), tf.cast(queries, tf.float16), tf.range(4), temperature=0.01)
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
        losses, _ = info_nce(
            tf.constant(queries),
            tf.constant(candidates),
            tf.constant(positives),
            temperature=tf.identity(temperature),
            excluded=excluded,
        )
    sums = [numpy_info_nce(queries, candidates, positives, t, excluded).sum() for t in (0.3 + 1e-6, 0.3 - 1e-6)]
    np.testing.assert_allclose(tape.gradient(losses, temperature), (sums[0] - sums[1]) / 2e-6, rtol=1e-4)
