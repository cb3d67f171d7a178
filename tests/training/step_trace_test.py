"""A trace of real steps, read back from the file that TensorBoard's profiler reads."""

from pathlib import Path

import pytest
import tensorflow as tf

from mim_tf.training.step_trace import StepTrace
from tests.training.traces import planes, steps_in


@tf.function
def square(matrix: tf.Tensor) -> tf.Tensor:
    return tf.matmul(matrix, matrix)


def train(trace: StepTrace, steps: range) -> None:
    with trace:
        for step in steps:
            trace.before(step)
            square(tf.ones([64, 64])).numpy()
            trace.after(step)


def test_the_steps_asked_for_are_traced_with_their_operations(tmp_path: Path) -> None:
    train(StepTrace(tmp_path, (2, 4)), range(8))
    [plane] = planes(tmp_path)
    assert steps_in(plane) == [2, 3, 4]
    assert b"MatMul" in plane


@pytest.mark.parametrize(
    ("steps", "asked", "traced"),
    [
        (range(3), (1, 9), [1, 2]),  # a training that has fewer
        (range(5, 8), (4, 6), [5, 6]),  # one that goes on within the range
    ],
)
def test_what_there_is_of_the_range_is_traced(
    tmp_path: Path, steps: range, asked: tuple[int, int], traced: list[int]
) -> None:
    train(StepTrace(tmp_path, asked), steps)
    [plane] = planes(tmp_path)
    assert steps_in(plane) == traced


@pytest.mark.parametrize("asked", [None, (10, 12)])
def test_nothing_is_written_where_nothing_is_traced(tmp_path: Path, asked: tuple[int, int] | None) -> None:
    train(StepTrace(tmp_path, asked), range(3))
    assert not list(tmp_path.iterdir())


def test_a_worker_without_a_folder_traces_nothing(tmp_path: Path) -> None:
    trace = StepTrace(None, (0, 1))
    with trace:
        trace.before(0)
        tf.profiler.experimental.start(str(tmp_path))  # would be refused if a trace ran
        tf.profiler.experimental.stop()
        trace.after(0)
    assert len(planes(tmp_path)) == 1


def test_an_error_within_the_range_ends_the_trace(tmp_path: Path) -> None:
    def fail_at_step_1() -> None:
        with StepTrace(tmp_path, (0, 5)) as trace:
            trace.before(0)
            trace.after(0)
            trace.before(1)
            raise ZeroDivisionError("at step 1")

    with pytest.raises(ZeroDivisionError, match="at step 1"):
        fail_at_step_1()
    [plane] = planes(tmp_path)
    assert steps_in(plane) == [0, 1]
    train(StepTrace(tmp_path / "next", (0, 0)), range(1))
    assert len(planes(tmp_path / "next")) == 1
