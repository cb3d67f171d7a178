"""Layers that embed features: which values share a row, and what is refused."""

import numpy as np
import pytest
import tensorflow as tf

from mim_tf.ranking import BucketisedEmbedding, Standardised, VocabularyEmbedding

pytestmark = pytest.mark.both_kerases


@pytest.mark.parametrize("vocabulary", [["red", "blue", "red wine"], [7, -1, 2**40]])
def test_known_values_have_rows_of_their_own(vocabulary: list[str] | list[int]) -> None:
    layer = VocabularyEmbedding(vocabulary, 2)
    unknown: list[str] | list[int] = ["pink", ""] if isinstance(vocabulary[0], str) else [3, 0]
    rows = layer(tf.constant([*vocabulary, *unknown]))
    layer.set_weights([np.arange(8.0).reshape(4, 2)])
    rows = layer(tf.constant([*vocabulary, *unknown]))
    np.testing.assert_array_equal(rows, [[2, 3], [4, 5], [6, 7], [0, 1], [0, 1]])


def test_a_vocabulary_for_other_values() -> None:
    with pytest.raises(TypeError, match=r"`values` must be string\. Received: int64\."):
        VocabularyEmbedding(["red"], 2)(tf.constant([1], tf.int64))
    for wrong in (["red", "red"], ["red", 1], []):
        with pytest.raises(ValueError, match=r"`vocabulary` must hold distinct values of one type"):
            VocabularyEmbedding(wrong, 2)
    with pytest.raises(ValueError, match=r"`dim` must be positive\. Received: 0\."):
        VocabularyEmbedding(["red"], 0)


@pytest.mark.parametrize("dtype", [tf.int64, tf.float32])
def test_buckets_begin_at_their_boundary(dtype: tf.DType) -> None:
    layer = BucketisedEmbedding([10, 20], 1)
    values = tf.constant([[-5, 9, 10], [19, 20, 99]], dtype)
    layer(values)
    layer.set_weights([np.array([[0.0], [1.0], [2.0]])])
    np.testing.assert_array_equal(layer(values)[..., 0], [[0, 0, 1], [1, 2, 2]])


def test_boundaries_ascend() -> None:
    with pytest.raises(ValueError, match=r"`boundaries` must ascend\. Received: \[20\.0, 10\.0\]\."):
        BucketisedEmbedding([20, 10], 1)
    with pytest.raises(ValueError, match=r"`dim` must be positive\. Received: 0\."):
        BucketisedEmbedding([10], 0)


def test_a_constant_says_nothing() -> None:
    np.testing.assert_array_equal(Standardised(7.0, 0.0)(tf.constant([7.0, 8.0])), [[0.0], [0.0]])


@pytest.mark.parametrize(("mean", "deviation"), [(np.nan, 1.0), (0.0, -1.0), (0.0, np.inf)])
def test_statistics_that_are_none(mean: float, deviation: float) -> None:
    with pytest.raises(ValueError, match=r"`mean` and `deviation` must be finite, the latter not negative"):
        Standardised(mean, deviation)
