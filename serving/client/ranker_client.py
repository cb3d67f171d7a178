"""Rankings from servers behind one call, whether the table is inside the model or on machines of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from mim_tf.serving.client.client import Client
from mim_tf.serving.client.deadline import Deadline
from mim_tf.serving.client.flow import Step, Together, run
from mim_tf.serving.client.ranking import ItemEmbeddings, Ranking, Rankings, embeddings_of, predicted, ranked

_REQUESTS_AT_ONCE = 32  # of the threads that share a ranker; more wait for each other


class RankerClient:
    """Ranks items for users. `open_ranker` makes one; threads may share it.

    Args:
        clients: Of the servers that are asked; they are closed with this one.
        rankings: Makes the conversations with them.
        timeout: Longest wait for what a method returns in seconds.

    Raises:
        ServingError: If a server does not answer, or what it serves does not fit the others.
    """

    def __init__(self, clients: Sequence[Client], rankings: Callable[[Together], Rankings], timeout: float) -> None:
        self._clients, self._timeout = clients, timeout
        self._threads = ThreadPoolExecutor(_REQUESTS_AT_ONCE * len(clients), thread_name_prefix="shard")
        self._rankings = rankings(self._together)
        try:
            run(self._rankings.check(Deadline(timeout)))
        except BaseException:
            self.close()
            raise

    def predict(self, inputs: Mapping[str, ArrayLike], *, timeout: float | None = None) -> dict[str, np.ndarray]:
        """Scores rows, each of a target and a history.

        Args:
            inputs: Those of the signature `predict` of a model with its table inside, as `Client.predict` takes them:
                `item_id` `[batch]`, `history_item_id` `[batch, length]` and so on. With `history_length` they are those
                of `predict_ragged`. Empty lists, as of a user without history, get the type that the model takes.
            timeout: Longest wait for the answer in seconds; None means the ranker's.

        Returns:
            `probability`, `[batch]` float32. With `missing="zeros"` also `unanswered`, `[n]` int64: numbers of the
            shards that had items of the request and did not answer.

        Raises:
            ServingError: If a server does not answer, or answers with an error.
            ValueError: If an input is no array, ids are neither integers that fit int64 nor strings, or `timeout` is
                not positive.
        """
        return run(predicted(self._rankings, inputs, self._deadline(timeout)))

    def rank(self, inputs: Mapping[str, ArrayLike], top_k: ArrayLike = 10, *, timeout: float | None = None) -> Ranking:
        """Ranks the candidates of users.

        Where `item_id` has one dimension, the request is one user's: all inputs leave out the first dimension, and so
        does the answer.

            ranker.rank({"item_id": [7, 8, 9], "history_item_id": [5, 6], ..., "timestamp": 1700000000}).top_item_id

        Args:
            inputs: Those of the signature `rank` of a model with its table inside, without `top_k`: `item_id` `[users,
                candidates]`, `history_item_id` `[users, length]`, columns of the impression `[users]`. With
                `history_length` they are those of `rank_ragged`, whose flat histories have no dimension of users.
            top_k: How many of the best are wanted, or `[users]`; of several the most is for all.
            timeout: As in `predict`.

        Returns:
            The probabilities and the k best, k being `top_k` or the number of candidates, if that is less.

        Raises:
            ServingError: If a server does not answer, or answers with an error.
            ValueError: If an input is no array or of a wrong shape, ids are neither integers that fit int64 nor
                strings, or `timeout` is not positive.
        """
        return run(ranked(self._rankings, inputs, top_k, self._deadline(timeout)))

    def lookup(self, item_ids: ArrayLike, *, timeout: float | None = None) -> ItemEmbeddings:
        """Returns what the table has of items.

        Args:
            item_ids: `[items]` integers or strings; padding (-1 or "") is no item.
            timeout: As in `predict`.

        Raises:
            ServingError: If a server does not answer, or answers with an error.
            ValueError: If they are neither integers that fit int64 nor strings, or `timeout` is not positive.
        """
        return run(embeddings_of(self._rankings, item_ids, self._deadline(timeout)))

    def close(self) -> None:
        """Closes the connections; calls under way end with a `ServingError`."""
        for client in self._clients:
            client.close()
        self._threads.shutdown(wait=False)  # what they still do ends now that the connections are closed

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _together(self, steps: Sequence[Step]) -> list[Any]:
        """Does steps at the same time; of those that fail, returns the exception."""
        try:
            return list(self._threads.map(_outcome, steps))
        except RuntimeError:  # there are no threads any more: it was closed, as the clients will say
            return [_outcome(step) for step in steps]

    def _deadline(self, timeout: float | None) -> Deadline:
        return Deadline(self._timeout if timeout is None else timeout)


def _outcome(step: Step) -> Any:
    try:
        return step()
    except Exception as error:
        return error
