"""The levels at which a query meets an item: its fused embedding, its title's and its image's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import tensorflow as tf

from mim_tf.finetuning.item_encoder import ItemEmbeddings

_SHOWN_AS = {"fused": "item", "text": "text", "image": "image"}


@dataclass(frozen=True)
class MultiLevel:
    """`L_C-SFT = L_q2item + alpha L_q2txt + beta L_q2img`; a level of weight 0 is not computed at all.

    Attributes:
        alpha: weight of the query-to-title loss.
        beta: weight of the query-to-image loss.

    Reference: MIM, equation (6).
    """

    alpha: float
    beta: float

    @property
    def weights(self) -> dict[str, float]:
        """The levels that count, and how much."""
        weights = {"fused": 1.0, "text": self.alpha, "image": self.beta}
        return {level: weight for level, weight in weights.items() if weight}

    def of(self, items: tf.Tensor) -> tf.Tensor:
        """Of embeddings of all levels, `[..., 3, dim]` in the order of `ItemEmbeddings`, those that count."""
        return tf.gather(items, [ItemEmbeddings._fields.index(level) for level in self.weights], axis=-2)

    def __call__(self, losses: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """The weighted sum as `loss`, and each level's own beside it."""
        total = tf.add_n([weight * losses[level] for level, weight in self.weights.items()])
        return {"loss": total, **{f"query_to_{_SHOWN_AS[level]}_loss": losses[level] for level in self.weights}}
