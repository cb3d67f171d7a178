"""The click network: embeddings of ids and features, CiUBM and the deepCTR tower."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf
from tensorflow import keras

from mim_tf.interest import CiUBM
from mim_tf.interest.ciubm import call_arguments
from mim_tf.ranking.deep_ctr import DeepCTR
from mim_tf.ranking.hashed_embedding import HashedEmbedding

_CATEGORY_BINS = 4096
Features = dict[str, tf.Tensor]


@keras.utils.register_keras_serializable(package="mim_tf")
class RankingNetwork(keras.Model):
    """Whether a user clicks a target item, from the item, the user's behaviours, the context and the query.

    ID, category and feature embeddings of an item make its `h_ID`; CiUBM turns target and history into `h_B`, equation
    (9); deepCTR turns `h_B`, its product with the target, the target's `h_ID` and the features of the impression into a
    logit. The product gives each interest the target's embedding of its own kind (of an ID interest as many columns as
    whole `h_ID` fit into): for (7) it holds the sum of squared cosines, which an MLP would have to learn to multiply.
    Content embeddings are an input: where they come from (a table, parameter machines, an encoder) is not the network's
    business.

    A Keras model like any other, in Keras 3 and tf_keras; `RankingModel` makes a TFRS model of it.

    Args:
        ubm: the user behaviour model of the ID interest (1), a layer called as those of `mim_tf.interest.UBMS`; None
            leaves the ID interest out.
        content: whether the content interest (7) takes part.
        fusion: whether the fusion interest (8) takes part.
        query: whether the cosine of query and target takes part.
        item_dim: dimension of an item's id embedding.
        category_dim: dimension of a category's.
        hash_bins: rows of the item id embedding.
        item_features: layers that embed the item columns, by column: `[...]` to `[..., any_dim]`.
        impression_features: likewise of the columns of users, contexts and queries.
        tower: the tower; None makes a `DeepCTR()`.
        **kwargs: `name` of every Keras model. Its precision is the global policy's.

    Call arguments:
        features: a dict of the `fields` of this network; ids int64 or string, histories padded at the end, -1 or "".

    Returns:
        Logits, `[batch]` float32.

    Raises:
        TypeError: `ubm` is no layer.
        ValueError: none of the three interests takes part, or a field is missing.

    Reference: MIM, section 3.4.
    """

    def __init__(
        self,
        ubm: keras.layers.Layer | None,
        content: bool = True,
        fusion: bool = True,
        query: bool = False,
        item_dim: int = 16,
        category_dim: int = 8,
        hash_bins: int = 2**15,
        item_features: Mapping[str, keras.layers.Layer] | None = None,
        impression_features: Mapping[str, keras.layers.Layer] | None = None,
        tower: keras.layers.Layer | None = None,
        **kwargs: Any,
    ):
        super().__init__(**{"name": "ranking_network", **kwargs})
        self.content, self.fusion, self.query = content, fusion, query
        self.item_embedding = HashedEmbedding(hash_bins, item_dim, name="item_embedding")
        self.category_embedding = HashedEmbedding(_CATEGORY_BINS, category_dim, name="category_embedding")
        self.item_features = dict(item_features or {})
        self.impression_features = dict(impression_features or {})
        self.interest = CiUBM(ubm, content=content, fusion=fusion, name="interest")
        self.tower = DeepCTR(name="tower") if tower is None else tower
        self._inputs: dict[str, tuple[list[int], str]] = {}

    @property
    def uses_content(self) -> bool:
        """Whether content embeddings are among the inputs."""
        return self.content or self.fusion or self.query

    @property
    def uses_time(self) -> bool:
        """Whether the user behaviour model asks how long ago a behaviour was."""
        ubm = self.interest.id_interest
        return ubm is not None and "time_gaps" in call_arguments(ubm)

    @property
    def fields(self) -> tuple[str, ...]:
        """The inputs by name.

        `item_id`, `category`, `item_<column>` and `<column>` are `[batch]`; those that begin with `history_` hold
        behaviours, oldest first, `[batch, length]`; times (`timestamp`, `history_timestamp`) are in seconds. Beside
        these, `query_embedding` and `item_content` are `[batch, mm_dim]`, `history_content` `[batch, length, mm_dim]`.
        """
        of_items = ["id", "category", *self.item_features]
        targets = ["category" if name == "category" else f"item_{name}" for name in of_items]
        histories = ["history_item_id" if name == "id" else f"history_{name}" for name in of_items]
        times = ["timestamp", "history_timestamp"] if self.uses_time else []
        contents = ["item_content", "history_content"] if self.uses_content else []
        queries = ["query_embedding"] if self.query else []
        return (*targets, *histories, *times, *self.impression_features, *queries, *contents)

    def build(self, features_shape: Any = None) -> None:
        """Make nothing: the layers build themselves when called, for shapes do not tell which fields are text."""
        self.built = True

    def call(self, features: Features, training: bool = False) -> tf.Tensor:
        """Logits of a batch."""
        self._check(features)
        self._inputs = {name: _one_row_of(name, features[name]) for name in self.fields}
        target, history = self._identities(features)
        h_b = self.interest(target, history, **self._behaviours(features))
        inputs = [h_b, *self._matches(h_b, target, features), target]
        inputs += [layer(features[name]) for name, layer in self.impression_features.items()]
        if self.query:
            inputs.append(cosine(features["query_embedding"], features["item_content"])[:, tf.newaxis])
        wide = tf.concat([tf.cast(part, self.compute_dtype) for part in inputs], axis=-1)
        return self.tower(wide, training=training)

    def _check(self, features: Features) -> None:
        missing = [name for name in self.fields if name not in features]
        if missing:
            raise ValueError(f"`features` must hold {', '.join(self.fields)}. Received: none of {', '.join(missing)}.")

    def _identities(self, features: Features) -> tuple[tf.Tensor, tf.Tensor]:
        """`h_ID` of the target, `[batch, dim]`, and of the behaviours, `[batch, length, dim]`.

        Both are looked up at once: one gather, and one sparse gradient, for each matrix.
        """
        layers = {"id": self.item_embedding, "category": self.category_embedding, **self.item_features}
        parts = []
        for name, layer in layers.items():
            of_target = features["category" if name == "category" else f"item_{name}"]
            of_history = features["history_item_id" if name == "id" else f"history_{name}"]
            parts.append(layer(tf.concat([of_target[:, tf.newaxis], of_history], axis=1)))
        # Split, not sliced: a slice's gradient pads, many times slower than the concatenation that a split's is.
        target, history = tf.split(tf.concat(parts, axis=-1), [1, -1], axis=1)
        return tf.squeeze(target, axis=1), history

    def _behaviours(self, features: Features) -> Features:
        """What CiUBM gets beside `h_ID`."""
        arguments = {
            "mask": behaviour_mask(features["history_item_id"]),
            "same_category": features["history_category"] == features["category"][:, tf.newaxis],
        }
        if self.uses_time:
            arguments["time_gaps"] = features["timestamp"][:, tf.newaxis] - features["history_timestamp"]
        if self.content or self.fusion:
            arguments["target_content"] = features["item_content"]
            arguments["history_content"] = features["history_content"]
        return arguments

    def _matches(self, h_b: tf.Tensor, target: tf.Tensor, features: Features) -> list[tf.Tensor]:
        """Each interest times the target's embedding of its kind.

        Of the ID interest as many columns as whole vectors of the space of `h_ID` fit into are taken as such: two of
        SIM's after its soft search, one of BST's, whose other columns tell of time.
        """
        kinds = [tf.cast(features["item_content"], h_b.dtype)] if self.content else []
        kinds += [target] if self.fusion else []
        others = sum(kind.shape[-1] for kind in kinds)
        vectors, rest = divmod(h_b.shape[-1] - others, target.shape[-1])
        of_id, _, of_others = tf.split(h_b, [-1, rest, others], axis=-1)
        kinds = [target] * vectors + kinds
        return [tf.concat([of_id, of_others], axis=-1) * tf.concat(kinds, axis=-1)] if kinds else []

    def get_build_config(self) -> dict[str, Any]:
        """What the weights were made for: the fields and their types."""
        return {"inputs": self._inputs}

    def build_from_config(self, config: dict[str, Any]) -> None:
        """Make the weights of a network that is read from a file, by an impression without a history."""
        self({name: tf.zeros(shape, dtype) for name, (shape, dtype) in config["inputs"].items()})

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, layers serialized."""
        ubm = self.interest.id_interest
        return {
            "name": self.name,
            "ubm": None if ubm is None else keras.layers.serialize(ubm),
            "content": self.content,
            "fusion": self.fusion,
            "query": self.query,
            "item_dim": self.item_embedding.dim,
            "category_dim": self.category_embedding.dim,
            "hash_bins": self.item_embedding.bins,
            "item_features": _serialized(self.item_features),
            "impression_features": _serialized(self.impression_features),
            "tower": keras.layers.serialize(self.tower),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> RankingNetwork:
        """Make the network, and the layers in it, from `get_config`."""
        layers = {name: keras.layers.deserialize(config[name]) for name in ("ubm", "tower") if config[name]}
        for kind in ("item_features", "impression_features"):
            layers[kind] = {name: keras.layers.deserialize(layer) for name, layer in config[kind].items()}
        return cls(**{**config, **layers})


def behaviour_mask(history_item_ids: tf.Tensor) -> tf.Tensor:
    """True where a padded history holds a behaviour: neither -1 nor "" is an item's id."""
    return tf.not_equal(history_item_ids, "" if history_item_ids.dtype == tf.string else -1)


def cosine(queries: tf.Tensor, items: tf.Tensor) -> tf.Tensor:
    """Cosine of queries and items, both `[batch, mm_dim]`, in float32; 0 where either has no embedding."""
    of_query, of_item = (tf.math.l2_normalize(tf.cast(rows, tf.float32), axis=-1) for rows in (queries, items))
    return tf.reduce_sum(of_query * of_item, axis=-1)


def _one_row_of(name: str, values: tf.Tensor) -> tuple[list[int], str]:
    """Shape, without behaviours, and dtype of one row of a field."""
    shape = [1, *values.shape[1:]]
    if name.startswith("history_"):
        shape[1] = 0
    return shape, values.dtype.name


def _serialized(layers: Mapping[str, keras.layers.Layer]) -> dict[str, Any]:
    return {name: keras.layers.serialize(layer) for name, layer in layers.items()}
