"""Hashed ids: a published hash, even bins, rows by id, and gradients that name their rows."""

import numpy as np
import pytest
import tensorflow as tf

from mim_tf.ranking.hashed_embedding import HashedEmbedding, hash_bins

pytestmark = pytest.mark.both_kerases

# SplitMix64 seeded with 0: its k-th number is the finaliser of k times the golden ratio's 64 bits.
GOLDEN = 0x9E3779B97F4A7C15
PUBLISHED = (0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F)


def signed(bits: int) -> int:
    return (bits & (2**64 - 1) ^ 2**63) - 2**63


def test_the_hash_is_splitmix64() -> None:
    ids = tf.constant([signed(k * GOLDEN) for k in (1, 2, 3)], tf.int64)
    for bins in (2, 1000, 10**7 + 19, 2**62 - 1):
        np.testing.assert_array_equal(hash_bins(ids, bins), [number % bins for number in PUBLISHED])


@pytest.mark.parametrize("stride", [1, 2, 1000, 2**20, 2**32])
@pytest.mark.parametrize("bins", [64, 1000])
def test_regular_ids_spread_as_if_drawn(stride: int, bins: int) -> None:
    ids = (np.arange(100_000) - 50_000) * stride
    counts = np.bincount(hash_bins(tf.constant(ids, tf.int64), bins), minlength=bins)
    expected = len(ids) / bins
    chi_square = ((counts - expected) ** 2 / expected).sum()
    freedom = bins - 1  # the statistic's mean; its variance is twice that
    assert abs(chi_square - freedom) < 5 * np.sqrt(2 * freedom)


def test_ids_of_32_bits_have_the_bins_of_those_of_64() -> None:
    ids = np.array([-1, 0, 7, 2**31 - 1])
    np.testing.assert_array_equal(hash_bins(tf.constant(ids, tf.int32), 1000), hash_bins(tf.constant(ids), 1000))


@pytest.mark.parametrize("jit_compile", [False, True])
def test_the_hash_in_a_graph(jit_compile: bool) -> None:
    ids = tf.constant([[signed(GOLDEN)], [-1]], tf.int64)
    compiled = tf.function(lambda ids: hash_bins(ids, 1000), jit_compile=jit_compile)
    np.testing.assert_array_equal(compiled(ids), hash_bins(ids, 1000))


@pytest.mark.parametrize("ids", [tf.constant([[5, -1], [2**62, 5]], tf.int64), tf.constant([["five", ""], ["", "5"]])])
def test_equal_ids_have_equal_rows_and_others_do_not(ids: tf.Tensor) -> None:
    embedded = np.asarray(HashedEmbedding(bins=10_000, dim=3)(ids))
    assert embedded.shape == (2, 2, 3)
    flat = [tuple(row) for row in embedded.reshape(-1, 3)]
    assert len(set(flat)) == len(set(np.asarray(ids).ravel().tolist()))


def test_rows_start_near_zero() -> None:
    layer = HashedEmbedding(bins=10_000, dim=3)
    layer(tf.constant([1], tf.int64))
    (rows,) = layer.get_weights()
    assert rows.shape == (10_000, 3)
    np.testing.assert_allclose([rows.mean(), rows.std()], [0, 0.01], atol=3e-4)


@pytest.mark.parametrize("ids", [tf.constant([[5, 6], [5, 5]], tf.int64), tf.constant([["a", "b"], ["a", "a"]])])
def test_a_gradient_names_its_rows(ids: tf.Tensor) -> None:
    layer = HashedEmbedding(bins=1000, dim=3)
    layer(ids)

    @tf.function
    def gradient() -> tf.IndexedSlices:
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(layer(ids)) + tf.reduce_sum(layer(ids[:, 0]))  # two lookups of one table
        return tape.gradient(loss, layer.trainable_variables)[0]

    slices = gradient()
    assert isinstance(slices, tf.IndexedSlices)
    assert slices.values.shape == (6, 3)
    dense = np.asarray(tf.convert_to_tensor(slices))[:, 0]
    assert sorted(dense[dense != 0]) == [1, 5]  # one id came once, the other five times


@pytest.mark.parametrize(("bins", "dim"), [(0, 3), (10, 0)])
def test_sizes_must_be_positive(bins: int, dim: int) -> None:
    with pytest.raises(ValueError, match=rf"`bins` and `dim` must be positive\. Received: {bins}, {dim}\."):
        HashedEmbedding(bins, dim)
