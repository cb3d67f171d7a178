"""What a training has shown so far, kept beside its checkpoints."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from mim_tf.workdir import write_aside

_FILE = "scalars.json"


@dataclass
class RunMetrics:
    """Scalars by name, of which the metrics of a stage are made.

    Attributes:
        training: means over the last loop of steps, and speed.
        start: what the evaluation gave before the first step.
        held_out: what it gave of the weights that would be handed over now.
    """

    training: dict[str, float] = field(default_factory=dict)
    start: dict[str, float] = field(default_factory=dict)
    held_out: dict[str, float] = field(default_factory=dict)

    def together(self) -> dict[str, float]:
        """All of them, those of the start named `start_...` and those on held-out records `held_out_...`."""
        return self.training | prefixed("start", self.start) | prefixed("held_out", self.held_out)

    def save(self, folder: Path) -> None:
        """Write them into a folder, whole or not at all."""
        write_aside(folder / _FILE, json.dumps(asdict(self)))

    @classmethod
    def load(cls, folder: Path) -> RunMetrics:
        """Read what `save` wrote."""
        return cls(**json.loads((folder / _FILE).read_text(encoding="utf-8")))


def prefixed(prefix: str, scalars: dict[str, float]) -> dict[str, float]:
    """Scalars under the names that metrics have, such as `held_out_loss`."""
    return {f"{prefix}_{name}": value for name, value in scalars.items()}
