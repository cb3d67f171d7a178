"""What some steps of a training did and how long it took, for TensorBoard's profiler."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self

import tensorflow as tf


class StepTrace:
    """Traces a range of steps into `<folder>/plugins/profile/<time>/`: operations of all devices, by steps.

    To be entered as a context around a training, so that an error in the middle does not leave TensorFlow's profiler
    running. The trace is written after the last of its steps, or at the end of a training that has fewer.

    Args:
        folder: a run of TensorBoard; None traces nothing.
        steps: the first and the last step to be traced, counted from 0 over the whole training; None traces nothing.
    """

    def __init__(self, folder: Path | None, steps: tuple[int, int] | None):
        self._folder = folder
        self._steps = None if folder is None else steps
        self._step: tf.profiler.experimental.Trace | None = None
        self._runs = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._end_step()
        self._stop()

    def before(self, step: int) -> None:
        """Say that a step begins. A training that goes on within the range is traced from there."""
        if self._steps is None or not self._steps[0] <= step <= self._steps[1]:
            return
        if not self._runs:
            tf.profiler.experimental.start(str(self._folder))
            self._runs = True
        self._step = tf.profiler.experimental.Trace("train", step_num=step, _r=1)  # _r: a step, to the profiler
        self._step.__enter__()

    def after(self, step: int) -> None:
        """Say that it has ended."""
        self._end_step()
        if self._steps is not None and step >= self._steps[1]:
            self._stop()

    def _end_step(self) -> None:
        if self._step is not None:
            self._step.__exit__(None, None, None)
            self._step = None

    def _stop(self) -> None:
        if self._runs:
            self._runs = False
            tf.profiler.experimental.stop()
