"""The command `represent`: its words, and what it refuses before TensorFlow is imported."""

import subprocess
import sys
from pathlib import Path

import pytest


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mim_tf.represent", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_help_shows_an_example_with_spark() -> None:
    shown = run("--help")
    assert shown.returncode == 0
    assert "python -m mim_tf.represent --config configs/demo.yaml --workdir build/demo --engine spark" in shown.stdout


@pytest.mark.parametrize(
    ("engine", "message"),
    [
        (["local"], "prepare is not finished. Run first: python -m mim_tf.prepare --config"),
        (["spark"], "prepare is not finished. Run first: python -m mim_tf.prepare --config"),
        (["spark", "--engine-option", "spark.master"], "--engine-option must be KEY=VALUE"),
        (["flink"], "invalid choice: 'flink'"),
    ],
)
def test_what_is_wrong_is_one_sentence(tmp_path: Path, engine: list[str], message: str) -> None:
    config, workdir = tmp_path / "run.yaml", tmp_path / "W"
    config.write_text("data: {items: items.parquet}\n")
    ended = run("--config", str(config), "--workdir", str(workdir), "--engine", *engine)
    assert ended.returncode in (1, 2)  # argparse's own is 2
    assert message in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not workdir.exists()
