"""Joins requests that come at the same time."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Hashable, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

import tensorflow as tf

from mim_tf.serving.server.batch import Tensors, join, pad, part, rows_of
from mim_tf.serving.server.batching_parameters import BatchingParameters
from mim_tf.serving.server.metrics import ServerMetrics

if TYPE_CHECKING:
    from mim_tf.serving.server.servable import Servable

# `upsert` takes `since`, `version` and `sequence` of all its rows together: joined, one change would be judged by
# another's versions, and an outdated one written. Of flat histories dimension 0 is not the batch: lengths of one
# request that do not add up would shift the behaviours of others. TF Serving joins both: who changes a table there must
# let one call wait for the other, and flat histories are refused there unless they are as many as there are rows.
_NEVER_JOINED = frozenset({"upsert", "predict_ragged", "rank_ragged"})

_Queue: TypeAlias = "tuple[Servable, str]"


class BatchScheduler:
    """Runs requests for one signature of one version as one, as TF Serving's batching does.

    A request waits until the rows of those that wait with it fill a run, or its time is over. It is joined to those
    whose tensors have the same dimensions but the first; TF Serving fails requests that differ, unless it pads them. If
    a joined run fails, its requests are run one by one, so that each gets its own answer or its own error. A request
    whose deadline is over is not run; TF Serving runs it, unless it is over for all that are joined.

    Args:
        parameters: How they are joined.
        metrics: Where joined runs are counted.
    """

    def __init__(self, parameters: BatchingParameters, metrics: ServerMetrics | None = None) -> None:
        self._parameters = parameters
        self._metrics = metrics or ServerMetrics()
        self._queues: dict[_Queue, list[_Batch]] = {}  # none is empty
        self._unanswered: set[_Request] = set()
        self._changed = threading.Condition()  # over the queues and requests
        self._running = False
        self._hurried = False
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Runs what comes from now on; does nothing if it is started."""
        if self._running:
            return
        self._running, self._hurried = True, False
        for number in range(len(self._threads), self._parameters.num_batch_threads):
            name = f"{self._parameters.thread_pool_name}-{number}"
            self._threads.append(threading.Thread(target=self._work, name=name, daemon=True))
            self._threads[-1].start()

    def hurry(self) -> None:
        """Lets no request wait for others from now on: they will not come."""
        with self._changed:
            self._hurried = True
            self._changed.notify_all()

    def stop(self, grace: float | None = None) -> None:
        """Takes no new requests and returns when all that came are answered.

        Args:
            grace: Longest wait in seconds; requests still unanswered then fail. A run under way goes on. None waits for
                all.
        """
        deadline = None if grace is None else time.monotonic() + grace
        self.hurry()
        with self._changed:
            self._running = False
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(None if deadline is None else max(0.0, deadline - time.monotonic()))
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        with self._changed:
            self._queues.clear()
            self._metrics.queue_length.set(0)
            for request in self._unanswered:
                request.fail(tf.errors.UnavailableError(None, None, "The server is stopping."))

    def run(self, servable: Servable, signature: str, tensors: Tensors, deadline: float = math.inf) -> Tensors:
        """Runs a request, together with others.

        Args:
            servable: What runs it.
            signature: Name of the signature.
            tensors: The inputs, which fit the signature.
            deadline: Until when it may wait, by the monotonic clock in seconds.

        Returns:
            All outputs of the signature, for this request.

        Raises:
            tf.errors.InvalidArgumentError: If the request has no rows that could be joined, or too many.
            tf.errors.ResourceExhaustedError: If too many wait; TF Serving answers UNAVAILABLE.
            tf.errors.DeadlineExceededError: If the deadline was over before the request could be run.
            tf.errors.UnavailableError: If the scheduler is not started, or is stopped before there is an answer.
            tf.errors.OpError: Whatever the graph itself raises.
        """
        if signature in _NEVER_JOINED:
            return servable.run(signature, tensors)
        rows, most = rows_of(tensors), self._parameters.max_batch_size
        if rows > most:
            message = f"Task size {rows} is larger than maximum input batch size {most}"
            raise tf.errors.InvalidArgumentError(None, None, message)
        if not rows:  # has no row by which it could be filled up
            return servable.run(signature, tensors)
        request = _Request(tensors, rows, time.monotonic(), deadline)
        self._enqueue((servable, signature), request)
        try:
            return request.answer.result()
        finally:
            with self._changed:
                self._unanswered.discard(request)

    def _enqueue(self, queue: _Queue, request: _Request) -> None:
        dimensions = None if self._parameters.pad_variable_length_inputs else request.dimensions()
        with self._changed:
            if not self._running:
                raise tf.errors.UnavailableError(None, None, "The server is stopping.")
            batches = self._queues.setdefault(queue, [])
            batch = next((batch for batch in batches if self._fits(request, dimensions, batch)), None)
            if batch is None:
                if len(batches) >= self._parameters.max_enqueued_batches:
                    raise tf.errors.ResourceExhaustedError(None, None, self._full(len(batches)))
                due = request.came + self._parameters.batch_timeout_micros / 1e6
                batch = _Batch(queue, dimensions, due)
                batches.append(batch)
            batch.requests.append(request)
            self._unanswered.add(request)
            self._metrics.queue_length.inc()
            if batch.rows == self._parameters.max_batch_size:
                batch.due = request.came
            self._changed.notify()

    def _fits(self, request: _Request, dimensions: Hashable, batch: _Batch) -> bool:
        return batch.dimensions == dimensions and batch.rows + request.rows <= self._parameters.max_batch_size

    def _full(self, length: int) -> str:
        return (
            "The batch scheduling queue to which this task was submitted is full; currently "
            f"{length} batches enqueued and max_enqueued_batches is {self._parameters.max_enqueued_batches}"
        )

    def _work(self) -> None:
        while self._answer_next():  # and keeps nothing of it in memory
            pass

    def _answer_next(self) -> bool:
        batch = self._next()
        if batch is not None:
            self._answer(batch)
        return batch is not None

    def _next(self) -> _Batch | None:
        """Waits for the batch whose time is over first, and takes it; None if there will be no more."""
        with self._changed:
            while True:
                waiting = [batch for batches in self._queues.values() for batch in batches]
                first = min(waiting, key=lambda batch: batch.due, default=None)
                now = time.monotonic()
                if first is not None and (first.due <= now or self._hurried):
                    self._take(first)
                    return first
                if not self._running:
                    return None
                self._changed.wait(None if first is None else first.due - now)

    def _take(self, batch: _Batch) -> None:
        batches = self._queues[batch.queue]
        batches.remove(batch)
        self._metrics.queue_length.dec(len(batch.requests))
        if not batches:
            del self._queues[batch.queue]  # which would keep the servable in memory
        self._changed.notify()  # another thread waits for the next

    def _answer(self, batch: _Batch) -> None:
        requests = [request for request in batch.requests if not request.is_late()]
        if not requests:
            return
        servable, signature = batch.queue
        self._count(servable, signature, requests)
        try:
            answers = self._run_joined(servable, signature, requests)
        except Exception as error:  # whatever it is, it may be of one of them
            if len(requests) == 1:
                requests[0].fail(error)
                return
            for request in requests:
                _run_alone(servable, signature, request)
            return
        for request, answer in zip(requests, answers, strict=True):
            request.succeed(answer)

    def _run_joined(self, servable: Servable, signature: str, requests: Sequence[_Request]) -> list[Tensors]:
        sizes = [request.rows for request in requests]
        tensors = [request.tensors for request in requests]
        rows = self._parameters.filled(sum(sizes))
        if sizes == [rows]:
            return [servable.run(signature, tensors[0])]
        if self._parameters.pad_variable_length_inputs:
            tensors = pad(tensors)
        return part(servable.run(signature, join(tensors, rows)), sizes, rows)

    def _count(self, servable: Servable, signature: str, requests: Sequence[_Request]) -> None:
        self._metrics.joined_runs.inc()
        rows = sum(request.rows for request in requests)
        self._metrics.batch_rows.labels(servable.name, signature).observe(rows)
        waits = self._metrics.queuing_latency.labels(self._parameters.thread_pool_name)
        for request in requests:
            waits.observe((time.monotonic() - request.came) * 1e6)


@dataclass(eq=False)
class _Request:
    """A request that waits since a time, until another, in seconds; its first answer counts."""

    tensors: Tensors
    rows: int
    came: float
    deadline: float
    answer: Future[Tensors] = field(default_factory=Future)

    def dimensions(self) -> Hashable:
        return tuple(tuple(self.tensors[name].shape[1:]) for name in sorted(self.tensors))

    def succeed(self, outputs: Tensors) -> None:
        with suppress(InvalidStateError):
            self.answer.set_result(outputs)

    def fail(self, error: Exception) -> None:
        """Raises an error where the request waits."""
        with suppress(InvalidStateError):
            self.answer.set_exception(error)

    def is_late(self) -> bool:
        """Whether the deadline is over, and fails the request if so."""
        late = time.monotonic() >= self.deadline
        if late:
            message = "The deadline was over before the request could be run."
            self.fail(tf.errors.DeadlineExceededError(None, None, message))
        return late


@dataclass(eq=False)
class _Batch:
    """Requests that are to be joined, from a time in seconds on at the latest."""

    queue: _Queue
    dimensions: Hashable
    due: float
    requests: list[_Request] = field(default_factory=list)

    @property
    def rows(self) -> int:
        return sum(request.rows for request in self.requests)


def _run_alone(servable: Servable, signature: str, request: _Request) -> None:
    try:
        request.succeed(servable.run(signature, request.tensors))
    except Exception as error:  # raised again where the request waits
        request.fail(error)
