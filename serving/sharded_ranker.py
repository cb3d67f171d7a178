"""Rankings where the table lies on machines of its own: rows are fetched from them, and given to the network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Literal, NamedTuple

import grpc
import numpy as np
from numpy.typing import ArrayLike

from mim_tf.errors import ServingError

# Loads Lance along with the table: 31 MB and a fraction of a second, beside TensorFlow's 700 MB and some seconds.
from mim_tf.representation.slots import shards_of
from mim_tf.serving.client import Client

_ITEM_IDS = ("item_id", "history_item_id")
_PADDING = (-1, b"")
_REQUESTS_AT_ONCE = 32  # of the threads that share a ranker; more wait for each other
_SILENT = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.RESOURCE_EXHAUSTED}


class _Layout(NamedTuple):
    """What the servers had when they were asked."""

    slots: int
    dim: int
    tables: list[int]  # the version of each model
    ranker: int  # likewise


class ShardedRanker:
    """Asks the parameter machines for the rows that a request needs, and the computation machine for the rest.

        with ShardedRanker("10.0.0.1:8500", ["10.0.1.1:8500", "10.0.1.2:8500"]) as ranker:
            ranker.predict(inputs)["probability"]

    The models are those of `python -m mim_tf.export --shards P`: `<model>` behind `ranker` and `<model>_table_<p>`
    behind the p-th of `tables`. Each item of a request is asked for once, of the one shard that has it, all shards at
    the same time. The probabilities are those of the model with the table inside.

    Threads may share one. Requests name the versions of the models that were checked, so a server that went on to
    another one is noticed, and all are checked again: a table cut otherwise never answers for this one.

    Args:
        ranker: `host:port` that serves the network.
        tables: `host:port` of each shard, in their order.
        model: name of the network's model, from which those of the tables follow.
        timeout: longest wait for each answer in seconds. A request takes two, one after the other.
        missing: what a shard that does not answer is: an `error`, or `zeros`, as if its items were unknown. The network
            knows unknown items from its training, and the larger P is, the more often one machine of P is away. The
            answer tells what was left out. At the start, and when models are checked again, all have to answer.
        history_once: whether contents of the behaviours go to the network once where all rows have the same behaviours,
            as the candidates for one user do, and not with each row. A server that batches requests refuses it.

    Raises:
        ServingError: a server does not answer, or what it serves does not fit the others.
        ValueError: no tables, an unknown `missing`, or a `timeout` that is not positive.
    """

    def __init__(
        self,
        ranker: str,
        tables: Sequence[str],
        model: str = "ranker",
        *,
        timeout: float = 5.0,
        missing: Literal["error", "zeros"] = "error",
        history_once: bool = False,
    ) -> None:
        if isinstance(tables, str) or not tables:
            raise ValueError(f"`tables` must be a list of addresses, one for each shard. Received: {tables!r}.")
        if missing not in ("error", "zeros"):
            raise ValueError(f"`missing` must be error or zeros. Received: {missing!r}.")
        self._model, self._missing, self._history_once = model, missing, history_once
        self._ranker = Client(ranker, timeout=timeout)
        self._tables = [Client(address, timeout=timeout) for address in tables]
        self._threads = ThreadPoolExecutor(_REQUESTS_AT_ONCE * len(tables), thread_name_prefix="shard")
        try:
            self._layout = self._checked()
        except BaseException:
            self.close()
            raise

    def predict(self, inputs: Mapping[str, ArrayLike]) -> dict[str, np.ndarray]:
        """Rank.

        Args:
            inputs: those of the model with the table inside.

        Returns:
            `probability`, `[batch]` float32. With `missing="zeros"` also `unanswered`, `[n]` int64: numbers of the
            shards that had items of the request and did not answer.

        Raises:
            ServingError: a server does not answer, or answers with an error.
            ValueError: an input that is no array, or ids that are neither integers that fit int64 nor strings.
        """
        try:
            return self._predict(inputs, self._layout)
        except ServingError as error:
            if _code(error) != grpc.StatusCode.NOT_FOUND:
                raise
        self._layout = self._checked()  # a version is no longer served
        return self._predict(inputs, self._layout)

    def close(self) -> None:
        """Close the connections."""
        self._threads.shutdown(cancel_futures=True)
        for client in (self._ranker, *self._tables):
            client.close()

    def __enter__(self) -> ShardedRanker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _predict(self, inputs: Mapping[str, ArrayLike], layout: _Layout) -> dict[str, np.ndarray]:
        ids = {name: _item_ids(inputs, name) for name in _ITEM_IDS}
        target, history = ids.values()
        if self._history_once and len(history) > 1 and (history == history[0]).all():
            history = history[:1]
        distinct, places = _distinct(target, history)
        rows, unanswered = self._fetch(distinct, layout)
        of_target, of_history = np.split(rows[places], [target.size])
        contents = {
            "item_content": of_target.reshape(*target.shape, layout.dim),
            "history_content": of_history.reshape(*history.shape, layout.dim),
        }
        given = {**inputs, **ids, **contents}
        answer = self._ranker.predict(self._model, given, signature="predict", version=layout.ranker)
        return answer if self._missing == "error" else answer | {"unanswered": np.array(unanswered, np.int64)}

    def _fetch(self, item_ids: np.ndarray, layout: _Layout) -> tuple[np.ndarray, list[int]]:
        """Embeddings `[items + 1, dim]` float16, zeros at the end, and the shards that did not answer."""
        rows = np.zeros([len(item_ids) + 1, layout.dim], np.float16)
        shards = shards_of(item_ids, layout.slots, len(self._tables))
        places = {int(shard): np.flatnonzero(shards == shard) for shard in np.unique(shards)}
        answers = {
            shard: self._threads.submit(self._lookup, shard, item_ids[of], layout) for shard, of in places.items()
        }
        unanswered = []
        for shard, answer in answers.items():
            try:
                rows[places[shard]] = answer.result()
            except ServingError as error:
                if self._missing == "error" or _code(error) not in _SILENT:
                    raise
                unanswered.append(shard)
        return rows, unanswered

    def _lookup(self, shard: int, item_ids: np.ndarray, layout: _Layout) -> np.ndarray:
        """`[items, dim]` float16; of an item that the shard does not know, zeros."""
        model, version = f"{self._model}_table_{shard}", layout.tables[shard]
        inputs = {"item_id": item_ids}
        client = self._tables[shard]
        return client.predict(model, inputs, signature="lookup", version=version, outputs=["embedding"])["embedding"]

    def _checked(self) -> _Layout:
        """What is served now, if it is one table in as many shards as there are addresses, and a network for it."""
        asked = [(self._ranker, self._model, "contents")]
        asked += [(client, f"{self._model}_table_{shard}", "version") for shard, client in enumerate(self._tables)]
        (version, network), *tables = self._threads.map(lambda arguments: _described(*arguments), asked)
        for shard, (_, table) in enumerate(tables):
            _check(shard, len(tables), table, network)
        return _Layout(tables[0][1]["slots"], network["dim"], [of_table for of_table, _ in tables], version)


def _described(client: Client, model: str, signature: str) -> tuple[int, dict[str, Any]]:
    """The version that is served of a model, and what it says of itself."""
    try:
        version = client.wait_until_ready(model, timeout=0)
        answer = client.predict(model, {"request": [0]}, signature=signature, version=version)
    except ServingError as error:
        raise ServingError(
            f"`ranker` and `tables` must serve what `mim_tf.export --shards` writes, the p-th of `tables` the model "
            f"that ends in _table_p. {error}"
        ) from error
    return version, {name: values.tolist()[0] for name, values in answer.items()}


def _check(shard: int, shards: int, table: Mapping[str, Any], network: Mapping[str, Any]) -> None:
    """Refuse a table that is another part than its place says, or not made of what the network's contents come from."""
    if (table["shard"], table["shards"]) != (shard, shards):
        received = f"shard {table['shard']} of {table['shards']}"
        raise ServingError(f"`tables[{shard}]` must serve shard {shard} of {shards}. Received: {received}.")
    for name in ("store", "dim"):
        if table[name] != network[name]:
            raise ServingError(
                f"`tables[{shard}]` must serve embeddings of the {name} that the network is for, {network[name]}. "
                f"Received: {table[name]}. Export the network and its tables again."
            )


def _item_ids(inputs: Mapping[str, ArrayLike], name: str) -> np.ndarray:
    """The item ids of an input: int64, or bytes."""
    if name not in inputs:
        raise ValueError(f"`inputs` must hold {' and '.join(_ITEM_IDS)}. Received: {', '.join(inputs)}.")
    try:
        item_ids = np.asarray(inputs[name])
        if item_ids.dtype.kind in "iu" and np.can_cast(item_ids.dtype, np.int64):
            return item_ids.astype(np.int64)
        texts = np.asarray(inputs[name], object)  # NumPy's own strings lose trailing zero bytes
        encoded = [_encoded(text) for text in texts.ravel()]
        return np.array([*encoded, None], object)[:-1].reshape(texts.shape)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f'`inputs["{name}"]` must be an array of integers that fit int64 or of strings, all rows of one length. '
            f"Received: {inputs[name]!r}."
        ) from error


def _encoded(item_id: object) -> bytes:
    if isinstance(item_id, str):
        return item_id.encode()
    if not isinstance(item_id, bytes):  # bytes(n) of an integer would be n zeros
        raise TypeError(f"an item id of type {type(item_id).__name__}")
    return item_id


def _distinct(target: np.ndarray, history: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each item once, without padding, and where in them those given are, one after the other; padding is at -1."""
    if target.dtype.kind != history.dtype.kind:
        raise ValueError(
            f"{' and '.join(_ITEM_IDS)} must be of one type. Received: {target.dtype} and {history.dtype}."
        )
    numbers: dict[Any, int] = dict.fromkeys(_PADDING, -1)
    first = len(numbers)
    given = [*target.ravel().tolist(), *history.ravel().tolist()]
    places = np.fromiter((numbers.setdefault(item_id, len(numbers) - first) for item_id in given), np.int64, len(given))
    return np.array([*numbers][first:], target.dtype), places


def _code(error: ServingError) -> grpc.StatusCode | None:
    """gRPC's code, where there is one."""
    return error.__cause__.code() if isinstance(error.__cause__, grpc.RpcError) else None
