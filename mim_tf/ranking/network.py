"""The click network: embeddings of ids and features, CiUBM and the deepCTR tower."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf
from tensorflow import keras

from mim_tf.interest import CiUBM, UserState
from mim_tf.interest.ciubm import call_arguments
from mim_tf.interest.packed_steps import gather_distinct
from mim_tf.ranking.deep_ctr import DeepCTR
from mim_tf.ranking.hashed_embedding import HashedEmbedding

_CATEGORY_BINS = 4096
_ITEM = "item_"  # begins the fields of targets
IS_SHOWN = "is_shown"
"""The field that tells candidates from padding."""
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

    Many candidates for one user are asked for at once, as `[batch, candidates]` in place of `[batch]` of each target
    field: what depends on the user alone is then computed once. Columns of impressions, and the query, may then differ
    by candidate too. A history that is too long for that can be summed up beforehand (`user_state`).

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
        impression_features: likewise of the columns of users, contexts and queries; of targets, if named `item_...`.
        tower: the tower; None makes a `DeepCTR()`.
        **kwargs: `name` of every Keras model. Its precision is the global policy's.

    Call arguments:
        features: a dict of the `fields` of this network; ids int64 or string, histories padded at the end, -1 or "".
            Where users have fewer candidates than there are columns, `is_shown` beside them, bool
            `[batch, candidates]`, False for padding, which the tower does not see, nor does a `ubm` that takes `shown`.
        state: a `UserState`, of which content and fusion interest are then; the history serves the ID interest alone,
            and `history_content` may be left out.

    Returns:
        Logits, `[batch]`, or `[batch, candidates]`, float32; 0 for padding.

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
        """The inputs by name: of targets, of behaviours and of the impression."""
        return (*self.target_fields, *self.history_fields, *self.impression_fields)

    @property
    def target_fields(self) -> tuple[str, ...]:
        """`item_id`, `category`, `item_<column>`, `[batch]` or `[batch, candidates]`; `item_content` `[.., mm_dim]`.

        Columns of impressions are among them if their names begin with `item_`, as that of the target's age does.
        """
        contents = ["item_content"] if self.uses_content else []
        of_targets = [name for name in self.impression_features if name.startswith(_ITEM)]
        return (*map(_target_field, self._item_layers), *of_targets, *contents)

    @property
    def history_fields(self) -> tuple[str, ...]:
        """Behaviours, oldest first: `history_item_id`, `history_category`, `history_<column>`, `[batch, length]`.

        Beside these `history_timestamp` in seconds, and `history_content` `[batch, length, mm_dim]`.
        """
        times = ["history_timestamp"] if self.uses_time else []
        contents = ["history_content"] if self.uses_content else []
        return (*map(_history_field, self._item_layers), *times, *contents)

    @property
    def impression_fields(self) -> tuple[str, ...]:
        """`timestamp` in seconds, `[batch]`; `<column>` and `query_embedding`.

        The latter are `[batch]` and `[batch, mm_dim]`, or by candidate `[batch, candidates]` and so on.
        """
        times = ["timestamp"] if self.uses_time else []
        columns = [name for name in self.impression_features if not name.startswith(_ITEM)]
        return (*times, *columns, *(["query_embedding"] if self.query else []))

    def build(self, features_shape: Any = None) -> None:
        """Make nothing: the layers build themselves when called, for shapes do not tell which fields are text."""
        self.built = True

    def call(self, features: Features, training: bool = False, state: UserState | None = None) -> tf.Tensor:
        """Logits of a batch."""
        self._check(features, state)
        if state is None:
            self._inputs = self._one_row_each(features)
        target, history = self._identities(features)
        h_b = self.interest(target, history, **self._behaviours(features, state))
        inputs = [h_b, *self._matches(h_b, target, features), target]
        inputs += [_for_each(target, layer(features[name])) for name, layer in self.impression_features.items()]
        if self.query:
            queries = _for_each(target, features["query_embedding"])
            inputs.append(cosine(queries, features["item_content"])[..., tf.newaxis])
        wide = tf.concat([tf.cast(part, self.compute_dtype) for part in inputs], axis=-1)
        wide = tf.reshape(wide, [-1, wide.shape[-1]])
        return tf.reshape(self._logits(wide, features.get(IS_SHOWN), training), tf.shape(target)[:-1])

    def _logits(self, wide: tf.Tensor, shown: tf.Tensor | None, training: bool) -> tf.Tensor:
        """The tower's logits, `[rows]`, of `[rows, width]`; 0 of rows that are padding."""
        if shown is None:
            return self.tower(wide, training=training)
        # Padding takes no time, and no part in the statistics of Dice.
        rows = tf.cast(tf.where(tf.reshape(shown, [-1]))[:, 0], tf.int32)
        logits = self.tower(gather_distinct(wide, rows), training=training)
        return tf.scatter_nd(rows[:, tf.newaxis], logits, tf.shape(wide)[:1])

    def user_state(self, features: Features, state: UserState | None = None) -> UserState:
        """What content and fusion interest need of users' behaviours, in a size that does not grow with them.

        Args:
            features: a dict of the fields that begin with `history_`, but for times.
            state: of the behaviours before these; None where there are none.

        Returns:
            The state after these behaviours. It fits this network as trained now, and these content embeddings.
        """
        history = self._identity({name: features[_history_field(name)] for name in self._item_layers})
        contents = features["history_content"]
        if state is None:
            state = UserState.empty(tf.shape(history)[0], history.shape[-1], contents.shape[-1])
        return state.add(contents, history, behaviour_mask(features["history_item_id"]))

    @property
    def _item_layers(self) -> dict[str, keras.layers.Layer]:
        """What embeds each column of an item; together they make `h_ID`."""
        return {"id": self.item_embedding, "category": self.category_embedding, **self.item_features}

    def _check(self, features: Features, state: UserState | None) -> None:
        given = {*features, "history_content"} if state is not None else {*features}
        missing = [name for name in self.fields if name not in given]
        if missing:
            raise ValueError(f"`features` must hold {', '.join(self.fields)}. Received: none of {', '.join(missing)}.")

    def _one_row_each(self, features: Features) -> dict[str, tuple[list[int], str]]:
        """Shape, without behaviours and with one candidate, and dtype of one row of each field."""
        second = dict.fromkeys(self.history_fields, 0)
        if features["item_id"].shape.rank == 2:
            second |= dict.fromkeys((*self.target_fields, *self._fields_by_candidate(features)), 1)
        rows = {}
        for name in self.fields:
            rest = [second[name], *features[name].shape[2:]] if name in second else features[name].shape[1:]
            rows[name] = [1, *rest], features[name].dtype.name
        return rows

    def _fields_by_candidate(self, features: Features) -> list[str]:
        """Which of the impression's fields have a value for each candidate."""
        of_users = {name: 2 if name == "query_embedding" else 1 for name in self.impression_fields}
        return [name for name, rank in of_users.items() if features[name].shape.rank > rank]

    def _identities(self, features: Features) -> tuple[tf.Tensor, tf.Tensor]:
        """`h_ID` of the target, `[batch, dim]` or `[batch, candidates, dim]`, and of the behaviours.

        Both are looked up at once: one gather, and one sparse gradient, for each matrix.
        """
        targets = {name: features[_target_field(name)] for name in self._item_layers}
        single = targets["id"].shape.rank == 1
        if single:
            targets = {name: values[:, tf.newaxis] for name, values in targets.items()}
        columns = {
            name: tf.concat([values, features[_history_field(name)]], axis=1) for name, values in targets.items()
        }
        candidates = 1 if single else tf.shape(targets["id"])[1]
        # Split, not sliced: a slice's gradient pads, many times slower than the concatenation that a split's is.
        target, history = tf.split(self._identity(columns), [candidates, -1], axis=1)
        return (tf.squeeze(target, axis=1) if single else target), history

    def _identity(self, columns: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """`h_ID`, `[..., dim]`, of items' columns `[...]`."""
        return tf.concat([layer(columns[name]) for name, layer in self._item_layers.items()], axis=-1)

    def _behaviours(self, features: Features, state: UserState | None) -> dict[str, Any]:
        """What CiUBM gets beside `h_ID`."""
        categories = features["history_category"]
        if features["category"].shape.rank == 2:
            categories = categories[:, tf.newaxis]
        arguments = {
            "mask": behaviour_mask(features["history_item_id"]),
            "same_category": categories == features["category"][..., tf.newaxis],
        }
        if IS_SHOWN in features:
            arguments["shown"] = features[IS_SHOWN]
        if self.uses_time:
            arguments["time_gaps"] = features["timestamp"][:, tf.newaxis] - features["history_timestamp"]
        if self.content or self.fusion:
            arguments["target_content"] = features["item_content"]
            arguments |= (
                {"user_state": state} if state is not None else {"history_content": features["history_content"]}
            )
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


def _target_field(column: str) -> str:
    """The field of a target's column."""
    return "category" if column == "category" else f"{_ITEM}{column}"


def _history_field(column: str) -> str:
    """The field of a behaviour's column."""
    return "history_item_id" if column == "id" else f"history_{column}"


def _for_each(target: tf.Tensor, of_user: tf.Tensor) -> tf.Tensor:
    """What belongs to users, `[batch, dim]`, for their targets: as it is, or `[batch, candidates, dim]`."""
    if of_user.shape.rank == target.shape.rank:
        return of_user
    of_user = of_user[:, tf.newaxis]
    return tf.broadcast_to(of_user, tf.concat([tf.shape(target)[:2], tf.shape(of_user)[2:]], axis=0))


def behaviour_mask(history_item_ids: tf.Tensor) -> tf.Tensor:
    """True where a padded history holds a behaviour: neither -1 nor "" is an item's id."""
    return tf.not_equal(history_item_ids, "" if history_item_ids.dtype == tf.string else -1)


def cosine(queries: tf.Tensor, items: tf.Tensor) -> tf.Tensor:
    """Cosine of queries and items, both `[..., mm_dim]`, in float32; 0 where either has no embedding."""
    of_query, of_item = (tf.math.l2_normalize(tf.cast(rows, tf.float32), axis=-1) for rows in (queries, items))
    return tf.reduce_sum(of_query * of_item, axis=-1)


def _serialized(layers: Mapping[str, keras.layers.Layer]) -> dict[str, Any]:
    return {name: keras.layers.serialize(layer) for name, layer in layers.items()}
