"""What there is to compute: each stage of each chain once, after the stages that it builds on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from mim_tf.experiment.chain import Chain
from mim_tf.workdir import earlier_stages


@dataclass(frozen=True)
class Task:
    """One stage of a chain.

    Attributes:
        workdir: of the stage, which is the task's name.
        stage: one of `STAGES`.
        chain: the first of those that have it.
        needs: workdirs of the stages that it builds on.
    """

    workdir: Path
    stage: str
    chain: Chain = field(compare=False)
    needs: tuple[Path, ...] = field(compare=False)

    @property
    def finished(self) -> bool:
        """Whether it has been computed."""
        return self.chain.folder(self.stage).finished


def tasks_of(wanted: Iterable[tuple[Chain, str]]) -> dict[Path, Task]:
    """The tasks that chains consist of, in an order in which they can run.

    Args:
        wanted: chains, and the stage of each that is wanted, with all before it.
    """
    tasks: dict[Path, Task] = {}
    for chain, last in wanted:
        if chain.pretrained is not None and last != "prepare":
            tasks |= {
                path: task for path, task in tasks_of([(chain.pretrained, "pretrain")]).items() if path not in tasks
            }
        for stage in (*earlier_stages(last, chain.settings), last):
            workdir = chain.workdir(stage)
            if workdir not in tasks:
                tasks[workdir] = Task(workdir, stage, chain, _needs(chain, stage))
    return tasks


def _needs(chain: Chain, stage: str) -> tuple[Path, ...]:
    needs = [chain.workdir(earlier) for earlier in earlier_stages(stage, chain.settings)]
    if chain.pretrained is not None and stage == "pretrain":
        needs.append(chain.pretrained.workdir("pretrain"))
    return tuple(needs)
