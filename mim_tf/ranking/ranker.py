"""A ranking network together with the content embeddings it reads."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import tensorflow as tf

from mim_tf.ranking.network import Features, RankingNetwork


class ContentTable(Protocol):
    """Content embeddings by item id: an `EmbeddingTable`, or an encoder in its place."""

    @property
    def trainable_variables(self) -> Sequence[tf.Variable]:
        """What of it learns with the network; none of a table."""

    def lookup(self, item_ids: tf.Tensor) -> tf.Tensor:
        """`[...]` ids to `[..., dim]` embeddings, zeros for padding and unknown items."""


class Ranker(tf.Module):
    """Click probabilities from ids and features alone; what is trained, evaluated and exported.

    ```
    p = sigmoid(logit + log w)        w: share of the label-0 impressions that trained
    ```

    A network that saw every click and a share w of the rest takes clicks for 1/w times as likely as they are, in odds.

    Args:
        network: the click network.
        table: content embeddings; None where the network uses none, or where they come with the features.
        negatives_kept: w, in (0, 1].

    Raises:
        ValueError: `negatives_kept` is out of range.

    Reference: He et al., Practical Lessons from Predicting Clicks on Ads at Facebook, section 6.3 (ADKDD 2014).
    """

    def __init__(self, network: RankingNetwork, table: ContentTable | None = None, negatives_kept: float = 1.0):
        super().__init__(name="ranker")
        if not 0 < negatives_kept <= 1:
            raise ValueError(f"`negatives_kept` must be in (0, 1]. Received: {negatives_kept}.")
        self.network = network
        self.table = table if network.uses_content else None
        self._correction = math.log(negatives_kept)
        # `probabilities`, traced once for all batches, and forgotten with the ranker: a trace keeps the table alive.
        self.score = tf.function(self.probabilities, reduce_retracing=True)

    @property
    def fields(self) -> tuple[str, ...]:
        """The inputs by name, as `RankingNetwork.fields` has them, without what the table gives."""
        contents = () if self.table is None else ("item_content", "history_content")
        return tuple(name for name in self.network.fields if name not in contents)

    def checkpoint(self) -> tf.train.Checkpoint:
        """What training changes: the network, and an encoder that learns too. A table has a store of its own."""
        learning = [] if self.table is None else list(self.table.trainable_variables)
        return tf.train.Checkpoint(network=self.network, encoder=learning)

    def logits(self, features: Features, training: bool = False) -> tf.Tensor:
        """Logits `[batch]` as the network learns them, among the impressions that are kept."""
        if self.table is not None:
            # One look-up for both: the index is asked once.
            ids = tf.concat([features["item_id"][:, tf.newaxis], features["history_item_id"]], axis=1)
            contents = self.table.lookup(ids)
            features = features | {"item_content": contents[:, 0], "history_content": contents[:, 1:]}
        return self.network(features, training=training)

    def probabilities(self, features: Features) -> tf.Tensor:
        """Click probabilities `[batch]` float32, of all impressions."""
        return tf.sigmoid(self.logits(features) + self._correction)
