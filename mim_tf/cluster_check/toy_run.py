"""A shop and settings so small that a stage is a matter of seconds, and workdirs to try a stage in."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from mim_tf.data.demo_shop import make_demo_shop
from mim_tf.errors import StageError
from mim_tf.workdir import STAGES

_MARKER = ".cluster_check"  # in a folder that may be emptied
_CONFIG = """\
data: {{items: {shop}/items.parquet, impressions: {shop}/impressions.parquet, pairs: {shop}/pairs.parquet,
  validation_from: 2025-01-25, history_length: 8, shards: 2}}
encoders:
  vision: {{name: vit_toy, image_size: 32}}
  text: {{name: bert_toy, length: 8}}
  dim: 8
pretrain:
  image_text: {{epochs: 20, batch_size: 20, evaluate_every: 80, checkpoint_every: 20}}
csft: {{epochs: 20, batch_size: 16, evaluate_every: 80, checkpoint_every: 20, st_nsg: {{queue_batches: 2}}}}
rank:
  {{ubm: din, epochs: 10, patience: 10, batch_size: 128, learning_rate: 0.02, hash_bins: 40000, item_dim: 8,
    category_dim: 2, tower_units: [16], dropout: 0}}
"""


class ToyRun:
    """A drawn shop whose stages one process trains as two do, and copies in which one stage is yet to be trained.

    Args:
        folder: of everything, emptied first.

    Raises:
        StageError: the folder holds something that is not an earlier check's.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        self.alone = folder / "alone"
        self.config = folder / "run.yaml"
        _empty(folder)
        strength = 3.0  # of tastes: a click model learns them in some hundred steps
        make_demo_shop(
            folder / "shop",
            items=200,
            users=150,
            days=30,
            searches=200,
            content_strength=strength,
            id_strength=strength,
        )
        self.config.write_text(_CONFIG.format(shop=folder / "shop"), encoding="utf-8")

    def before(self, stage: str, name: str) -> Path:
        """A copy of the run in one process as it was before a stage."""
        workdir = self.workdir(stage, name)
        for earlier in STAGES[: STAGES.index(stage)]:
            shutil.copytree(self.alone / earlier, workdir / earlier)
        return workdir

    def workdir(self, stage: str, name: str) -> Path:
        """Of a trial on a stage."""
        return self._folder / name / stage

    def command_alone(self) -> list[str]:
        """Of all stages in one process."""
        return [sys.executable, "-m", "mim_tf.cluster_check.in_one_process", *self._options(self.alone)]

    def command(self, stage: str, workdir: Path, strategy: str) -> list[str]:
        """Of a training, as a user would type it."""
        chosen = ["--set", f"{stage}.strategy={strategy}"]
        return [sys.executable, "-m", "mim_tf.train", "--stage", stage, *self._options(workdir), *chosen]

    def logs(self, name: str) -> Path:
        """Where the processes of a trial print to."""
        return self._folder / "logs" / name

    def _options(self, workdir: Path) -> list[str]:
        return ["--config", str(self.config), "--workdir", str(workdir)]


def _empty(folder: Path) -> None:
    """Remove what an earlier check has left. In other commands `--workdir` is a run's, which took days to train."""
    marker = folder / _MARKER
    if not marker.exists() and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise StageError(
            f"`--workdir` must be empty or an earlier check's, which has a file {_MARKER}. Received: {folder}. Delete "
            "it, or name another folder."
        )
    folder.mkdir(parents=True, exist_ok=True)
    marker.touch()
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path != marker:
            path.unlink()
