"""How requests are joined: TF Serving's `--batching_parameters_file`."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from mim_tf.errors import ServingError
from mim_tf.serving.server import config_files


@dataclass(frozen=True)
class BatchingParameters:
    """How requests are joined, with TF Serving's names and defaults.

    Args:
        max_batch_size: Most rows of a joined run; a request of more is refused.
        batch_timeout_micros: Longest wait for others, in microseconds, if a thread is free.
        max_enqueued_batches: Most joined runs that wait, of each signature of each version of a model.
        num_batch_threads: Joined runs at once, of all models.
        thread_pool_name: What the threads are called, in metrics too.
        allowed_batch_sizes: Rows that a joined run may have; it is filled up to the next. None means any.
        pad_variable_length_inputs: Whether requests of different dimensions are joined, too: see `batch.pad`.

    Raises:
        ValueError: If a value cannot be.
    """

    max_batch_size: int = 1000
    batch_timeout_micros: int = 0
    max_enqueued_batches: int = 10
    num_batch_threads: int = field(default_factory=lambda: os.cpu_count() or 1)
    thread_pool_name: str = "batch_threads"
    allowed_batch_sizes: tuple[int, ...] = ()
    pad_variable_length_inputs: bool = False

    def __post_init__(self) -> None:
        lowest = {
            "max_batch_size": (self.max_batch_size, 1),
            "batch_timeout_micros": (self.batch_timeout_micros, 0),
            "max_enqueued_batches": (self.max_enqueued_batches, 1),
            "num_batch_threads": (self.num_batch_threads, 1),
        }
        for name, (value, limit) in lowest.items():
            if value < limit:
                raise ValueError(f"`{name}` must be {limit} or more. Received: {value}.")
        sizes = self.allowed_batch_sizes
        if sizes and (sorted(set(sizes)) != list(sizes) or sizes[0] < 1 or sizes[-1] != self.max_batch_size):
            rule = f"must be positive, rise, and end with `max_batch_size`, {self.max_batch_size}"
            raise ValueError(f"`allowed_batch_sizes` {rule}. Received: {list(sizes)}.")

    @classmethod
    def read(cls, path: str | Path) -> BatchingParameters:
        """Reads them from a file in protobuf's text format.

        Raises:
            ServingError: If the file cannot be read, or if it has a value that cannot be or a parameter that the
                stand-in does not have.
        """
        config = config_files.read_config(path, config_files.BatchingParameters)
        given = {descriptor.name: value for descriptor, value in config.ListFields()}
        sizes = tuple(given.pop("allowed_batch_sizes", ()))
        pads = given.pop("pad_variable_length_inputs", False)
        values = {name: wrapper.value for name, wrapper in given.items()}
        try:
            return cls(**values, allowed_batch_sizes=sizes, pad_variable_length_inputs=pads)
        except ValueError as error:
            raise ServingError(f"{path}: {error}") from error

    def filled(self, rows: int) -> int:
        """Returns how many rows a joined run of so many is given."""
        return next((size for size in self.allowed_batch_sizes if size >= rows), rows)
