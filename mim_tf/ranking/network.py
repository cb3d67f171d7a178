"""The click network: ID embeddings, CiUBM and the deepCTR tower."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf
from tensorflow import keras

from mim_tf.interest import UBMS, CiUBM
from mim_tf.ranking.hashed_embedding import HashedEmbedding

_CATEGORY_BINS = 4096


class RankingNetwork(keras.Model):
    """Whether a user clicks a target item, from the item and the user's behaviours.

    Item and category id embeddings make `h_ID`; CiUBM turns target and history into `h_B`, equation (9); the deepCTR
    tower, an MLP, turns `h_B`, its product with the target and the target's `h_ID` into a logit. The product gives each
    interest the target's embedding of its own kind: for (7) it holds the sum of squared cosines, which an MLP would
    have to learn to multiply. Content embeddings are an input: where they come from (a table, parameter machines,
    an encoder) is not the network's business.

    Args:
        ubm: ID interest, one of `mim_tf.interest.UBMS`.
        content: whether the content interest (7) takes part.
        fusion: whether the fusion interest (8) takes part.
        item_dim: dimension of an item's id embedding.
        category_dim: dimension of a category's.
        hash_bins: rows of the item id embedding.
        item_l2: L2 regularisation of the item id embedding.
        tower_units: hidden layers of the tower.
        dropout: rate after each hidden layer.

    Call arguments:
        features: a dict with `item_id` and `category` `[batch]`, `history_item_id` and `history_category`
            `[batch, length]` (padded at the end with -1 or ""), ids int64 or string; with content or fusion interest
            also `item_content` `[batch, mm_dim]` and `history_content` `[batch, length, mm_dim]`.

    Returns:
        Logits, `[batch]` float32.

    Raises:
        ValueError: an unknown `ubm`.

    Reference: MIM, section 3.4.
    """

    def __init__(
        self,
        ubm: str = "din",
        content: bool = True,
        fusion: bool = True,
        item_dim: int = 16,
        category_dim: int = 8,
        hash_bins: int = 2**15,
        item_l2: float = 1e-3,
        tower_units: Sequence[int] = (128, 64),
        dropout: float = 0.2,
    ):
        super().__init__(name="ranking_network")
        if ubm not in UBMS:
            raise ValueError(f"`ubm` must be one of {', '.join(sorted(UBMS))}. Received: {ubm!r}.")
        self.content, self.fusion = content, fusion
        self.item_embedding = HashedEmbedding(hash_bins, item_dim, item_l2, name="item_embedding")
        self.category_embedding = HashedEmbedding(_CATEGORY_BINS, category_dim, name="category_embedding")
        self.interest = CiUBM(UBMS[ubm](), content=content, fusion=fusion, name="interest")
        self.tower = _tower(tower_units, dropout)

    @property
    def uses_content(self) -> bool:
        """Whether content embeddings are among the inputs."""
        return self.content or self.fusion

    def call(self, features: dict[str, tf.Tensor], training: bool = False) -> tf.Tensor:
        """Logits of a batch."""
        target = self._identify(features["item_id"], features["category"])
        history = self._identify(features["history_item_id"], features["history_category"])
        target_content, history_content = (
            (features["item_content"], features["history_content"]) if self.uses_content else (None, None)
        )
        mask = behaviour_mask(features["history_item_id"])
        interest = self.interest(target, history, target_content, history_content, mask=mask)  # h_B
        targets = [target]  # the target's embedding of the same kind as each part of h_B
        if self.content:
            targets.append(tf.cast(target_content, target.dtype))
        if self.fusion:
            targets.append(target)
        inputs = tf.concat([interest, interest * tf.concat(targets, axis=-1), target], axis=-1)
        return tf.squeeze(self.tower(inputs, training=training), axis=-1)

    def _identify(self, item_ids: tf.Tensor, categories: tf.Tensor) -> tf.Tensor:
        """`h_ID`: `[..., item_dim + category_dim]`."""
        return tf.concat([self.item_embedding(item_ids), self.category_embedding(categories)], axis=-1)


def behaviour_mask(history_item_ids: tf.Tensor) -> tf.Tensor:
    """True where a padded history holds a behaviour: neither -1 nor "" is an item's id."""
    return tf.not_equal(history_item_ids, "" if history_item_ids.dtype == tf.string else -1)


def _tower(units: Sequence[int], dropout: float) -> keras.Sequential:
    layers: list[Any] = []
    for size in units:
        layers += [keras.layers.Dense(size), keras.layers.PReLU(), keras.layers.Dropout(dropout)]
    return keras.Sequential([*layers, keras.layers.Dense(1, dtype="float32")], name="tower")
