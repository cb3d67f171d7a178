"""A model to be asked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from mim_tf.export.gate import Case


class Exported(NamedTuple):
    """A model's version and requests to it."""

    folder: Path
    cases: Sequence[Case]
    text_ops: bool = False

    @property
    def name(self) -> str:
        """As it is served."""
        return self.folder.parent.name

    @property
    def label(self) -> str:
        """For people: with the folder of models that it is in."""
        return f"{self.folder.parent.parent.name}/{self.name}"
