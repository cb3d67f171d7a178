"""The workdir: one folder per stage, and what it takes for a stage to count as finished."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mim_tf.errors import MimError, StageError
from mim_tf.settings import OBJECTIVES, Settings, dump_settings, load_settings

STAGES = ("prepare", "pretrain", "csft", "represent", "rank")

# The sections that shape a stage's output, its upstream stages' included.
_SECTIONS = {
    "prepare": ("data", "seed"),
    "pretrain": ("data", "seed", "encoders", "pretrain"),
    "csft": ("data", "seed", "encoders", "pretrain", "csft"),
    "represent": ("data", "seed", "encoders", "pretrain", "csft", "represent"),
    "rank": ("data", "seed", "encoders", "pretrain", "csft", "represent", "rank"),
}

# The stages, and their sections, that an item encoder of an earlier run stands for.
_ENCODER_STAGES = ("pretrain", "csft")

# Settings that shape nothing before a later stage than the one whose section they are in.
_FIRST_USED_BY = {"represent.rows": "rank"}

# Where a training runs and what is watched of it, not what it trains: it may go on with others. How many replicas
# there are is no setting anyway.
_SHAPING_NOTHING = (
    *("pretrain.strategy", "csft.strategy", "rank.strategy"),
    *("csft.profile", "rank.profile", *(f"pretrain.{name}.profile" for name in OBJECTIVES)),
)

_COMMANDS = {"prepare": "python -m mim_tf.prepare"} | {
    stage: f"python -m mim_tf.train --stage {stage}" for stage in STAGES[1:]
}


def stages_of(settings: Settings) -> tuple[str, ...]:
    """The stages of a run, in their order: without those that make the encoder, where an earlier run's is given."""
    given = settings.represent.encoder is not None
    return tuple(stage for stage in STAGES if not (given and stage in _ENCODER_STAGES))


def earlier_stages(stage: str, settings: Settings) -> tuple[str, ...]:
    """The stages that `stage` builds on."""
    stages = STAGES if stage in _ENCODER_STAGES else stages_of(settings)
    return stages[: stages.index(stage)]


def settings_shaping(stage: str, settings: Settings) -> dict[str, Any]:
    """What of the settings shapes a stage's output, its earlier stages' included, as a tree of plain values.

    Defaults are left out, so that a setting that is new changes nothing.
    """
    tree = settings.model_dump(mode="json", exclude_defaults=True)
    ignored = {*_SHAPING_NOTHING, *_not_yet_used(stage)}
    left_out = () if stage in _ENCODER_STAGES or settings.represent.encoder is None else _ENCODER_STAGES
    sections = {name: _without(name, tree.get(name, {}), ignored) for name in _SECTIONS[stage] if name not in left_out}
    return {name: section for name, section in sections.items() if section != {}}


def _without(path: str, tree: Any, ignored: Collection[str]) -> Any:
    """A tree of plain values without what is ignored in it."""
    if not isinstance(tree, dict):
        return tree
    return {
        key: _without(f"{path}.{key}", value, ignored) for key, value in tree.items() if f"{path}.{key}" not in ignored
    }


def earlier_runs(stage: str, settings: Settings) -> list[StageFolder]:
    """The stages of other runs that `stage` builds on: what the click model starts from and trains on again."""
    if stage != "rank":
        return []
    started = [] if settings.rank.start_from is None else [StageFolder(settings.rank.start_from, "rank")]
    return [*started, *(StageFolder(workdir, "prepare") for workdir in settings.rank.replay)]


def sections_of(stage: str) -> tuple[str, ...]:
    """The sections of the settings that shape a stage's output, those of the stages before it included."""
    return _SECTIONS[stage]


class StageFolder:
    """`<workdir>/<stage>/`: checkpoints/, tensorboard/, settings.yaml, upstream.json; once finished, metrics.json.

    `metrics.json` is written last and in one rename, so its presence means that all the rest is whole.

    Args:
        workdir: the run's folder.
        stage: one of `STAGES`.
    """

    def __init__(self, workdir: str | Path, stage: str):
        if stage not in STAGES:
            raise ValueError(f"`stage` must be one of {', '.join(STAGES)}. Received: {stage!r}.")
        self.stage = stage
        self.workdir = Path(workdir)
        self.path = self.workdir / stage
        self.checkpoints = self.path / "checkpoints"
        self.tensorboard = self.path / "tensorboard"

    @property
    def finished(self) -> bool:
        """Whether the stage ran to its end."""
        return self._metrics_file.exists()

    @property
    def metrics(self) -> dict[str, float]:
        """What the finished stage measured."""
        metrics: dict[str, float] = json.loads(self._metrics_file.read_text(encoding="utf-8"))
        return metrics

    @property
    def settings(self) -> Settings:
        """The settings that it was made with."""
        return load_settings(self._settings_file)

    @contextmanager
    def begin(self, settings: Settings) -> Iterator[None]:
        """Work in the folder under `settings`, alone, keeping what an interrupted run left in it.

        Settings that the stage refuses before it has made anything are not remembered. A run that goes on under another
        `strategy`, or with another `profile`, leaves the new one in settings.yaml.

        Raises:
            StageError: the folder was made with other settings, or another process works in it.
        """
        self.check(settings)
        self.path.mkdir(parents=True, exist_ok=True)
        with exclusive(self.path):
            made_from = self._made_from() | self._upstream(settings)  # an earlier run may have been deleted since
            write_aside(self._upstream_file, json.dumps(made_from, indent=2) + "\n")
            write_aside(self._settings_file, dump_settings(settings))  # `check` goes by this one
            try:
                yield
            except (MimError, KeyboardInterrupt):
                if not self._holds_work():  # the settings are what is to be mended: do not hold on to them
                    self._settings_file.unlink()
                raise

    def check(self, settings: Settings) -> None:
        """Refuse settings, and runs of the earlier stages, other than those the folder was made with.

        A training's `strategy` may differ: a checkpoint goes on with any number of replicas. So may its `profile`.

        Raises:
            StageError: naming every setting that differs, or the stage that was run again.
        """
        if not self._settings_file.exists():
            return
        # What was not yet a setting then had what is its default now.
        then, now = (made.model_dump(mode="json") for made in (self.settings, settings))
        given = any(tree["represent"].get("encoder") for tree in (then, now)) and self.stage not in _ENCODER_STAGES
        left_out = _ENCODER_STAGES if given else ()
        for stage in STAGES[: STAGES.index(self.stage) + 1]:  # the earliest one concerned is the one to run again
            sections = [name for name in _SECTIONS[stage] if stage not in left_out and name not in left_out]
            ignored = _not_yet_used(stage)
            changes = [line for name in sections for line in changed_settings(name, then[name], now[name], ignored)]
            if changes:
                again = ", ".join(STAGES[STAGES.index(stage) :])
                raise StageError(
                    f"{self.path} was made with other settings: {'; '.join(changes)}. Use another --workdir, or delete "
                    f"{self.workdir / stage} and the stages after it ({again}) to run them again."
                )
        self._check_upstream(settings)

    def require(self, settings: Settings, options: str) -> StageFolder:
        """This folder, if its stage is finished under these settings.

        Args:
            settings: of the run.
            options: of the command line, `--config ... --workdir ...` and perhaps `--set ...`, for the error to name.

        Raises:
            StageError: it is not; the message names the command to run.
        """
        if not self.finished:
            raise StageError(f"{self.path} is not finished. Run first: {_COMMANDS[self.stage]} {options}")
        self.check(settings)
        return self

    def finish(self, metrics: Mapping[str, float]) -> None:
        """Write the metrics, which marks the stage as finished."""
        write_aside(self._metrics_file, json.dumps(dict(metrics), indent=2) + "\n")

    def _holds_work(self) -> bool:
        names = {path.name for path in self.path.iterdir() if path.suffix != ".partial"}
        return bool(names - {".lock", self._settings_file.name, self._upstream_file.name})

    def _upstream(self, settings: Settings) -> dict[str, str]:
        """Which runs of the earlier stages are there: a digest of their metrics, which hold the seconds they took.

        Stages of other runs go by their paths.
        """
        earlier = {stage: StageFolder(self.workdir, stage) for stage in earlier_stages(self.stage, settings)}
        earlier |= {str(folder.path): folder for folder in earlier_runs(self.stage, settings)}
        return {
            name: hashlib.sha256(folder._metrics_file.read_bytes()).hexdigest()
            for name, folder in earlier.items()
            if folder.finished
        }

    def _made_from(self) -> dict[str, str]:
        """The digests that were noted when the stage began."""
        if not self._upstream_file.exists():
            return {}
        digests: dict[str, str] = json.loads(self._upstream_file.read_text(encoding="utf-8"))
        return digests

    def _check_upstream(self, settings: Settings) -> None:
        made_from = self._made_from()
        for stage, digest in self._upstream(settings).items():
            if made_from.get(stage, digest) != digest:
                raise StageError(
                    f"{self.path} was made from an earlier run of {stage}. Delete {self.path} to run it again."
                )

    @property
    def _upstream_file(self) -> Path:
        return self.path / "upstream.json"

    @property
    def _settings_file(self) -> Path:
        return self.path / "settings.yaml"

    @property
    def _metrics_file(self) -> Path:
        return self.path / "metrics.json"


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Work in a folder alone.

    Raises:
        StageError: another process works in it.
    """
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the system lets go of it however the process ends
        except OSError as error:
            raise StageError(f"another process works in {folder}. Wait for it, or stop it.") from error
        yield


def write_aside(path: Path, text: str) -> None:
    """Write `path` so that it is at any moment absent, the old text or the new text, never a part."""
    aside = path.with_name(path.name + ".partial")
    aside.write_text(text, encoding="utf-8")
    os.replace(aside, path)


def fresh_folder_aside(path: Path) -> Path:
    """An empty folder next to `path`, to be filled and then renamed to it; leftovers of a killed run are removed."""
    aside = path.with_name(path.name + ".partial")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    return aside


def _not_yet_used(stage: str) -> set[str]:
    """Settings that a stage does not read, though its sections hold them."""
    return {path for path, first in _FIRST_USED_BY.items() if STAGES.index(first) > STAGES.index(stage)}


def changed_settings(path: str, then: Any, now: Any, ignored: Collection[str] = ()) -> list[str]:
    """Where two trees of plain values differ, as `key was old, now new`, but for what shapes no result."""
    if isinstance(then, dict) and isinstance(now, dict):
        return [
            change
            for key in {**then, **now}
            for change in changed_settings(f"{path}.{key}", then.get(key), now.get(key), ignored)
        ]
    same = then == now or path in _SHAPING_NOTHING or path in ignored
    return [] if same else [f"{path} was {then!r}, now {now!r}"]
