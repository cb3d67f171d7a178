"""What a training left in its workdir."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

_SPEED = ("seconds", "examples_per_second", "input_wait_share")  # not to be the same in another run
# Of stage 3, whose two models take rounding further with each epoch: AUCs that were alike to 5e-6 after two epochs
# differed by 0.02 after ten.
COMPARED_EPOCHS = 2
_MODELS = ("model-0", "base-0")
# Where each stage keeps the checkpoint that it goes on from, and the name of its final value and of its steps.
_CHECKPOINTS = {"pretrain": "image_text", "csft": ".", "rank": "model-0-backup"}
_VALUES = {"pretrain": "image_text_loss", "csft": "loss", "rank": "auc"}
_STEPS = {"pretrain": "image_text_steps", "csft": "steps"}
# Of a model that was not trained it is 0.5, with a standard error of 0.0154 on the toy run's 2,218 validation
# impressions, 440 of which are bought: five of these above is no chance.
_LEARNT_AUC = 0.58


class Outcome(NamedTuple):
    """A stage in a workdir.

    Args:
        workdir: of a run.
        stage: pretrain, csft or rank.
    """

    workdir: Path
    stage: str

    @property
    def metrics(self) -> dict[str, float]:
        """What the finished stage measured."""
        text = (self.workdir / self.stage / "metrics.json").read_text(encoding="utf-8")
        metrics: dict[str, float] = json.loads(text)
        return metrics

    @property
    def value(self) -> float:
        """The loss or, of stage 3, the AUC in the end."""
        return self.metrics[_VALUES[self.stage]]

    @property
    def steps(self) -> float | None:
        """Of the training; stage 3 does not say."""
        return self.metrics[_STEPS[self.stage]] if self.stage in _STEPS else None

    @property
    def problem(self) -> str:
        """That a click model knows hardly more than one that was not trained; "" of others."""
        if self.stage != "rank" or self.value >= _LEARNT_AUC:
            return ""
        return f"has learnt too little: its AUC is {self.value:.3f}, less than {_LEARNT_AUC:g}"

    @property
    def saved(self) -> int:
        """The step, of stage 3 the epoch, of the last checkpoint to go on from; 0 if there is none."""
        folder = self.workdir / self.stage / "checkpoints" / _CHECKPOINTS[self.stage]
        files = [*folder.glob("ckpt-*.index"), *folder.glob("chief/ckpt-*.index")]
        return max((int(file.stem.split("-")[1]) for file in files), default=0)

    def continued(self, printed: str, saved: int) -> bool:
        """Whether a process has printed that it went on from what was saved."""
        return f"continues at {'epoch' if self.stage == 'rank' else 'step'} {saved} of" in printed

    @property
    def first_model_is_there(self) -> bool:
        """Of stage 3: whether the first of its two trainings is over."""
        return (self.workdir / self.stage / "checkpoints" / "model-0.index").exists()

    def difference_from(self, other: Outcome) -> float:
        """The greatest difference of what was measured, of what is above 1 relative to it.

        Of stage 3 that of the AUCs of both models after the first epochs.
        """
        if self.stage == "rank":
            found, expected = self._first_aucs(), other._first_aucs()
        else:
            found, expected = self.metrics, other.metrics
        names = [name for name in expected if not name.endswith(_SPEED)]
        return max(abs(found[name] - expected[name]) / max(abs(expected[name]), 1) for name in names)

    def _first_aucs(self) -> dict[str, float]:
        """By model and epoch."""
        folder = self.workdir / self.stage / "checkpoints"
        aucs = {model: json.loads((folder / f"{model}-auc.json").read_text(encoding="utf-8")) for model in _MODELS}
        epochs = range(COMPARED_EPOCHS)
        return {f"{model} {epoch}": aucs[model][str(epoch)] for model in _MODELS for epoch in epochs}
