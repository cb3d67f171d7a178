"""Requests that come at the same time: which of them are joined, and what each is answered.

Where requests are to meet, they fill a run exactly and would otherwise wait for a minute: so they do meet.
"""

import gc
import threading
import time
import weakref
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from mim_tf.representation import EmbeddingTable, StoredEmbeddings
from mim_tf.representation.signatures import table_signatures
from mim_tf.serving.server.batch import Tensors
from mim_tf.serving.server.batch_scheduler import BatchScheduler
from mim_tf.serving.server.batching_parameters import BatchingParameters
from mim_tf.serving.server.metrics import ServerMetrics
from mim_tf.serving.server.servable import Servable
from tests.serving.publishing import wait_until

MINUTE = 60_000_000  # microseconds


class Roots(tf.Module):
    """Square roots by row, and two signatures whose outputs are not by row."""

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.float64, "square")])
    def root(self, square: tf.Tensor) -> dict[str, tf.Tensor]:
        tf.debugging.assert_non_negative(square, message="a square is negative")
        return {"root": tf.sqrt(square), "total": tf.reduce_sum(square, axis=1)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int64, "number")])
    def highest(self, number: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"highest": tf.fill(tf.shape(number), tf.reduce_max(number))}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int64, "number")])
    def distinct(self, number: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"distinct": tf.unique(number).y}

    @tf.function(input_signature=[tf.TensorSpec([], tf.int64, "number")])
    def scalar(self, number: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"number": number}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("roots") / "1"
    roots = Roots()
    # `upsert` is known by its name: here a function whose answer shows whether it was joined.
    signatures = {"root": roots.root, "upsert": roots.highest, "distinct": roots.distinct, "scalar": roots.scalar}
    tf.saved_model.save(roots, str(folder), signatures=signatures)
    return folder


class Observed(Servable):
    """Notes what it runs, and waits meanwhile if it is told to."""

    def __init__(self, folder: Path) -> None:
        super().__init__("roots", 1, folder)
        self.ran: list[tuple[str, int]] = []
        self.may_run = threading.Event()
        self.may_run.set()

    def run(self, signature_name: str, tensors: Tensors) -> Tensors:
        self.ran.append((signature_name, next(iter(tensors.values())).shape[0]))
        assert self.may_run.wait(60)
        return super().run(signature_name, tensors)


@pytest.fixture
def servable(folder: Path) -> Iterator[Observed]:
    servable = Observed(folder)
    yield servable
    servable.unload()


@contextmanager
def started(parameters: BatchingParameters, metrics: ServerMetrics | None = None) -> Iterator[BatchScheduler]:
    scheduler = BatchScheduler(parameters, metrics)
    scheduler.start()
    try:
        yield scheduler
    finally:
        scheduler.stop()


def ask_all(
    scheduler: BatchScheduler, servable: Servable, arrays: list[np.ndarray], signature: str = "root"
) -> list[Future[Tensors]]:
    """Asks at the same time, and waits for all answers."""
    name = next(iter(servable.signatures[signature].inputs))
    with ThreadPoolExecutor(len(arrays)) as threads:
        requests = [{name: tf.constant(array)} for array in arrays]
        return [threads.submit(scheduler.run, servable, signature, request) for request in requests]


def squares(rows: int, seed: int, columns: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).random([rows, columns])


def assert_roots(answer: Tensors, asked: np.ndarray) -> None:
    np.testing.assert_allclose(answer["root"], np.sqrt(asked), rtol=1e-15)
    np.testing.assert_allclose(answer["total"], asked.sum(axis=1), rtol=1e-15)


def test_joined_requests_get_their_own_rows(servable: Observed) -> None:
    asked = [squares(rows, seed) for seed, rows in enumerate([1, 4, 2, 1])]
    with started(BatchingParameters(8, MINUTE)) as scheduler:
        answers = ask_all(scheduler, servable, asked)
    assert servable.ran == [("root", 8)]
    for array, answer in zip(asked, answers, strict=True):
        assert_roots(answer.result(), array)


def test_many_requests_of_many_sizes(servable: Observed) -> None:
    asked = [squares(1 + seed % 5, seed, columns=1 + seed % 2) for seed in range(60)]
    with started(BatchingParameters(16, 1000, max_enqueued_batches=60, num_batch_threads=3)) as scheduler:
        answers = ask_all(scheduler, servable, asked)
    assert sum(rows for _, rows in servable.ran) == sum(len(array) for array in asked)
    for array, answer in zip(asked, answers, strict=True):
        assert_roots(answer.result(), array)


def test_a_request_alone_is_answered_when_its_time_is_over(servable: Observed) -> None:
    asked = squares(3, 0)
    with started(BatchingParameters(8, batch_timeout_micros=1000)) as scheduler:
        assert_roots(ask_all(scheduler, servable, [asked])[0].result(), asked)
    assert servable.ran == [("root", 3)]


def test_a_run_is_filled_up_and_the_filling_is_not_answered(servable: Observed) -> None:
    asked = squares(3, 0)
    with started(BatchingParameters(8, 0, allowed_batch_sizes=(2, 4, 8))) as scheduler:
        answer = ask_all(scheduler, servable, [asked])[0].result()
    assert servable.ran == [("root", 4)]
    assert answer["root"].shape == (3, 3)
    assert_roots(answer, asked)


def test_a_bad_request_spoils_no_other(servable: Observed) -> None:
    asked = [squares(2, 0), -squares(1, 1), squares(1, 2)]
    with started(BatchingParameters(4, MINUTE)) as scheduler:
        good, bad, other = ask_all(scheduler, servable, asked)
    assert_roots(good.result(), asked[0])
    assert_roots(other.result(), asked[2])
    with pytest.raises(tf.errors.InvalidArgumentError, match="a square is negative"):
        bad.result()
    assert servable.ran[0] == ("root", 4)
    assert sorted(servable.ran[1:]) == [("root", 1), ("root", 1), ("root", 2)]


def test_a_bad_request_alone_is_run_once(servable: Observed) -> None:
    with started(BatchingParameters(8, 0, allowed_batch_sizes=(2, 8))) as scheduler:
        (bad,) = ask_all(scheduler, servable, [-squares(1, 0)])
    with pytest.raises(tf.errors.InvalidArgumentError, match="a square is negative"):
        bad.result()
    assert servable.ran == [("root", 2)]


def test_a_request_whose_deadline_is_over_is_not_run_beside_others(servable: Observed) -> None:
    with started(BatchingParameters(3, MINUTE)) as scheduler, ThreadPoolExecutor(2) as threads:
        requests = [{"square": tf.constant(squares(rows, rows))} for rows in (1, 2)]
        late = threads.submit(scheduler.run, servable, "root", requests[0], deadline=time.monotonic())
        other = threads.submit(scheduler.run, servable, "root", requests[1])
    with pytest.raises(tf.errors.DeadlineExceededError, match="deadline was over before"):
        late.result()
    assert_roots(other.result(), squares(2, 2))
    assert servable.ran == [("root", 2)]


def test_a_request_that_outlasts_the_end_is_unavailable(servable: Observed) -> None:
    """One of two is in its run then, the other waits for the only thread."""
    metrics = ServerMetrics()
    servable.may_run.clear()
    request = {"square": tf.constant(squares(1, 0))}
    scheduler = BatchScheduler(BatchingParameters(1, 0, num_batch_threads=1), metrics)
    scheduler.start()
    with ThreadPoolExecutor(2) as threads:
        waiting = [threads.submit(scheduler.run, servable, "root", request)]
        wait_until(lambda: len(servable.ran) == 1)
        waiting.append(threads.submit(scheduler.run, servable, "root", request))
        wait_until(lambda: metrics.registry.get_sample_value("mim_serving_queue_length") == 1)
        scheduler.stop(grace=0.0)
        for answer in waiting:
            with pytest.raises(tf.errors.UnavailableError, match="The server is stopping"):
                answer.result()
        servable.may_run.set()
        scheduler.start()
        assert_roots(scheduler.run(servable, "root", request), squares(1, 0))
        scheduler.stop()
    assert len(servable.ran) == 2  # the one that waited is not among them


def test_requests_whose_answers_are_not_by_row_are_run_alone(servable: Observed) -> None:
    """Joined, the four distinct numbers of six rows could belong to anybody."""
    asked = [np.array([1, 2, 2]), np.array([2, 3, 4])]
    with started(BatchingParameters(6, MINUTE)) as scheduler:
        first, second = ask_all(scheduler, servable, asked, "distinct")
    np.testing.assert_array_equal(first.result()["distinct"], [1, 2])
    np.testing.assert_array_equal(second.result()["distinct"], [2, 3, 4])


def test_requests_of_other_dimensions_are_not_joined(servable: Observed) -> None:
    asked = [squares(2, 0, columns=3), squares(2, 1, columns=5), squares(2, 2, columns=3), squares(2, 3, columns=5)]
    with started(BatchingParameters(4, MINUTE)) as scheduler:
        answers = ask_all(scheduler, servable, asked)
    assert servable.ran == [("root", 4), ("root", 4)]
    for array, answer in zip(asked, answers, strict=True):
        assert_roots(answer.result(), array)


def test_requests_of_other_dimensions_are_joined_when_they_are_to_be_padded(servable: Observed) -> None:
    asked = [np.array([[4.0, 9.0]]), np.array([[1.0, 16.0, 25.0]])]
    with started(BatchingParameters(2, MINUTE, pad_variable_length_inputs=True)) as scheduler:
        shorter, longer = ask_all(scheduler, servable, asked)
    assert servable.ran == [("root", 2)]
    np.testing.assert_array_equal(shorter.result()["root"], [[2.0, 3.0, 2.0]])  # TF Serving answers padding, too
    np.testing.assert_array_equal(longer.result()["root"], [[1.0, 4.0, 5.0]])


def test_changes_of_a_table_are_never_joined(servable: Observed) -> None:
    """Of `since`, `version` and `sequence` an `upsert` takes the highest of its rows, here of all that were joined."""
    asked = [np.array([3]), np.array([7])]
    with started(BatchingParameters(2, 1000)) as scheduler:
        first, second = ask_all(scheduler, servable, asked, "upsert")
    np.testing.assert_array_equal(first.result()["highest"], [3])
    np.testing.assert_array_equal(second.result()["highest"], [7])


def test_an_outdated_change_of_a_table_has_no_effect_beside_a_newer_one(tmp_path: Path) -> None:
    """Joined, item 3 would be given its vector of version 3 again: the table would take both changes for version 5."""
    vectors = np.array([[1, 2], [3, 4]], np.float16)
    stored = StoredEmbeddings(np.array([3, 9]), np.array([0, 1]), vectors, "e", version=4, store="f" * 32, slots=1)
    holder = tf.Module()
    holder.table = EmbeddingTable.of(stored, spare=4)
    tf.saved_model.save(holder, str(tmp_path), signatures=table_signatures(holder.table, stored))
    servable = Servable("table", 1, tmp_path)

    def change(item: int, row: int, vector: list[float], since: int) -> Tensors:
        numbers = {"item_id": item, "row": row, "since": since, "version": since + 1, "sequence": 0}
        embedding = tf.constant([vector], tf.float16)
        return {name: tf.constant([number], tf.int64) for name, number in numbers.items()} | {"embedding": embedding}

    changes = [change(3, 2, [7, 7], since=2), change(5, 3, [5, 6], since=4)]
    with started(BatchingParameters(2, 1000)) as scheduler, ThreadPoolExecutor(2) as threads:
        # Both expect to be the table's first change: one of them may be refused, whichever comes second.
        answers = [threads.submit(scheduler.run, servable, "upsert", tensors) for tensors in changes]
    assert any(answer.exception() is None for answer in answers)
    found = servable.run("lookup", {"item_id": tf.constant([3], tf.int64)})
    np.testing.assert_array_equal(found["embedding"], [[1, 2]])
    servable.unload()


@pytest.mark.parametrize(
    ("signature", "array", "match"),
    [
        ("root", np.zeros([9, 3]), "Task size 9 is larger than maximum input batch size 8"),
        ("scalar", np.array(7), "input tensors must have at least one dimension"),
    ],
)
def test_what_cannot_be_joined_is_refused(servable: Observed, signature: str, array: np.ndarray, match: str) -> None:
    with started(BatchingParameters(8, MINUTE)) as scheduler:
        (answer,) = ask_all(scheduler, servable, [array], signature)
    with pytest.raises(tf.errors.InvalidArgumentError, match=match):
        answer.result()
    assert servable.ran == []


def test_no_rows_are_answered_with_no_rows(servable: Observed) -> None:
    with started(BatchingParameters(8, MINUTE, allowed_batch_sizes=(8,))) as scheduler:
        (answer,) = ask_all(scheduler, servable, [np.zeros([0, 3])])
    assert answer.result()["root"].shape == (0, 3)


def test_when_too_many_wait_one_more_is_refused_at_once(servable: Observed) -> None:
    metrics = ServerMetrics()
    servable.may_run.clear()
    request = {"square": tf.constant(squares(1, 0))}
    parameters = BatchingParameters(1, 0, max_enqueued_batches=2, num_batch_threads=1)
    with started(parameters, metrics) as scheduler, ThreadPoolExecutor(3) as threads:
        running = threads.submit(scheduler.run, servable, "root", request)
        wait_until(lambda: len(servable.ran) == 1)
        waiting = [threads.submit(scheduler.run, servable, "root", request) for _ in range(2)]
        wait_until(lambda: metrics.registry.get_sample_value("mim_serving_queue_length") == 2)
        with pytest.raises(
            tf.errors.ResourceExhaustedError,
            match=r"scheduling queue .* is full; currently 2 batches enqueued and max_enqueued_batches is 2",
        ):
            scheduler.run(servable, "root", request)
        servable.may_run.set()
        for answer in [running, *waiting]:
            assert_roots(answer.result(), squares(1, 0))


def test_who_waits_is_answered_before_the_end(servable: Observed) -> None:
    asked = squares(1, 0)
    metrics = ServerMetrics()
    scheduler = BatchScheduler(BatchingParameters(8, MINUTE), metrics)
    scheduler.start()
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(scheduler.run, servable, "root", {"square": tf.constant(asked)})
        wait_until(lambda: metrics.registry.get_sample_value("mim_serving_queue_length") == 1)
        scheduler.stop()
        assert servable.ran == [("root", 1)]  # and not a minute later
    assert_roots(waiting.result(), asked)
    with pytest.raises(tf.errors.UnavailableError, match="The server is stopping"):
        scheduler.run(servable, "root", {"square": tf.constant(asked)})


def test_when_it_is_hurried_nobody_waits_for_others(servable: Observed) -> None:
    asked = [squares(1, 0), squares(1, 1)]
    with started(BatchingParameters(8, MINUTE)) as scheduler:
        scheduler.hurry()
        for array in asked:
            assert_roots(scheduler.run(servable, "root", {"square": tf.constant(array)}), array)
    assert servable.ran == [("root", 1), ("root", 1)]


def test_a_stopped_scheduler_starts_again(servable: Observed) -> None:
    scheduler = BatchScheduler(BatchingParameters(2, MINUTE))
    for _ in range(2):
        scheduler.start()
        scheduler.start()  # changes nothing
        asked = [squares(1, 0), squares(1, 1)]
        answers = ask_all(scheduler, servable, asked)
        scheduler.stop()
        for array, answer in zip(asked, answers, strict=True):
            assert_roots(answer.result(), array)


def test_a_version_that_was_asked_is_not_kept(folder: Path) -> None:
    servable = Observed(folder)
    with started(BatchingParameters(8, 0)) as scheduler:
        ask_all(scheduler, servable, [squares(1, 0)])
        left = weakref.ref(servable)
        del servable
        wait_until(lambda: gc.collect() >= 0 and left() is None)


def test_runs_rows_and_waits_are_counted(servable: Observed) -> None:
    metrics = ServerMetrics()
    asked = [squares(rows, rows) for rows in (1, 2, 5)]
    parameters = BatchingParameters(8, MINUTE, thread_pool_name="rankers", allowed_batch_sizes=(8,))
    with started(parameters, metrics) as scheduler:
        ask_all(scheduler, servable, asked)
    values = metrics.registry.get_sample_value
    labels = {"model_name": "roots", "signature": "root"}
    assert values(":tensorflow:serving:batching_session:wrapped_run_count") == 1
    assert values("mim_serving_batch_rows_count", labels) == 1
    assert values("mim_serving_batch_rows_sum", labels) == 8
    waits = ":tensorflow:serving:batching_session:queuing_latency_count"
    assert values(waits, {"thread_pool_name": "rankers"}) == 3
    assert values("mim_serving_queue_length") == 0
