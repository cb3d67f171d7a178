"""A ranking network together with the content embeddings it reads."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import tensorflow as tf

from mim_tf.interest import UserState
from mim_tf.ranking.network import Features, RankingNetwork

CONTENT_FIELDS = ("item_content", "history_content")


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
        contents = () if self.table is None else CONTENT_FIELDS
        return tuple(name for name in self.network.fields if name not in contents)

    def checkpoint(self) -> tf.train.Checkpoint:
        """What training changes: the network, and an encoder that learns too. A table has a store of its own."""
        learning = [] if self.table is None else list(self.table.trainable_variables)
        return tf.train.Checkpoint(network=self.network, encoder=learning)

    def logits(self, features: Features, training: bool = False, state: UserState | None = None) -> tf.Tensor:
        """Logits as the network learns them, among the impressions that are kept; arguments and shapes are its own."""
        if self.table is not None:
            features = features | _contents(self.table, features, with_history=state is None)
        return self.network(features, training=training, state=state)

    def probabilities(self, features: Features, state: UserState | None = None) -> tf.Tensor:
        """Click probabilities of all impressions, float32: `[batch]`, or `[batch, candidates]`, as `item_id` is."""
        return tf.sigmoid(self.logits(features, state=state) + self._correction)

    def user_state(self, features: Features, state: UserState | None = None) -> UserState:
        """`RankingNetwork.user_state` of behaviours whose contents are in the table."""
        if self.table is not None:
            features = features | {"history_content": self.table.lookup(features["history_item_id"])}
        return self.network.user_state(features, state)


def _contents(table: ContentTable, features: Features, *, with_history: bool) -> Features:
    """Content embeddings of targets and behaviours, or of the targets alone."""
    targets = features["item_id"]
    if not with_history:
        return {"item_content": table.lookup(targets)}
    single = targets.shape.rank == 1
    targets = targets[:, tf.newaxis] if single else targets
    # One look-up for both: the index is asked once.
    contents = table.lookup(tf.concat([targets, features["history_item_id"]], axis=1))
    of_targets, of_behaviours = tf.split(contents, [1 if single else tf.shape(targets)[1], -1], axis=1)
    return {
        "item_content": tf.squeeze(of_targets, axis=1) if single else of_targets,
        "history_content": of_behaviours,
    }
