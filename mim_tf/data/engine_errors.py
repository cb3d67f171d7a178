"""What DuckDB and Spark raise, and what it says in one line."""

from __future__ import annotations

import re
import sys

import duckdb
import pyarrow as pa

_LENGTH = 500
_NO_ROOM = re.compile("no space left on device|disk quota exceeded|file too large", re.IGNORECASE)
# Where Spark buries what happened: under exceptions that only say that another one came, or in a trace of Python's.
_CAUSES = (
    re.compile(r"Traceback \(most recent call last\):\n(?:[ \t].*\n)*(\S.*)"),
    re.compile(r"^Caused by: (?:[\w.$]+: )?(.+)$", re.MULTILINE),
)


def is_engine_error(error: BaseException) -> bool:
    """Whether an engine failed at what it was asked."""
    return isinstance(error, (duckdb.Error, pa.ArrowException, *_spark_errors()))


def lacks_room(error: BaseException) -> bool:
    """Whether a disk is full, whoever came upon it, or the memory that DuckDB may take."""
    return isinstance(error, duckdb.OutOfMemoryException) or _NO_ROOM.search(_whole(error)) is not None


def said(error: BaseException) -> str:
    """What an engine says, in one line: of a chain of causes the last, where what happened stands."""
    whole = _whole(error)
    causes = next(filter(None, (pattern.findall(whole) for pattern in _CAUSES)), [])
    return " ".join((causes[-1] if causes else whole.partition("\n\nJVM stacktrace:")[0]).split())[:_LENGTH]


def _whole(error: BaseException) -> str:
    """The message with all causes, of which Spark has Java's beside its own."""
    trace = getattr(error, "_stackTrace", None)
    return f"{error}\n{trace}" if isinstance(trace, str) else str(error)


def _spark_errors() -> tuple[type[BaseException], ...]:
    # Spark's errors only come from a Spark that was imported.
    if "pyspark" not in sys.modules:
        return ()
    from py4j.protocol import Py4JError
    from pyspark.errors import PySparkException

    return (PySparkException, Py4JError)
