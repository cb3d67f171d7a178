"""The way to a ranker, however it was exported: `open_ranker`, and `open_async_ranker` for asyncio."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal, TypeVar

from mim_tf.serving.client.async_client import AsyncClient
from mim_tf.serving.client.async_ranker_client import AsyncRankerClient
from mim_tf.serving.client.baked_rankings import BakedRankings
from mim_tf.serving.client.client import Client
from mim_tf.serving.client.flow import Together
from mim_tf.serving.client.ranker_client import RankerClient
from mim_tf.serving.client.ranking import Rankings
from mim_tf.serving.client.shard_layout import Part
from mim_tf.serving.client.sharded_rankings import ShardedRankings
from mim_tf.serving.client.tls import Tls

_AnyClient = TypeVar("_AnyClient", Client, AsyncClient)
_MISSING = ("error", "zeros")


def open_ranker(
    ranker: str,
    tables: Sequence[str] = (),
    model: str = "ranker",
    *,
    label: str | None = None,
    timeout: float = 5.0,
    tls: Tls | None = None,
    attempts: int = 3,
    missing: Literal["error", "zeros"] = "error",
) -> RankerClient:
    """Connects to a ranker, and makes sure that it can be asked.

        with open_ranker("127.0.0.1:8500") as ranker:
            best = ranker.rank(inputs, top_k=10).top_item_id

    Args:
        ranker: `host:port` that serves the model.
        tables: `host:port` of each shard, in their order, where the table is on machines of its own
            (`python -m mim_tf.export --shards P`); none where it is inside the model.
        model: Name of the model; `<model>_table_<p>` are those of the shards.
        label: Of the version of the model that is asked, such as `canary`; None for the highest. Shards have none.
        timeout: Longest wait for what a method returns in seconds, all requests to servers together.
        tls: How the connections are encrypted; None for not at all.
        attempts: How often a call is tried at most.
        missing: What a shard that does not answer is: an `error`, or `zeros`, as if its items were unknown. The network
            knows unknown items from its training, and the larger P is, the more often one machine of P is away. A shard
            is then asked once, whatever `attempts` is, and gets half of the time that is left. At the start, and when
            models are checked again, all have to answer.

    Raises:
        ServingError: If a server does not answer, or what it serves does not fit the others.
        ValueError: If `tables` is no list, `missing` unknown, or `timeout` or `attempts` not positive.
    """
    clients = _connected(Client, ranker, tables, timeout=timeout, tls=tls, attempts=attempts, missing=missing)
    return RankerClient(clients, partial(_rankings, clients, model, label, missing), timeout)


def open_async_ranker(
    ranker: str,
    tables: Sequence[str] = (),
    model: str = "ranker",
    *,
    label: str | None = None,
    timeout: float = 5.0,
    tls: Tls | None = None,
    attempts: int = 3,
    missing: Literal["error", "zeros"] = "error",
) -> AsyncRankerClient:
    """As `open_ranker`; servers are first asked when the block is entered.

        async with open_async_ranker("127.0.0.1:8500") as ranker:
            best = (await ranker.rank(inputs, top_k=10)).top_item_id

    Args:
        ranker: As the others, as in `open_ranker`.

    Raises:
        RuntimeError: If no event loop runs.
        ServingError: If a file of `tls` is not what it should be. On entering: if a server does not answer, or what it
            serves does not fit the others.
        ValueError: If `tables` is no list, `missing` unknown, or `timeout` or `attempts` not positive.
    """
    clients = _connected(AsyncClient, ranker, tables, timeout=timeout, tls=tls, attempts=attempts, missing=missing)
    return AsyncRankerClient(clients, partial(_rankings, clients, model, label, missing), timeout)


def _connected(
    client: Callable[..., _AnyClient],
    ranker: str,
    tables: Sequence[str],
    *,
    timeout: float,
    tls: Tls | None,
    attempts: int,
    missing: str,
) -> list[_AnyClient]:
    """Clients of the ranker's server, the first, and of the shards' servers."""
    if isinstance(tables, str):
        raise ValueError(f"`tables` must be a list of addresses, one for each shard. Received: {tables!r}.")
    if missing not in _MISSING:
        raise ValueError(f"`missing` must be {' or '.join(_MISSING)}. Received: {missing!r}.")
    # What may be left out is not waited for.
    most = [attempts, *[1 if missing == "zeros" else attempts] * len(tables)]
    servers = zip([ranker, *tables], most, strict=True)
    return [client(address, timeout=timeout, tls=tls, attempts=times) for address, times in servers]


def _rankings(
    clients: Sequence[Client | AsyncClient], model: str, label: str | None, missing: str, together: Together
) -> Rankings:
    ranker, *tables = clients
    if not tables:
        return BakedRankings(ranker, model, label)
    shards = [Part(client, f"{model}_table_{shard}", shard) for shard, client in enumerate(tables)]
    return ShardedRankings(Part(ranker, model, label=label), shards, zeros=missing == "zeros", together=together)
