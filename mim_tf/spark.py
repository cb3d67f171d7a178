"""The Spark session of this process: found or started, with errors that say what is missing."""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from mim_tf.errors import StageError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

# Timestamps are seconds UTC whatever the cluster's zone. Batches of Arrow stay small enough to hold images.
_ALWAYS = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.execution.arrow.maxRecordsPerBatch": "1024",
    "spark.ui.showConsoleProgress": "false",
    "spark.log.level": "ERROR",
    # Pandas writes nanoseconds, of which Spark has no type: read as numbers they do not keep a file from being read.
    "spark.sql.legacy.parquet.nanosAsLong": "true",
}


def spark_session(name: str, options: Mapping[str, str]) -> SparkSession:
    """The session that there is, as under `spark-submit`, or a new one, on all of this machine if nothing else is said.

    Args:
        name: of the application.
        options: Spark's own settings by name, as `spark.master`.

    Raises:
        StageError: pyspark or Java is missing, or Spark does not start.
    """
    try:
        from pyspark.errors import PySparkException
        from pyspark.sql import SparkSession
    except ImportError as error:
        raise StageError(f"--engine spark needs pyspark: pip install 'mim_tf[spark]'. Received: {error}.") from error
    if not _java():
        raise StageError(
            "--engine spark needs Java 17 or later: install one (Debian: apt-get install default-jre-headless), or let "
            "JAVA_HOME name its folder. Received: no `java` on the PATH."
        )
    # The executors' Python is this one, unless told otherwise: another would not find this package.
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    builder = SparkSession.builder.appName(name).config(map={**_ALWAYS, **options})
    is_ours = SparkSession.getActiveSession() is None
    try:
        with warnings.catch_warnings():
            # Lance, where it was imported, warns of every fork. This one becomes Java at once.
            warnings.filterwarnings("ignore", "lance is not fork-safe", UserWarning)
            session = builder.getOrCreate()
    except (PySparkException, RuntimeError, OSError) as error:
        said = " ".join(str(error).split())[:500]
        raise StageError(f"Spark must start with {dict(options) or 'its own settings'}. Received: {said}") from error
    if is_ours:
        atexit.register(session.stop)  # before Java goes, or it complains of tasks that end with it
    return session


def task_cores() -> int | None:
    """The cores of the task that this process works for; None where it is no worker of Spark's."""
    spark = sys.modules.get("pyspark")  # who did not import it is none
    task = spark.TaskContext.get() if spark else None
    return task.cpus() if task else None


def _java() -> bool:
    home = os.environ.get("JAVA_HOME")
    return (Path(home) / "bin" / "java").exists() if home else shutil.which("java") is not None
