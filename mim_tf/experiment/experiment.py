"""An experiment: the chains of all versions and seeds, computed as far as time allows, and what they have shown."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from mim_tf.errors import SettingsError
from mim_tf.experiment.chain import Chain, changed
from mim_tf.experiment.lanes import Lanes
from mim_tf.experiment.measured import Outcome, same_impressions
from mim_tf.experiment.task import Task, tasks_of
from mim_tf.experiment.versions import Version, mim
from mim_tf.settings import Settings
from mim_tf.training.scoring import Scored, predictions_path

NO_CLICK_MODEL = "`data.impressions` is not set, so there is no click model"


class Experiment:
    """Computes versions of a run, several seeds of each, in the run's workdir.

    A seed is a whole chain: preparation, encoders and click model begin anew with it, so intervals over seeds hold the
    chance in all of them. Seeds are computed one after the other, so that an experiment that was stopped, or ran out of
    its budget, has whole ones. What is finished is never computed again.

    Args:
        settings: of the run.
        workdir: its folder.
        lanes: stages computed side by side.
        budget: seconds from now on, after which no stage is begun, and no seed that would not be through by then; None:
            no bound. A stage that runs ends.
        say: is told of what is computed.

    Raises:
        SettingsError: settings that several chains cannot share.
    """

    def __init__(
        self,
        settings: Settings,
        workdir: Path,
        *,
        lanes: int = 1,
        budget: float | None = None,
        say: Callable[[str], None] = print,
    ):
        _check(settings)
        self.settings = settings
        self._stages = workdir.resolve() / "stages"  # which settings of chains name, however it was called
        self._lanes = Lanes(lanes, workdir / "logs", say)
        self._lane_count, self._deadline = lanes, float("inf") if budget is None else time.monotonic() + budget
        self._failed: dict[Path, str] = {}
        self._scored: dict[Path, Scored] = {}
        self._of_seed: dict[int, Scored] = {}

    @property
    def last_stage(self) -> str:
        """The stage that versions are measured after: without an impression log there is no click model."""
        return "csft" if self.settings.data.impressions is None else "rank"

    def chain(self, version: Version, seed: int) -> Chain:
        """A version's chain of one seed.

        Raises:
            SettingsError: the version's changes do not fit the settings.
        """
        settings = changed(self.settings, {**version.changes, "seed": self.settings.seed + seed, "rank.seeds": 1})
        own = {f"rank.{name}": value for name, value in settings.experiment.ubms.get(settings.rank.ubm, {}).items()}
        chain = Chain(changed(settings, own), self._stages)
        encoders = (settings.encoders.vision, settings.encoders.text)
        anew = any(encoder.projection == "principal" for encoder in encoders)  # from the weights it is given
        if settings.data == self.settings.data or anew:
            return chain
        # Other pairs of the same items: stage 1 would learn the same once more.
        return chain.with_encoders_of(self.chain(mim(self.settings), seed))

    def compute(self, versions: Iterable[Version]) -> None:
        """Compute all seeds of versions, as far as the budget allows; those with a reason not to are left out."""
        versions, longest = list(versions), 0.0
        for seed in range(self.settings.experiment.seeds):
            begun = time.monotonic()
            tasks = tasks_of((chain, self.last_stage) for chain in self._chains(versions, seed))
            through = begun + longest <= self._deadline or all(task.finished for task in tasks.values())
            deadline = self._deadline if through or seed == 0 else float("-inf")
            self._failed |= self._lanes.compute(tasks, deadline)
            longest = max(longest, time.monotonic() - begun, self._noted(tasks.values()))

    def _noted(self, tasks: Iterable[Task]) -> float:
        """How long stages took that may have been computed before, in seconds, spread over the lanes."""
        seconds = (task.chain.folder(task.stage).metrics.get("seconds", 0.0) for task in tasks if task.finished)
        return sum(seconds) / self._lane_count

    def outcome(self, version: Version) -> Outcome:
        """What a version's finished chains have shown."""
        if version.reason is not None:
            return Outcome(version.name, {}, {}, version.reason)
        if version.of_click_model and self.last_stage == "csft":
            return Outcome(version.name, {}, {}, NO_CLICK_MODEL)
        try:
            chains = {seed: self.chain(version, seed) for seed in range(self.settings.experiment.seeds)}
        except SettingsError as error:
            return Outcome(version.name, {}, {}, " ".join(str(error).split()).removesuffix("."))
        embeds = version.variant == "model"
        measured = {seed: chain.folder("csft") for seed, chain in chains.items() if embeds and "csft" in chain.stages}
        retrieval = {seed: folder.metrics for seed, folder in measured.items() if folder.finished}
        done = {seed: chain for seed, chain in chains.items() if chain.folder(self.last_stage).finished}
        ranked = done if self.last_stage == "rank" else {}
        scored = {seed: self._predictions(chain, version.variant) for seed, chain in ranked.items()}
        missing = [self._why(chain) for seed, chain in chains.items() if seed not in done]
        return Outcome(version.name, scored, retrieval, _told(missing, len(chains)))

    def link(self, version: Version, link: Path) -> None:
        """Make a link to the workdir of a version's first seed, as far as it has come to the last stage."""
        if self.missing(version, self.last_stage) is None:
            link.unlink(missing_ok=True)
            link.symlink_to(os.path.relpath(self.chain(version, 0).workdir(self.last_stage), link.parent))

    def missing(self, version: Version, stage: str) -> str | None:
        """Why a version's first seed has not come to a stage, if so."""
        try:
            chain = self.chain(version, 0)
        except SettingsError as error:
            return " ".join(str(error).split()).removesuffix(".")
        if stage in chain.stages and chain.folder(stage).finished:
            return None
        return self._failed.get(chain.workdir(stage), "not computed")

    def _chains(self, versions: Iterable[Version], seed: int) -> Iterator[Chain]:
        for version in versions:
            if version.reason is None:
                with suppress(SettingsError):  # `outcome` tells of it
                    yield self.chain(version, seed)

    def _predictions(self, chain: Chain, variant: str) -> Scored:
        """A click model's predictions; of all that is alike in a seed's versions one copy is kept."""
        path = predictions_path(chain.workdir("rank"), variant, 0)
        if path not in self._scored:
            scored, first = Scored.load(path), self._of_seed.get(chain.settings.seed)
            if first is not None and same_impressions(scored, first):
                scored = first._replace(probabilities=scored.probabilities)
            self._of_seed.setdefault(chain.settings.seed, scored)
            self._scored[path] = scored
        return self._scored[path]

    def _why(self, chain: Chain) -> str:
        return self._failed.get(chain.workdir(self.last_stage), "not computed")


def _told(reasons: list[str], seeds: int) -> str | None:
    """Why seeds are missing, each reason once."""
    if not reasons:
        return None
    of = "" if len(reasons) == seeds else f"{len(reasons)} of {seeds} seeds are missing: "
    return of + "; ".join(dict.fromkeys(reasons))


def _check(settings: Settings) -> None:
    shared = {
        "data.records": settings.data.records,
        "represent.store": settings.represent.store,
        "rank.start_from": settings.rank.start_from,
    }
    for name, value in shared.items():
        if value is not None:
            raise SettingsError(
                f"`{name}` must be left out of an experiment, whose chains are many. Received: {value}."
            )
