"""Which versions of the store a training has used."""

from __future__ import annotations

import json
from pathlib import Path

from mim_tf.workdir import write_aside


class TableVersions:
    """The versions that a training's table began with and has now, in a file beside its checkpoints.

    So a training that was stopped still knows the first, and workers read there what their chief has chosen.

    Args:
        path: prefix of the training's files.
    """

    def __init__(self, path: Path):
        self._file = path.with_name(f"{path.name}-store.json")

    @property
    def first(self) -> int:
        """The version that the training began with."""
        return self._read()["first"]

    @property
    def last(self) -> int:
        """The version that it has, or had at its end."""
        return self._read()["last"]

    @property
    def known(self) -> bool:
        """Whether there are any: not where no table was used."""
        return self._file.exists()

    def note(self, version: int) -> None:
        """Remember that the table has a version now; for the chief alone."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        write_aside(self._file, json.dumps({"first": self.first if self.known else version, "last": version}))

    def _read(self) -> dict[str, int]:
        versions: dict[str, int] = json.loads(self._file.read_text(encoding="utf-8"))
        return versions
