"""A ranking network together with the embedding table it reads."""

from __future__ import annotations

import tensorflow as tf

from mim_tf.ranking.network import RankingNetwork
from mim_tf.representation import EmbeddingTable


class Ranker(tf.Module):
    """Click probabilities from ids alone; what is trained, evaluated and exported.

    Args:
        network: the click network.
        table: content embeddings; None for a network that uses no content.

    Raises:
        ValueError: the network uses content and there is no table.
    """

    def __init__(self, network: RankingNetwork, table: EmbeddingTable | None):
        super().__init__(name="ranker")
        if network.uses_content and table is None:
            raise ValueError("`table` must be given for a network that uses content. Received: None.")
        self.network = network
        self.table = table if network.uses_content else None

    def logits(self, features: dict[str, tf.Tensor], training: bool = False) -> tf.Tensor:
        """Logits `[batch]` from `item_id`, `category`, `history_item_id`, `history_category`."""
        if self.table is not None:
            features = features | {
                "item_content": self.table.lookup(features["item_id"]),
                "history_content": self.table.lookup(features["history_item_id"]),
            }
        return self.network(features, training=training)

    def probabilities(self, features: dict[str, tf.Tensor]) -> tf.Tensor:
        """Click probabilities `[batch]` float32."""
        return tf.sigmoid(self.logits(features))
