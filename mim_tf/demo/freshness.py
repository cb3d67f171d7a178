"""How long new items take from their arrival to their first score with a real embedding, under load."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import Any, NamedTuple

import numpy as np

from mim_tf.demo.candidates import with_items
from mim_tf.demo.new_items import NewItem, announce
from mim_tf.serving.client import Client

_TICK = 0.03  # seconds between two looks at the items that are still misses
_PATIENCE = 60.0  # seconds after the last arrival until an item counts as lost


class Fresh(NamedTuple):
    """An item that became rankable."""

    item: NewItem
    arrived: float  # seconds since the start
    seconds: float  # from then to the answer of the first request that ranked it with its embedding
    miss: float  # its probability while the server did not know it
    score: float  # and with its embedding


class Measured(NamedTuple):
    """What a run saw."""

    fresh: list[Fresh]
    lost: int  # items that never came
    requests: np.ndarray  # [requests, 2], when each ranking request began (seconds since the start) and took (seconds)
    failed: int  # requests


class _Pending(NamedTuple):
    item: NewItem
    arrived: float
    miss: float | None


class FreshnessProbe:
    """Lets items arrive and requests run at steady rates, and watches.

    Args:
        address: of the server, `host:port`.
        model: the ranker.
        folder: that the real-time process watches.
        candidates: a request to rank, as `candidates_of_one_user` gives it.
        items: that arrive.
        seen: is told of each item once it is fresh.
    """

    def __init__(
        self,
        address: str,
        model: str,
        folder: Path,
        candidates: dict[str, Any],
        items: Iterator[NewItem],
        seen: Callable[[Fresh], None] = lambda fresh: None,
    ):
        self._address, self._model, self._folder = address, model, folder
        self._items, self._seen = items, seen
        with Client(address) as client:
            inputs = client.signatures(model)["predict"].inputs
            self._candidates = {name: candidates[name] for name in inputs}
            client.predict(model, self._candidates, signature="predict")  # the first is slow; warm-up records do it
        self._arrived: SimpleQueue[_Pending] = SimpleQueue()  # from the thread that lets them arrive
        self._requests: list[tuple[float, float]] = []
        self._failed = 0
        self._over = threading.Event()
        self._start = 0.0

    def run(self, seconds: float, items_per_second: float, requests_per_second: float) -> Measured:
        """Let items arrive for so long, and wait until all are fresh.

        Raises:
            OSError: an item cannot be put into the folder.
            ServingError: the server does not answer any more.
        """
        self._start = time.monotonic()
        with ThreadPoolExecutor(2, thread_name_prefix="freshness") as threads:
            arriving = threads.submit(self._let_arrive, seconds, 1 / items_per_second)
            ranking = threads.submit(self._rank, 1 / requests_per_second)
            try:
                fresh, lost = self._watch(arriving)
            finally:  # whatever comes: the threads are waited for
                self._over.set()
        ranking.result()
        announced = arriving.result()
        if len(fresh) + lost != announced:
            raise RuntimeError(f"{announced} items were announced, but {len(fresh)} became fresh and {lost} did not.")
        return Measured(fresh, lost, np.array(self._requests).reshape(-1, 2), self._failed)

    def _now(self) -> float:
        return time.monotonic() - self._start

    def _let_arrive(self, seconds: float, pause: float) -> int:
        """How many items were announced."""
        announced = 0
        for item in self._items:
            due = announced * pause
            if due >= seconds or self._over.wait(max(0.0, due - self._now())):
                break
            announce(item, self._folder)
            self._arrived.put(_Pending(item, self._now(), None))
            announced += 1
        return announced

    def _rank(self, pause: float) -> None:
        with Client(self._address) as client:
            number = 0
            while not self._over.wait(max(0.0, number * pause - self._now())):
                number += 1
                begun = self._now()
                try:
                    client.predict(self._model, self._candidates, signature="predict")
                    self._requests.append((begun, self._now() - begun))
                except RuntimeError:  # ServingError
                    self._failed += 1

    def _watch(self, arriving: Future[int]) -> tuple[list[Fresh], int]:
        fresh: list[Fresh] = []
        pending: list[_Pending] = []
        end = float("inf")
        with Client(self._address, timeout=30.0) as client:
            while not arriving.done() or not self._arrived.empty() or (pending and self._now() < end):
                if arriving.done() and end == float("inf"):
                    arriving.result()  # what went wrong is not waited for
                    end = self._now() + _PATIENCE
                new = [self._arrived.get() for _ in range(self._arrived.qsize())]  # nobody else takes any
                pending, now_fresh = self._looked_at(client, pending + new)
                fresh += now_fresh
                time.sleep(_TICK)
        return fresh, len(pending)

    def _looked_at(self, client: Client, pending: list[_Pending]) -> tuple[list[_Pending], list[Fresh]]:
        """Those that are misses yet, and those that have just become fresh."""
        if not pending:
            return [], []
        ids, categories = zip(*((one.item.item_id, one.item.category) for one in pending), strict=True)
        hits = client.predict(self._model, {"item_id": np.array(ids)}, signature="lookup", outputs=["hit"])["hit"]
        request = with_items(self._candidates, ids, categories)
        scores = client.predict(self._model, request, signature="predict")["probability"]
        now, misses, fresh = self._now(), [], []
        for one, hit, score in zip(pending, hits, scores.tolist(), strict=True):
            if hit:
                miss = float("nan") if one.miss is None else one.miss
                fresh.append(Fresh(one.item, one.arrived, now - one.arrived, miss, score))
                self._seen(fresh[-1])
            else:
                misses.append(one if one.miss is not None else one._replace(miss=score))
        return misses, fresh
