"""TF Serving's batching parameters: read, checked, and what is filled up to."""

import os
from pathlib import Path

import pytest

from mim_tf.errors import ServingError
from mim_tf.serving.server.batching_parameters import BatchingParameters


def read(folder: Path, text: str) -> BatchingParameters:
    (folder / "batching.config").write_text(text)
    return BatchingParameters.read(folder / "batching.config")


def test_all_parameters_are_read(tmp_path: Path) -> None:
    text = """
    max_batch_size { value: 8 } batch_timeout_micros { value: 2000 } max_enqueued_batches { value: 3 }
    num_batch_threads { value: 2 } thread_pool_name { value: "rankers" }
    allowed_batch_sizes: 2 allowed_batch_sizes: 8 pad_variable_length_inputs: true
    """
    assert read(tmp_path, text) == BatchingParameters(8, 2000, 3, 2, "rankers", (2, 8), True)


def test_what_is_not_said_is_as_in_tf_serving(tmp_path: Path) -> None:
    assert read(tmp_path, "") == BatchingParameters(1000, 0, 10, os.cpu_count() or 1, "batch_threads", (), False)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("max_batch_size { value: 0 }", r"`max_batch_size` must be 1 or more\. Received: 0\."),
        ("batch_timeout_micros { value: -1 }", r"`batch_timeout_micros` must be 0 or more\. Received: -1\."),
        ("max_enqueued_batches { value: 0 }", r"`max_enqueued_batches` must be 1 or more\. Received: 0\."),
        ("num_batch_threads { value: 0 }", r"`num_batch_threads` must be 1 or more\. Received: 0\."),
        ("max_batch_size { value: 8 } allowed_batch_sizes: 4", r"`max_batch_size`, 8\. Received: \[4\]\."),
        ("max_batch_size { value: 8 } allowed_batch_sizes: [4, 2, 8]", r"Received: \[4, 2, 8\]\."),
        ("max_batch_size { value: 8 } allowed_batch_sizes: [8, 8]", r"Received: \[8, 8\]\."),
        ("max_batch_size { value: 8 } allowed_batch_sizes: [0, 8]", r"Received: \[0, 8\]\."),
        ("max_execution_batch_size { value: 8 }", 'no field named "max_execution_batch_size"'),
    ],
)
def test_what_cannot_be_is_refused(tmp_path: Path, text: str, match: str) -> None:
    with pytest.raises(ServingError, match=rf"batching\.config.*{match}"):
        read(tmp_path, text)


def test_rows_are_filled_up_to_the_next_size() -> None:
    parameters = BatchingParameters(8, allowed_batch_sizes=(1, 4, 8))
    assert [parameters.filled(rows) for rows in range(1, 9)] == [1, 4, 4, 4, 8, 8, 8, 8]
    assert BatchingParameters(8).filled(3) == 3
