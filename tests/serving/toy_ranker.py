"""A ranker small enough to be computed by hand, with its table inside and in shards, by the signatures of exports."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from mim_tf.representation import EmbeddingStore, EmbeddingTable
from mim_tf.representation.signatures import table_signatures

DIM = 2
ITEMS = 40
UNKNOWN = 10**6
Rows = dict[str, np.ndarray]
Contents = Callable[[dict[str, tf.Tensor]], tuple[tf.Tensor, tf.Tensor]]


def probability(boost: Any, target: Any, history: Any, real: Any, of: Any = np) -> Any:
    """sigmoid(boost + target . sum of the behaviours); of a candidate that is padding, 0.

    Args:
        boost: `[users]`.
        target: `[users, candidates, dim]`.
        history: `[users, length, dim]`.
        real: `[users, candidates]`, 1 or 0.
        of: NumPy or TensorFlow.
    """
    logits = boost[:, None] + of.einsum("ucd,uld->uc", target, history)
    return real / (1 + of.exp(-logits))


class Shop(NamedTuple):
    """A store of random items 0, 1, .. and what was exported of it, as ids of one type."""

    store: EmbeddingStore
    models: Path
    id_type: str

    @property
    def table(self) -> dict[Any, np.ndarray]:
        stored = self.store.read()
        ids = [item if self.id_type == "int64" else item.encode() for item in stored.item_ids.tolist()]
        return dict(zip(ids, stored.embeddings, strict=True))

    @property
    def padding(self) -> Any:
        return -1 if self.id_type == "int64" else b""

    def ids(self, numbers: Any) -> np.ndarray:
        """Item ids of numbers; -1 is padding."""
        numbers = np.asarray(numbers, np.int64)
        if self.id_type == "int64":
            return numbers
        names = [b"" if number < 0 else b"item-%d" % number for number in numbers.ravel()]
        return np.array([*names, None], object)[:-1].reshape(numbers.shape)

    def contents(self, item_ids: np.ndarray, without: tuple[Any, ...] = ()) -> np.ndarray:
        """`[..., dim]` by hand, one after the other; zeros for unknown items, padding and those of `without`."""
        table = {item: row for item, row in self.table.items() if item not in without}
        rows = [table.get(item_id, np.zeros(DIM, np.float16)) for item_id in item_ids.ravel().tolist()]
        return np.array(rows, np.float32).reshape(*item_ids.shape, DIM)

    def expected(self, rows: Rows, without: tuple[Any, ...] = ()) -> np.ndarray:
        """`[users, candidates]`, in NumPy."""
        real = (rows["item_id"] != self.padding).astype(np.float32)
        contents = (self.contents(rows[name], without) for name in ("item_id", "history_item_id"))
        return probability(rows["boost"], *contents, real)


def make_shop(folder: Path, id_type: str, shards: int) -> Shop:
    """Draws a shop and exports `baked/ranker`, `network/ranker` and `table_<p>/ranker_table_<p>`, each in version 1."""
    store = EmbeddingStore.create(folder / "store.lance", id_type=id_type, dim=DIM, slots=7)
    shop = Shop(store, folder / "models", id_type)
    items = shop.ids(np.arange(ITEMS))
    names = items if id_type == "int64" else np.array([item.decode() for item in items], object)
    store.upsert(names, np.random.default_rng(0).normal(size=(ITEMS, DIM)), encoder="random")
    stored = store.read()
    _save(shop, "baked", "ranker", EmbeddingTable.of(stored, spare=10))
    _save(shop, "network", "ranker", None)
    for shard in range(shards):
        part = stored.shard(shard, shards)
        holder = tf.Module()
        holder.table = EmbeddingTable.of(part, spare=10)
        path = shop.models / f"table_{shard}" / f"ranker_table_{shard}" / "1"
        tf.saved_model.save(holder, str(path), signatures=table_signatures(holder.table, part))
    return shop


def _save(shop: Shop, folder: str, model: str, table: EmbeddingTable | None) -> None:
    stored = shop.store.read()
    holder = tf.Module()
    holder.table = table
    signatures = {name: _function(shop, table, name) for name in ("predict", "rank", "rank_ragged")}
    signatures |= {"contents": _contents(stored)} if table is None else table_signatures(table, stored)
    tf.saved_model.save(holder, str(shop.models / folder / model / "1"), signatures=signatures)


def _function(shop: Shop, table: EmbeddingTable | None, name: str) -> Any:
    """One of the signatures `predict`, `rank` and `rank_ragged`."""
    many, flat = name != "predict", name.endswith("ragged")
    id_dtype = tf.int64 if shop.id_type == "int64" else tf.string
    shapes = {"item_id": [None, None] if many else [None], "history_item_id": [None] if flat else [None, None]}
    specs = {key: tf.TensorSpec(shape, id_dtype, key) for key, shape in shapes.items()}
    specs |= {"boost": tf.TensorSpec([None], tf.float32, "boost")}
    specs |= {key: tf.TensorSpec([None], tf.int64, key) for key in ["top_k"] * many + ["history_length"] * flat}
    if table is None:
        of = {"item_content": shapes["item_id"], "history_content": shapes["history_item_id"]}
        specs |= {key: tf.TensorSpec([*shape, DIM], tf.float16, key) for key, shape in of.items()}

    @tf.function
    def signature(**given: tf.Tensor) -> dict[str, tf.Tensor]:
        if table is not None:
            given["item_content"] = table.lookup(given["item_id"])
            given["history_content"] = table.lookup(given["history_item_id"])
        history = tf.cast(given["history_content"], tf.float32)
        if flat:
            history = tf.RaggedTensor.from_row_lengths(history, given["history_length"]).to_tensor(0.0)
        item_id, target = given["item_id"], tf.cast(given["item_content"], tf.float32)
        if not many:
            item_id, target = item_id[:, None], target[:, None]
        real = tf.cast(tf.not_equal(item_id, shop.padding), tf.float32)
        scores = probability(given["boost"], target, history, real, of=tf)
        if not many:
            return {"probability": scores[:, 0]}
        best = tf.math.top_k(scores, tf.minimum(tf.cast(tf.reduce_max(given["top_k"]), tf.int32), tf.shape(scores)[1]))
        top = tf.gather(item_id, best.indices, batch_dims=1)
        return {"probability": scores, "top_item_id": top, "top_probability": best.values}

    return signature.get_concrete_function(**specs)


def _contents(stored: Any) -> Any:
    @tf.function(input_signature=[tf.TensorSpec([None], tf.int64, "request")])
    def contents(request: tf.Tensor) -> dict[str, tf.Tensor]:
        values = {"store": tf.constant(stored.store), "dim": tf.constant(DIM, tf.int64)}
        return {name: tf.fill(tf.shape(request), value) for name, value in values.items()}

    return contents.get_concrete_function()
