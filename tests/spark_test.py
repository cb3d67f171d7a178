"""Finding or starting Spark: what is said when it, or Java, is missing, and that the console stays quiet."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mim_tf.errors import StageError
from mim_tf.spark import spark_session

needs_java = pytest.mark.skipif(shutil.which("java") is None, reason="Spark needs Java: there is no `java` on the PATH")


def test_without_java_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StageError, match=r"needs Java 17 or later: install one .*Received: no `java` on the PATH"):
        spark_session("test", {})


def test_a_java_home_without_java_is_not_enough(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(StageError, match="needs Java 17 or later"):
        spark_session("test", {})


def test_without_pyspark_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyspark.sql", None)  # as if it were not installed
    with pytest.raises(StageError, match=r"needs pyspark: pip install 'mim_tf\[spark\]'\. Received: "):
        spark_session("test", {})


# In a process of its own: a session is its process's, and what is printed at its end is part of the test.
COUNT = """
import sys, warnings
import lance  # warns of forks
warnings.simplefilter("error")
from mim_tf.spark import spark_session
session = spark_session("test", dict(option.split("=", 1) for option in sys.argv[1:]))
print(session.range(7).count(), session.conf.get("spark.sql.session.timeZone"))
"""


def run(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", COUNT, *options], capture_output=True, text=True, timeout=300)


@needs_java
@pytest.mark.slow
def test_a_session_starts_and_ends_without_a_trace_on_the_console() -> None:
    done = run("spark.master=local[1]", "spark.ui.enabled=false")
    assert (done.returncode, done.stdout) == (0, "7 UTC\n")
    assert " ERROR " not in done.stderr
    assert "\tat " not in done.stderr
    assert "Traceback" not in done.stderr


@needs_java
@pytest.mark.slow
def test_a_master_that_is_none_is_named() -> None:
    done = run("spark.master=nosuch://a")
    assert done.returncode == 1
    assert "StageError: Spark must start with {'spark.master': 'nosuch://a'}. Received: " in done.stderr
