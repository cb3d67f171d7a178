"""Which stages there are, which Keras each needs, and what it takes to run one."""

from __future__ import annotations

import importlib
import time
from pathlib import Path

from mim_tf.commandline import set_keras_mode
from mim_tf.engine import LOCAL, Engine
from mim_tf.errors import StageError
from mim_tf.settings import RankStrategy, Settings
from mim_tf.training.workers import await_finish, worker_of
from mim_tf.workdir import STAGES, StageFolder, earlier_stages

# TFRS refuses Keras 3, keras-nlp is Keras 3 only: the mode belongs to the process, hence to the stage it runs.
LEGACY_KERAS_STAGES = frozenset({"rank"})

# Those whose work is on tables: a cluster can do it.
ENGINE_STAGES = frozenset({"prepare", "represent"})

# Those of which TensorBoard shows the hyper-parameters here; `rank` shows those of each of its trainings itself.
_SHOWN_STAGES = frozenset({"pretrain", "csft", "represent"})

# Imported when it runs: with TensorFlow, so after the mode was chosen.
_MODULES = {stage: f"mim_tf.training.{stage}" for stage in STAGES}


def run_stage(
    stage: str, settings: Settings, workdir: Path, options: str, cpu_devices: int = 1, *, engine: Engine = LOCAL
) -> None:
    """Run a stage unless it is finished.

    Args:
        stage: one of `STAGES`.
        settings: of the whole run.
        workdir: folder of the run.
        options: of the command line, for errors to name the command to run first.
        cpu_devices: as how many devices TensorFlow sees the CPU.
        engine: where the tables of `prepare` and `represent` are worked on.

    Raises:
        StageError: an earlier stage is missing or was made with other settings, or another process works on this one.
    """
    folder = StageFolder(workdir, stage)
    if folder.finished:
        folder.check(settings)
        print(f"{stage}: finished already, see {folder.path}", flush=True)
        return
    for earlier in earlier_stages(stage, settings):
        StageFolder(workdir, earlier).require(settings, options)
    worker = worker_of(strategy_of(stage, settings))
    if worker.serves:
        importlib.import_module("mim_tf.training.task_server").serve(worker)
        if not folder.finished:
            raise StageError(
                "the chief has gone before the stage was finished. Run the same command again on all tasks."
            )
        print(f"{stage}: {worker.task} is done", flush=True)
        return
    if not worker.is_chief:  # who alone has the folder, and writes into it
        folder.check(settings)
        _run(stage, settings, workdir, cpu_devices, engine)
        await_finish(worker, lambda: folder.finished)
        print(f"{stage}: worker {worker.index} is done", flush=True)
        return
    with folder.begin(settings):
        if folder.finished:  # by another process, since we looked
            return
        print(f"{stage}: started in {folder.path}", flush=True)
        metrics = _run(stage, settings, workdir, cpu_devices, engine)
        if stage in _SHOWN_STAGES:
            importlib.import_module("mim_tf.training.hyper_parameters").write_hyper_parameters(
                folder, settings, metrics
            )
        folder.finish(metrics)
    print(f"{stage}: " + "  ".join(f"{name} {value:.5g}" for name, value in metrics.items()), flush=True)


def check_early(settings: Settings) -> None:
    """Refuse what only the last stage would find out, hours later.

    Raises:
        SettingsError: `rank.ubm_options` does not fit `rank.ubm`.
        StageError: `rank.start_from` or `rank.replay` names a run that does not serve.
    """
    set_keras_mode(legacy=False)  # that of the first stage
    importlib.import_module("mim_tf.training.behaviour_model").behaviour_model(settings.rank)
    if settings.rank.start_from is not None or settings.rank.replay:
        importlib.import_module("mim_tf.training.earlier_run").check_earlier_runs(settings)


def _run(stage: str, settings: Settings, workdir: Path, cpu_devices: int, engine: Engine) -> dict[str, float]:
    set_keras_mode(legacy=stage in LEGACY_KERAS_STAGES)
    if cpu_devices > 1:
        importlib.import_module("mim_tf.training.strategies").split_cpu(cpu_devices)
    on = {"engine": engine} if stage in ENGINE_STAGES else {}
    start = time.monotonic()
    metrics: dict[str, float] = importlib.import_module(_MODULES[stage]).run(settings, workdir, **on)
    metrics.setdefault("seconds", time.monotonic() - start)  # some stages time what matters in them
    return metrics


def strategy_of(stage: str, settings: Settings) -> RankStrategy:
    """Where a stage runs."""
    strategies: dict[str, RankStrategy] = {
        "pretrain": settings.pretrain.strategy,
        "csft": settings.csft.strategy,
        "rank": settings.rank.strategy,
    }
    return strategies.get(stage, "one_device")
