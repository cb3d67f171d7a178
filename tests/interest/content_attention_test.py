from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from sklearn.metrics.pairwise import cosine_similarity

from mim_tf.interest import ContentInterest, FusionInterest, content_attention
from mim_tf.interest.content_attention import (
    content_weighted_sums,
    inverse_norm,
    matrix_is_cheaper,
    unit_vectors,
)

pytestmark = pytest.mark.both_kerases
WAYS = pytest.mark.parametrize("matrix", [False, True], ids=["directly", "by_matrix"])
Inputs = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def force(monkeypatch: pytest.MonkeyPatch, matrix: bool) -> None:
    monkeypatch.setattr(content_attention, "matrix_is_cheaper", lambda *counts: matrix)


def drawn(candidates: int, length: int, batch: int = 2, dim: int = 8, mm_dim: int = 16) -> Inputs:
    """Candidates, contents, ids and mask; a fifth of the items has no embedding, and padding holds NaN."""
    rng = np.random.default_rng(5)
    targets = rng.normal(size=(batch, candidates, mm_dim)) * (rng.random((batch, candidates, 1)) > 0.2)
    contents = rng.normal(size=(batch, length, mm_dim)) * (rng.random((batch, length, 1)) > 0.2)
    ids = rng.normal(size=(batch, length, dim))
    mask = rng.random((batch, length)) > 0.3
    for values in (contents, ids):
        values[~mask] = np.nan
    return targets.astype(np.float16), contents.astype(np.float16), ids.astype(np.float32), mask


def by_hand(targets: np.ndarray, contents: np.ndarray, values: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Equations 7 and 8 in float64, one user and one candidate after the other."""
    rows = []
    for user, of_user in enumerate(targets.astype(np.float64)):
        real = contents[user][mask[user]].astype(np.float64)
        summed = values[user][mask[user]].astype(np.float64)
        norms = np.linalg.norm(of_user, axis=1)[:, None] * np.linalg.norm(real, axis=1)
        rows.append(np.divide(of_user @ real.T, norms, out=np.zeros_like(norms), where=norms > 0) @ summed)
    return np.stack(rows)


def assert_near(output: tf.Tensor, expected: np.ndarray, tolerance: float = 1e-5) -> None:
    assert tuple(output.shape) == expected.shape
    scale = np.abs(expected).max(initial=0)
    np.testing.assert_allclose(tf.cast(output, tf.float64), expected, rtol=0, atol=tolerance * scale)


def test_against_scikit_learn() -> None:
    rng = np.random.default_rng(2)
    targets, contents = rng.normal(size=(3, 4, 6)), rng.normal(size=(3, 8, 6))
    output = content_attention.content_attention(tf.constant(targets), tf.constant(contents))
    expected = [cosine_similarity(targets[row], contents[row]) for row in range(3)]
    np.testing.assert_allclose(output, expected, rtol=1e-12)


@pytest.mark.parametrize("scale", [1e-15, 1e-3, 1e15])
def test_the_length_of_a_vector_does_not_matter(scale: float) -> None:
    # cos((3, 4), (4, 3)) = 24 / 25
    output = content_attention.content_attention(
        tf.constant([[[3.0, 4.0]]]) * scale, tf.constant([[[4.0, 3.0]]]) * scale
    )
    np.testing.assert_allclose(output, [[[0.96]]], rtol=1e-6)


def test_the_zero_vector_has_weight_zero_and_no_gradient() -> None:
    targets, contents = tf.constant([[[1.0, 2.0], [0.0, 0.0]]]), tf.constant([[[0.0, 0.0], [2.0, 1.0]]])
    with tf.GradientTape() as tape:
        tape.watch([targets, contents])
        output = content_attention.content_attention(targets, contents)
    np.testing.assert_allclose(output, [[[0.0, 0.8], [0.0, 0.0]]], rtol=1e-6)
    target_gradient, content_gradient = tape.gradient(output, [targets, contents])
    np.testing.assert_array_equal(content_gradient[0, 0], [0.0, 0.0])
    np.testing.assert_array_equal(target_gradient[0, 1], [0.0, 0.0])
    # d cos(t, h) / dh = (t^ - cos h^) / |h| = ((1, 2) - 0.8 (2, 1)) / 5 = (-0.12, 0.24)
    np.testing.assert_allclose(content_gradient[0, 1], [-0.12, 0.24], rtol=1e-5)


def test_lengths_and_directions() -> None:
    vectors = tf.constant([[3.0, 4.0], [0.0, 0.0]])
    np.testing.assert_allclose(inverse_norm(vectors), [0.2, 0.0], rtol=1e-6)
    np.testing.assert_allclose(unit_vectors(vectors), [[0.6, 0.8], [0.0, 0.0]], rtol=1e-6)


@WAYS
@pytest.mark.parametrize(
    ("candidates", "length"), [(1, 1), (1, 300), (3, 5), (300, 2), (40, 300)], ids=lambda count: str(count)
)
def test_both_ways_equal_the_equations(
    monkeypatch: pytest.MonkeyPatch, matrix: bool, candidates: int, length: int
) -> None:
    force(monkeypatch, matrix)
    targets, contents, ids, mask = drawn(candidates, length)
    assert_near(ContentInterest()(targets, contents, mask=mask), by_hand(targets, contents, contents, mask))
    assert_near(FusionInterest()(targets, contents, ids, mask=mask), by_hand(targets, contents, ids, mask))


@WAYS
@pytest.mark.parametrize(("policy", "tolerance"), [("mixed_float16", 1e-3), ("mixed_bfloat16", 8e-3)])
def test_half_precision_rounds_the_result_alone(
    monkeypatch: pytest.MonkeyPatch, matrix: bool, policy: str, tolerance: float
) -> None:
    force(monkeypatch, matrix)
    targets, contents, ids, mask = drawn(20, 4000, batch=1)
    output = FusionInterest(dtype=policy)(targets, contents, ids, mask=mask)
    assert output.dtype == policy.removeprefix("mixed_")
    assert_near(output, by_hand(targets, contents, ids, mask), tolerance)


@WAYS
def test_both_ways_have_the_same_gradients(monkeypatch: pytest.MonkeyPatch, matrix: bool) -> None:
    force(monkeypatch, matrix)
    targets, contents, ids, mask = drawn(3, 4, batch=1)
    arguments = [tf.Variable(values.astype(np.float64)) for values in (targets, contents, ids)]
    upstream = np.random.default_rng(6).normal(size=(1, 3, 8))
    with tf.GradientTape() as tape:
        output = tf.reduce_sum(upstream * FusionInterest(dtype="float64")(*arguments, mask=mask))
    of_targets, of_contents, of_ids = tape.gradient(output, arguments)
    # Of the ID embeddings: sum over candidates of cosine times upstream, and exactly 0 for what is padded.
    one = np.broadcast_to(np.eye(4), (1, 4, 4))
    cosines = by_hand(targets, contents, one, mask)
    np.testing.assert_allclose(of_ids, np.einsum("bci,bcd->bid", cosines, upstream), rtol=1e-9, atol=1e-12)
    for gradient in (of_targets, of_contents):
        assert np.isfinite(gradient).all()
    assert not np.any(of_contents.numpy()[~mask])
    # Of one number of the candidates, by a difference.
    step = np.zeros(targets.shape)
    step[0, 1, 2] = 1e-6
    ends = [by_hand(targets + sign * step, contents, ids, mask) for sign in (1, -1)]
    assert float(of_targets[0, 1, 2]) == pytest.approx(np.sum(upstream * (ends[0] - ends[1])) / 2e-6, rel=1e-5)


def test_the_rule_counts_multiplications() -> None:
    # Directly 1,000 * 10,000 * (64 + 64) = 1.28e9; by the matrix (1,000 + 10,000) * 64 * 64 = 4.5e7.
    assert matrix_is_cheaper(1_000, 10_000, 64, 64)
    # 100 * 50 * 128 = 640,000 against 150 * 4,096 = 614,400; 40 behaviours: 512,000 against 573,440.
    assert matrix_is_cheaper(100, 50, 64, 64)
    assert not matrix_is_cheaper(100, 40, 64, 64)
    # As int64, since 10^5 * 10^5 * 128 is past int32.
    assert matrix_is_cheaper(*tf.constant([10**5, 10**5, 64, 64], tf.int64))


def operations(candidates: int | None, length: int | None) -> list[str]:
    """What a function traced with these shapes consists of."""
    specs = [tf.TensorSpec([None, candidates, 64]), tf.TensorSpec([None, length, 64])]
    graph = tf.function(lambda t, c: content_weighted_sums(t, c, [c])).get_concrete_function(*specs).graph
    return [
        f"{op.type} {op.outputs[0].shape[1:]}" for op in graph.get_operations() if op.type in ("BatchMatMulV2", "If")
    ]


def test_known_shapes_decide_when_traced() -> None:
    assert operations(100, 50) == ["BatchMatMulV2 (64, 64)", "BatchMatMulV2 (100, 64)"]
    assert operations(100, 10) == ["BatchMatMulV2 (100, 10)", "BatchMatMulV2 (100, 64)"]
    assert operations(1, None) == ["BatchMatMulV2 (1, None)", "BatchMatMulV2 (1, 64)"]


@pytest.mark.parametrize(("candidates", "length"), [(2, 3), (70, 80), (0, 3), (3, 0)])
def test_unknown_shapes_decide_when_run(candidates: int, length: int) -> None:
    targets, contents, ids, mask = drawn(candidates, length)
    specs = [tf.TensorSpec([None, None, 16], tf.float16)] * 2 + [tf.TensorSpec([None, None, 8])]
    traced: Any = tf.function(FusionInterest(), input_signature=[*specs, tf.TensorSpec([None, None], tf.bool)])
    assert_near(traced(targets, contents, ids, mask), by_hand(targets, contents, ids, mask))
