"""A chain of stages, and how chains that have stages in common compute them once."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mim_tf.settings import OBJECTIVES, Settings, dump_settings, parse_settings
from mim_tf.workdir import StageFolder, earlier_stages, settings_shaping, stages_of, write_aside

_DIGITS = 12


@dataclass(frozen=True)
class Chain:
    """A run of the experiment: its settings, and where its stages are.

    Each stage has a workdir of its own, `<root>/<stage>-<digest>/`, named after the settings that shape the stage. It
    holds the stage's folder, links to those of the earlier stages, and `run.yaml`: a workdir like any other, for all
    commands. Chains whose settings agree up to a stage share it.

    Attributes:
        settings: of the whole run.
        root: folder of all chains' stages.
        pretrained: the chain whose encoders this one begins with, if they are another's.
    """

    settings: Settings
    root: Path
    pretrained: Chain | None = None

    @property
    def stages(self) -> tuple[str, ...]:
        """Its stages, in their order."""
        return stages_of(self.settings)

    def workdir(self, stage: str) -> Path:
        """The workdir of one of its stages."""
        shaping = json.dumps(settings_shaping(stage, self.settings), sort_keys=True)
        return self.root / f"{stage}-{hashlib.sha256(shaping.encode()).hexdigest()[:_DIGITS]}"

    def folder(self, stage: str) -> StageFolder:
        """The folder of one of its stages, finished or not."""
        return StageFolder(self.workdir(stage), stage)

    def begin(self, stage: str) -> Path:
        """Make a stage's workdir, with links to the earlier stages.

        Returns:
            `run.yaml` in it, the settings to run the stage with.
        """
        workdir = self.workdir(stage)
        workdir.mkdir(parents=True, exist_ok=True)
        for earlier in earlier_stages(stage, self.settings):
            link = workdir / earlier
            if not link.is_symlink():
                link.symlink_to(os.path.relpath(self.folder(earlier).path, workdir))
        config = workdir / "run.yaml"
        write_aside(config, dump_settings(self.settings))
        return config

    def with_encoders_of(self, other: Chain) -> Chain:
        """The same chain, which begins with the encoders that another one's stage 1 leaves, and trains none itself."""
        left = other.folder("pretrain").path
        weights: dict[str, Any] = {f"encoders.{name}.weights": str(left / name) for name in ("vision", "text")}
        return replace(self, settings=changed(self.settings, weights | without_pretraining()), pretrained=other)


def changed(settings: Settings, changes: Mapping[str, Any]) -> Settings:
    """Settings with others in their place.

    Args:
        settings: of a run.
        changes: by name, as `rank.ubm`.

    Raises:
        SettingsError: they do not fit together.
    """
    tree = settings.model_dump(mode="json")
    for name, value in changes.items():
        *sections, last = name.split(".")
        section = tree
        for key in sections:
            section = section[key]
        section[last] = value
    return parse_settings(tree, source=", ".join(changes))


def without_pretraining(*kept: str) -> dict[str, None]:
    """The changes that leave all of stage 1 out but for some objectives."""
    return {f"pretrain.{name}": None for name in OBJECTIVES if name not in kept}
