"""The commands' help and the sentences they end with when something is wrong, most without importing TensorFlow."""

import subprocess
import sys
from pathlib import Path

import pytest

CONFIG = "data: {items: items.parquet, impressions: log.parquet, validation_from: 2025-01-01}\n"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", *arguments], capture_output=True, text=True, check=False)


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "run.yaml"
    path.write_text(CONFIG)
    return str(path)


@pytest.mark.parametrize(
    "module", ["prepare", "train", "evaluate", "report", "tensorboard", "export", "serving", "demo", "data.demo_shop"]
)
def test_help_shows_an_example_or_the_defaults(module: str) -> None:
    shown = run(f"mim_tf.{module}", "--help")
    assert shown.returncode == 0
    assert f"python -m mim_tf.{module} --" in shown.stdout or "default:" in shown.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["mim_tf.train", "--stage", "csft"],
            "prepare is not finished. Run first: python -m mim_tf.prepare",
        ),
        (
            ["mim_tf.train", "--stage", "pretrain"],
            "prepare is not finished. Run first: python -m mim_tf.prepare --config",
        ),
        (["mim_tf.evaluate"], "rank is not finished. Run first: python -m mim_tf.train --stage rank"),
        (["mim_tf.report"], "prepare is not finished. Run first: python -m mim_tf.prepare --config"),
        (["mim_tf.export", "--to", "models"], "rank is not finished. Run first"),
        (["mim_tf.train", "--stage", "rank", "--set", "rank.layers=3"], "`rank.layers` is not a setting. Known here:"),
        (
            ["mim_tf.train", "--stage", "all", "--set", "rank.ubm_options.layers=3"],  # before any stage runs
            "`rank.ubm_options` must be arguments of sim: search, top_k",
        ),
        (["mim_tf.train", "--stage", "csft", "--cpu-devices", "0"], "--cpu-devices must be at least 1. Received: 0."),
        (["mim_tf.prepare", "--set", "data.items=none.parquet"], "none.parquet"),
    ],
)
def test_what_is_wrong_is_one_sentence_and_exit_code_1(
    config: str, tmp_path: Path, arguments: list[str], message: str
) -> None:
    ended = run(*arguments, "--config", config, "--workdir", str(tmp_path / "work"))
    assert ended.returncode == 1
    assert message in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not list((tmp_path / "work").rglob("metrics.json"))


def test_an_unknown_stage_lists_the_known_ones(config: str) -> None:
    ended = run("mim_tf.train", "--stage", "sft", "--config", config, "--workdir", "w")
    assert ended.returncode == 2
    assert "pretrain" in ended.stderr
    assert "csft" in ended.stderr
