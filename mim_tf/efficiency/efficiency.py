"""Table 6 of the paper: what a sample costs with and without content, and without the representation center."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from mim_tf.efficiency.step_cost import INFERENCE, TRAINING, StepCost
from mim_tf.errors import StageError
from mim_tf.settings import Settings, dump_settings
from mim_tf.workdir import StageFolder, earlier_stages

# The table's lines, as variant of the click model and `rank.embeddings`.
VERSIONS = {
    "Base": ("base", "table"),
    "Base+MIM (w/o RC)": ("model", "encoder"),
    "Base+MIM (E2E)": ("model", "end_to_end"),
    "Base+MIM": ("model", "table"),
}
_MODES = (TRAINING, INFERENCE)


class EfficiencyRow(NamedTuple):
    """A line of the table."""

    version: str
    """A key of `VERSIONS`."""
    training: StepCost
    """Of forward pass, backward pass and update."""
    inference: StepCost
    """Of the forward pass."""
    training_change: StepCost
    """`(A - B) / B` of each number, B being Base's."""
    inference_change: StepCost
    """Likewise."""


def efficiency(
    settings: Settings, workdir: Path, options: str, *, steps: int = 10, rounds: int = 1
) -> list[EfficiencyRow]:
    """What a step of a run's click model costs per sample, in four versions.

    They read the same batches of training impressions, with `rank.batch_size` impressions on average. Each version and
    mode has a process of its own, so that none finds another's memory; one runs after the other.

    Without the representation center (w/o RC) the encoder embeds each distinct item of a batch once, so its share of a
    sample falls with the size of the batch and with how often its items recur. End to end (E2E) it runs once more
    for the gradient, whose memory then does not grow with the items: four times the forward pass where the paper, which
    keeps all activations, has three.

    Args:
        settings: of the run, whose stages before `rank` are finished. Where `rank.strategy` and `rank.embeddings` say
            what a version says otherwise, the version holds; all run on one device.
        workdir: its folder.
        options: of the command line, for errors to name the command to run first.
        steps: that each process times.
        rounds: how often each process is started, in turns; the medians count.

    Returns:
        A row for each of `VERSIONS`, in their order.

    Raises:
        StageError: a stage before `rank` is missing, or a process has failed, as where memory is short.
    """
    for stage in earlier_stages("rank", settings):
        StageFolder(workdir, stage).require(settings, options)
    jobs = [(version, mode) for _ in range(rounds) for version in VERSIONS for mode in _MODES]
    costs: dict[tuple[str, str], list[StepCost]] = {}
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "run.yaml"
        config.write_text(dump_settings(settings), encoding="utf-8")
        for version, mode in tqdm(jobs, desc="efficiency", unit="process", disable=None):
            costs.setdefault((version, mode), []).append(_measured(config, workdir, version, mode, steps))
    medians = {job: StepCost(*map(statistics.median, zip(*of_job, strict=True))) for job, of_job in costs.items()}
    return [_row(version, medians) for version in VERSIONS]


def _row(version: str, costs: dict[tuple[str, str], StepCost]) -> EfficiencyRow:
    of_version = [costs[version, mode] for mode in _MODES]
    changes = [costs[version, mode].change_from(costs["Base", mode]) for mode in _MODES]
    return EfficiencyRow(version, *of_version, *changes)


def _measured(config: Path, workdir: Path, version: str, mode: str, steps: int) -> StepCost:
    """What a process measures."""
    variant, embeddings = VERSIONS[version]
    overrides = (f"rank.embeddings={embeddings}", "rank.strategy=one_device")
    command = [sys.executable, "-m", "mim_tf.efficiency.step_process", "--config", str(config)]
    command += ["--workdir", str(workdir), *(part for override in overrides for part in ("--set", override))]
    command += ["--variant", variant, "--mode", mode, "--steps", str(steps)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode:
        said = ended.stderr.strip().rpartition("\n")[2].removeprefix("error: ")
        raise StageError(f"{mode} of {version} ended with code {ended.returncode}: {said or 'nothing was said'}")
    return StepCost(**json.loads(ended.stdout.splitlines()[-1]))
