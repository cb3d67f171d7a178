import numpy as np
import pytest
import tensorflow as tf

from mim_tf.interest import FusionInterest

pytestmark = pytest.mark.both_kerases


def test_by_hand() -> None:
    target = tf.constant([[0.0, 3.0]])
    contents = tf.constant([[[3.0, 4.0], [0.0, -2.0], [0.0, 0.0], [0.0, 1.0]]])
    ids = tf.constant([[[10.0, 0.0, 5.0], [1.0, 1.0, 1.0], [7.0, 7.0, 7.0], [9.0, 9.0, 9.0]]])
    mask = tf.constant([[True, True, True, False]])
    # Cosines 0.8, -1, 0 (no embedding), and a padded one:
    # 0.8 (10, 0, 5) - (1, 1, 1) = (7, -1, 3)
    np.testing.assert_allclose(FusionInterest()(target, contents, ids, mask=mask), [[7.0, -1.0, 3.0]], rtol=1e-6)


def test_it_is_linear_in_the_target_direction() -> None:
    rng = np.random.default_rng(4)
    target, contents, ids = rng.normal(size=(3, 6)), rng.normal(size=(3, 20, 6)), rng.normal(size=(3, 20, 4))
    output = FusionInterest()(*(x.astype(np.float32) for x in (target, contents, ids)))
    # (sum_i h_ID_i h^_i^T) t^: the user's matrix first, the target last.
    unit = contents / np.linalg.norm(contents, axis=-1, keepdims=True)
    direction = target / np.linalg.norm(target, axis=-1, keepdims=True)
    user_matrix = np.einsum("bid,bin->bdn", ids, unit)
    np.testing.assert_allclose(output, np.einsum("bdn,bn->bd", user_matrix, direction), rtol=1e-4, atol=1e-5)


def test_an_item_without_a_content_embedding_takes_no_part() -> None:
    target, contents = tf.constant([[1.0, 0.0]]), tf.zeros([1, 2, 2])
    ids = tf.constant([[[1e30], [-1e30]]])
    with tf.GradientTape() as tape:
        tape.watch([target, contents, ids])
        output = FusionInterest()(target, contents, ids)
    np.testing.assert_array_equal(output, [[0.0]])
    for gradient in tape.gradient(output, [target, contents, ids]):
        np.testing.assert_array_equal(gradient, np.zeros(gradient.shape))


def test_ids_of_another_length() -> None:
    with pytest.raises(ValueError, match=r"same batch size and length. Received: shapes \(2, 4, 5\) and \(2, 3, 6\)"):
        FusionInterest()(tf.zeros([2, 6]), tf.zeros([2, 3, 6]), tf.zeros([2, 4, 5]))
