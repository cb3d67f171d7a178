"""What engines say when they fail: one line, with what happened, and a full disk apart from a broken file."""

import errno

import duckdb
import pyarrow as pa
import pytest
import tensorflow as tf
from pyspark.errors import AnalysisException

from mim_tf.data.engine_errors import is_engine_error, lacks_room, said


@pytest.mark.parametrize(
    ("error", "is_full"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), True),
        (OSError(errno.EFBIG, "File too large"), True),
        (OSError(errno.ENOENT, "No such file or directory"), False),
        (tf.errors.ResourceExhaustedError(None, None, "a/b.tfrecord; No space left on device"), True),
        (duckdb.OutOfMemoryException("failed to offload data block"), True),
        (duckdb.IOException('Could not write to file "a": No space left on device'), True),
        (duckdb.InvalidInputException("No magic bytes found"), False),
    ],
)
def test_a_full_disk_is_told_apart(error: Exception, is_full: bool) -> None:
    assert lacks_room(error) == is_full


def test_errors_of_engines_are_told_from_others() -> None:
    assert is_engine_error(duckdb.BinderException("no such column"))
    assert is_engine_error(AnalysisException("no such column"))
    assert is_engine_error(pa.ArrowInvalid("no Parquet"))
    assert not is_engine_error(KeyError("no such column"))


def test_of_a_chain_of_causes_the_last_is_said() -> None:
    error = AnalysisException(
        "Job aborted due to stage failure: Task 0 in stage 1.0 failed\n\tat org.apache.spark.A.b(A.scala:1)\n"
        "Caused by: org.apache.spark.SparkException: Encountered error while reading file /a.parquet.\n"
        "\tat org.apache.spark.C.d(C.scala:2)\n"
        "Caused by: java.lang.RuntimeException: /a.parquet is not a Parquet file.\n\t... 12 more"
    )
    assert said(error) == "/a.parquet is not a Parquet file."
    error = AnalysisException(
        "Job aborted due to stage failure\n\nJVM stacktrace:\n"
        "Caused by: PythonException: Traceback (most recent call last):\n"
        '  File "worker.py", line 1, in main\n    write()\n    ~~~~~^^\nOSError: [Errno 28] No space left on device\n\n'
        "\tat org.apache.spark.A.b(A.scala:1)\n"
    )
    assert said(error) == "OSError: [Errno 28] No space left on device"
    assert lacks_room(error)
    assert said(duckdb.IOException("one\n  two")) == "one two"
