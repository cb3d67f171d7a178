"""The trials: workers in step, a worker that is lost, parameter servers."""

from __future__ import annotations

import re
import sys
import time

from mim_tf.cluster_check.cluster import Cluster
from mim_tf.cluster_check.in_one_process import WORKERS
from mim_tf.cluster_check.outcome import Outcome
from mim_tf.cluster_check.toy_run import ToyRun
from mim_tf.cluster_check.trial import Trial
from mim_tf.errors import StageError

_PATIENCE = 400.0  # seconds for a training
_LEAVING = 60.0  # seconds in which those who lost another one have to leave
_ROUNDING = 1e-4  # it grows over the steps; 3e-6 were seen
_AUC_BAND = 0.04  # of another order of the impressions: 0.013 and 0.017 were seen, and 0.015 is its standard error
_SERVERS_BAND = 0.08  # of workers that do not wait for each other, too: 0.055 was seen
_SAME_ORDER_BAND = 1e-3  # of rounding: 1.3e-6 was seen, one pair of impressions in another order
_WORKERS, _SERVERS = {"worker": WORKERS}, {"chief": 1, "worker": 2, "ps": 1}
_VICTIMS = {"pretrain": "worker 1", "csft": "worker 0", "rank": "worker 1"}  # worker 0 is the chief
_ADVICE = "another worker is lost. Run the same command again on all workers"


def train_alone(run: ToyRun) -> None:
    """Train all stages in one process; the trials start from what it leaves, and are held against it."""
    with Cluster(run.command("all", run.alone), {}, run.logs("alone")) as one:
        one.finish(2 * _PATIENCE)


def train_in_step(run: ToyRun, stage: str) -> Trial:
    """Two workers train a stage in step, and come to the same weights.

    Stages 1 and 2 are held against one process that reads what the two workers read; stage 3 against the one that
    trained alone, in another order.
    """
    start, found = time.monotonic(), Outcome(run.before(stage, "in-step"), stage)
    with Cluster(run.command(stage, found.workdir, "multi_worker"), _WORKERS, run.logs(f"in-step-{stage}")) as cluster:
        cluster.finish(_PATIENCE)
        digests = _digests(cluster)
    seconds = time.monotonic() - start
    difference = found.difference_from(Outcome(run.alone, stage) if stage == "rank" else _in_one_process(run, stage))
    limit = _AUC_BAND if stage == "rank" else _ROUNDING
    problem = _too_far(difference, limit) or _disagreement(digests) or found.problem
    return Trial(f"{stage}: in step", WORKERS, seconds, found.steps, found.value, difference, problem)


def lose_a_worker(run: ToyRun, stage: str) -> Trial:
    """One of two workers is killed and comes back at once; the other one leaves by itself, and comes back too.

    Stages 1 and 2 come to what `train_in_step` came to, to the bit; stage 3, whose epochs are the same again, near it.
    """
    start, found, victim = time.monotonic(), Outcome(run.before(stage, "lost"), stage), _VICTIMS[stage]
    with Cluster(run.command(stage, found.workdir, "multi_worker"), _WORKERS, run.logs(f"lost-{stage}")) as cluster:
        cluster.wait_until(lambda: found.saved > 0, "a checkpoint", _PATIENCE)
        cluster.kill(victim)
        killed = time.monotonic()
        cluster.start(victim)
        [survivor] = [task for task in cluster.tasks if task != victim]
        _leave(cluster, survivor)
        left_after, saved = time.monotonic() - killed, found.saved
        cluster.start(survivor)
        cluster.finish(_PATIENCE)
        digests, continued = _digests(cluster), found.continued(cluster.printed("worker 0"), saved)
    seconds = time.monotonic() - start
    difference = found.difference_from(Outcome(run.workdir(stage, "in-step"), stage))
    problem = _too_far(difference, _SAME_ORDER_BAND if stage == "rank" else 0.0) or _disagreement(digests)
    problem = (problem or found.problem) if continued else f"did not go on from {saved}"
    trial = Trial(f"{stage}: a worker lost", WORKERS, seconds, found.steps, found.value, difference, problem)
    return trial._replace(lost=victim, left_after=left_after, went_on_from=saved)


def train_with_servers(run: ToyRun) -> Trial:
    """A chief, two workers and a parameter server train stage 3."""
    start, found = time.monotonic(), Outcome(run.before("rank", "servers"), "rank")
    with Cluster(run.command("rank", found.workdir, "parameter_server"), _SERVERS, run.logs("servers")) as cluster:
        cluster.finish(_PATIENCE)
    return _with_servers(run, "rank: servers", found, time.monotonic() - start)


def lose_a_server(run: ToyRun, victim: str) -> Trial:
    """The same, and a task is killed and comes back.

    Without a worker the chief goes on. Without the parameter server, which holds the weights, all leave and are started
    again.
    """
    name, saved = f"lost-{victim.replace(' ', '-')}", None
    start, found = time.monotonic(), Outcome(run.before("rank", name), "rank")
    with Cluster(run.command("rank", found.workdir, "parameter_server"), _SERVERS, run.logs(name)) as cluster:
        cluster.wait_until(lambda: found.saved > 0, "a checkpoint", _PATIENCE)
        cluster.kill(victim)
        killed, left_after = time.monotonic(), None
        if victim.startswith("ps"):
            _leave(cluster, "chief 0")
            left_after, saved = time.monotonic() - killed, found.saved
            cluster.wait(_LEAVING)
        for task in [victim] if left_after is None else cluster.tasks:
            cluster.start(task)
        cluster.finish(_PATIENCE)
        printed = cluster.printed("chief 0")
    trial = _with_servers(run, f"rank: servers, {victim[:-2]} lost", found, time.monotonic() - start)
    if saved is not None and not found.continued(printed, saved):
        trial = trial._replace(problem=f"did not go on from {saved}")
    return trial._replace(lost=victim, left_after=left_after, went_on_from=saved)


def _with_servers(run: ToyRun, name: str, found: Outcome, seconds: float) -> Trial:
    difference = found.difference_from(Outcome(run.alone, "rank"))
    problem = _too_far(difference, _SERVERS_BAND) or found.problem
    return Trial(name, sum(_SERVERS.values()), seconds, None, found.value, difference, problem)


def _leave(cluster: Cluster, survivor: str) -> None:
    """Wait until a worker has left as it should when another one is lost."""
    [code] = cluster.wait(_LEAVING, [survivor]).values()
    if code != 1 or _ADVICE not in cluster.printed(survivor):
        raise StageError(f"{survivor} left with code {code}, and not by {_ADVICE!r}. {cluster.last_lines(survivor)}")


def _in_one_process(run: ToyRun, stage: str) -> Outcome:
    workdir = run.before(stage, "in-one-process")
    options = ["--stage", stage, "--config", str(run.config), "--workdir", str(workdir)]
    command = [sys.executable, "-m", "mim_tf.cluster_check.in_one_process", *options]
    with Cluster(command, {}, run.logs(f"in-one-process-{stage}")) as one:
        one.finish(_PATIENCE)
    return Outcome(workdir, stage)


def _digests(cluster: Cluster) -> list[str]:
    """Of the last weights that each worker told."""
    return [re.findall(r"weights ([0-9a-f]{16})", cluster.printed(task))[-1] for task in cluster.tasks]


def _disagreement(digests: list[str]) -> str:
    return "" if len(set(digests)) == 1 else f"the workers' weights differ: {', '.join(digests)}"


def _too_far(difference: float, limit: float) -> str:
    return "" if difference <= limit else f"differs by {difference:.2g}, more than {limit:g}"
