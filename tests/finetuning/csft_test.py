"""The C-SFT loss against NumPy, equation (6) written out."""

import numpy as np
import tensorflow as tf

from mim_tf.finetuning.csft import multi_level_loss
from mim_tf.finetuning.item_encoder import ItemEmbeddings


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def test_the_loss_equals_the_equation_and_copies_of_the_positive_are_no_negatives() -> None:
    rng = np.random.default_rng(0)
    queries = rng.normal(size=(3, 4))
    image, text, fused = rng.normal(size=(3, 6, 4))
    items = [10, 11, 10, 20, 11, 21]  # 10 was bought after queries 0 and 2; 11 is query 1's item and a hard negative
    query_items = [20, -1, -1]  # query 0 is the picture of item 20, a hard negative in this batch
    temperature = 0.2

    def info_nce(candidates: np.ndarray) -> float:
        losses = []
        for q in range(3):
            weights = [np.exp(cosine(queries[q], candidates[c]) / temperature) for c in range(6)]
            rivals = [weights[c] for c in range(6) if items[c] not in (items[q], query_items[q])]
            losses.append(-np.log(weights[q] / (weights[q] + sum(rivals))))
        return float(np.mean(losses))

    scalars = multi_level_loss(
        tf.constant(queries),
        ItemEmbeddings(tf.constant(image), tf.constant(text), tf.constant(fused)),
        tf.constant(items),
        tf.constant(query_items),
        temperature=temperature,
        alpha=0.5,
        beta=0.25,
    )
    np.testing.assert_allclose(
        scalars["loss"], info_nce(fused) + 0.5 * info_nce(text) + 0.25 * info_nce(image), rtol=1e-5
    )
    np.testing.assert_allclose(scalars["query_to_image_loss"], info_nce(image), rtol=1e-5)


def test_a_query_has_two_n_minus_one_negatives() -> None:
    # All candidates alike: the loss is log of their number, the positive included: 2 N for N = 4 distinct pairs.
    ones = tf.ones([8, 3])
    scalars = multi_level_loss(
        tf.ones([4, 3]),
        ItemEmbeddings(ones, ones, ones),
        tf.range(8),
        tf.fill([4], -1),
        temperature=1.0,
        alpha=0.0,
        beta=0.0,
    )
    np.testing.assert_allclose(np.exp(scalars["loss"]), 8, rtol=1e-5)


def test_string_ids_can_be_compared() -> None:
    ones = tf.ones([2, 3])
    scalars = multi_level_loss(
        tf.ones([1, 3]),
        ItemEmbeddings(ones, ones, ones),
        tf.constant(["a", "a"]),
        tf.constant([""]),
        temperature=1.0,
        alpha=1,
        beta=1,
    )
    np.testing.assert_allclose(scalars["loss"], 0, atol=1e-6)  # its only other candidate is itself
