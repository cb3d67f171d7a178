"""Equation (6) by hand."""

import numpy as np
import tensorflow as tf

from mim_tf.finetuning.item_encoder import ItemEmbeddings
from mim_tf.finetuning.multi_level import MultiLevel


def test_the_sum_of_the_levels_weighs_titles_with_alpha_and_images_with_beta() -> None:
    losses = {"fused": tf.constant(1.0), "text": tf.constant(10.0), "image": tf.constant(100.0)}
    scalars = MultiLevel(alpha=0.5, beta=0.25)(losses)
    assert {name: float(value) for name, value in scalars.items()} == {
        "loss": 1 + 5 + 25,
        "query_to_item_loss": 1,
        "query_to_text_loss": 10,
        "query_to_image_loss": 100,
    }


def test_levels_of_weight_zero_are_left_out() -> None:
    embeddings = tf.stack(
        ItemEmbeddings(image=tf.fill([2, 4], 1.0), text=tf.fill([2, 4], 2.0), fused=tf.fill([2, 4], 3.0))
    )
    items = tf.transpose(embeddings, [1, 0, 2])  # [2, 3, 4]
    for levels, expected in (
        (MultiLevel(0.5, 0.5), [3, 2, 1]),
        (MultiLevel(0, 0.5), [3, 1]),
        (MultiLevel(0.5, 0), [3, 2]),
        (MultiLevel(0, 0), [3]),
    ):
        np.testing.assert_array_equal(levels.of(items)[0, :, 0], expected)
        assert len(levels.weights) == len(expected)
    assert set(MultiLevel(0, 0)({"fused": tf.constant(2.0)})) == {"loss", "query_to_item_loss"}
