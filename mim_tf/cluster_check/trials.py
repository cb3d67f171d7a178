"""The trials: workers in step, a worker that is lost, parameter servers."""

from __future__ import annotations

import re
import time

from mim_tf.cluster_check.cluster import Cluster
from mim_tf.cluster_check.in_one_process import WORKERS
from mim_tf.cluster_check.outcome import COMPARED_EPOCHS, Outcome
from mim_tf.cluster_check.toy_run import ToyRun
from mim_tf.cluster_check.trial import Trial
from mim_tf.errors import StageError

# Seconds, of a machine that does much else: what takes longer hangs.
_PATIENCE = 900.0  # for a training
_LEAVING = 180.0  # in which those who lost another one have to leave
# The order in which floats are added is another in one process, and in stage 3, whose threads add gradients of rows, in
# each run; it tells more with each step. 6e-5 was seen, of the norm of csft's gradient, and 5e-6 of all else. A pair of
# impressions in another order changes an AUC by 1e-6.
_ROUNDING = 1e-3
_AGAIN = {"pretrain": 0.0, "csft": 0.0, "rank": _ROUNDING}  # stages 1 and 2: the same, to the bit
_WORKERS, _SERVERS = {"worker": WORKERS}, {"chief": 1, "worker": 2, "ps": 1}
_VICTIMS = {"pretrain": "worker 1", "csft": "worker 0", "rank": "worker 1"}  # worker 0 is the chief
_ADVICE = "another worker is lost. Run the same command again on all workers"


def train_alone(run: ToyRun) -> None:
    """Train all stages in one process as two workers do: the trials start from it, and are held against it."""
    with Cluster(run.command_alone(), {}, run.logs("alone")) as one:
        one.finish(2 * _PATIENCE)


def train_in_step(run: ToyRun, stage: str) -> Trial:
    """Two workers train a stage in step: both come to the same weights, and to what one process comes to.

    That one reads what the two read, each example once in an epoch, so none is left out here and none comes twice.
    """
    start, found = time.monotonic(), Outcome(run.before(stage, "in-step"), stage)
    with Cluster(run.command(stage, found.workdir, "multi_worker"), _WORKERS, run.logs(f"in-step-{stage}")) as cluster:
        cluster.finish(_PATIENCE)
        digests = _digests(cluster)
    seconds, alone = time.monotonic() - start, Outcome(run.alone, stage)
    difference = found.difference_from(alone)
    problem = _other_steps(found, alone) or _too_far(difference, _ROUNDING) or _disagreement(digests)
    return Trial(f"{stage}: in step", WORKERS, seconds, found.steps, found.value, difference, problem or found.problem)


def lose_a_worker(run: ToyRun, stage: str) -> Trial:
    """One of two workers is killed and comes back at once; the other one leaves by itself, and comes back too.

    They go on from the checkpoint, and come to what `train_in_step` came to.
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
    seconds, unbroken = time.monotonic() - start, Outcome(run.workdir(stage, "in-step"), stage)
    difference = found.difference_from(unbroken)
    problem = _other_steps(found, unbroken) or _too_far(difference, _AGAIN[stage]) or _disagreement(digests)
    problem = problem or _nothing_after(stage, saved) or found.problem
    problem = problem if continued else f"did not go on from {saved}"
    trial = Trial(f"{stage}: a worker lost", WORKERS, seconds, found.steps, found.value, difference, problem)
    return trial._replace(lost=victim, left_after=left_after, went_on_from=saved)


def train_with_servers(run: ToyRun) -> Trial:
    """A chief, two workers and a parameter server train stage 3."""
    start, found = time.monotonic(), Outcome(run.before("rank", "servers"), "rank")
    with Cluster(run.command("rank", found.workdir, "parameter_server"), _SERVERS, run.logs("servers")) as cluster:
        cluster.finish(_PATIENCE)
    return _with_servers("rank: servers", found, time.monotonic() - start)


def lose_workers_of_servers(run: ToyRun) -> Trial:
    """The same, and the chief goes on while a worker is killed amid a training, and another one between two of them."""
    start, found = time.monotonic(), Outcome(run.before("rank", "lost-workers"), "rank")
    with Cluster(run.command("rank", found.workdir, "parameter_server"), _SERVERS, run.logs("lost-workers")) as cluster:
        cluster.wait_until(lambda: found.saved > 0, "a checkpoint", _PATIENCE)
        _start_anew(cluster, "worker 1")
        cluster.wait_until(lambda: found.first_model_is_there, "the first model", _PATIENCE)
        _start_anew(cluster, "worker 0")
        cluster.finish(_PATIENCE)
    trial = _with_servers("rank: servers, workers lost", found, time.monotonic() - start)
    return trial._replace(lost="worker 1, worker 0")


def lose_the_server(run: ToyRun) -> Trial:
    """The same, and the parameter server, which holds the weights, is killed: all leave and are started again."""
    start, found = time.monotonic(), Outcome(run.before("rank", "lost-server"), "rank")
    with Cluster(run.command("rank", found.workdir, "parameter_server"), _SERVERS, run.logs("lost-server")) as cluster:
        cluster.wait_until(lambda: found.saved > 0, "a checkpoint", _PATIENCE)
        cluster.kill("ps 0")
        killed = time.monotonic()
        _leave(cluster, "chief 0")
        left_after, saved = time.monotonic() - killed, found.saved
        cluster.wait(_LEAVING)
        for task in cluster.tasks:
            cluster.start(task)
        cluster.finish(_PATIENCE)
        continued = found.continued(cluster.printed("chief 0"), saved)
    trial = _with_servers("rank: servers, ps lost", found, time.monotonic() - start)
    problem = trial.problem if continued else f"did not go on from {saved}"
    return trial._replace(lost="ps 0", left_after=left_after, went_on_from=saved, problem=problem)


def _with_servers(name: str, found: Outcome, seconds: float) -> Trial:
    """Workers that do not wait for each other come to other weights each time: what they learnt is judged alone."""
    return Trial(name, sum(_SERVERS.values()), seconds, None, found.value, None, found.problem)


def _start_anew(cluster: Cluster, victim: str) -> None:
    cluster.kill(victim)
    cluster.start(victim)


def _leave(cluster: Cluster, survivor: str) -> None:
    """Wait until a worker has left as it should when another one is lost."""
    [code] = cluster.wait(_LEAVING, [survivor]).values()
    if code != 1 or _ADVICE not in cluster.printed(survivor):
        raise StageError(f"{survivor} left with code {code}, and not by {_ADVICE!r}. {cluster.last_lines(survivor)}")


def _digests(cluster: Cluster) -> list[str]:
    """Of the last weights that each worker told."""
    return [re.findall(r"weights ([0-9a-f]{16})", cluster.printed(task))[-1] for task in cluster.tasks]


def _disagreement(digests: list[str]) -> str:
    return "" if len(set(digests)) == 1 else f"the workers' weights differ: {', '.join(digests)}"


def _other_steps(found: Outcome, expected: Outcome) -> str:
    return "" if found.steps == expected.steps else f"took {found.steps} steps instead of {expected.steps}"


def _nothing_after(stage: str, saved: int) -> str:
    is_late = stage == "rank" and saved >= COMPARED_EPOCHS
    return f"was killed after epoch {saved}, the last one that is compared" if is_late else ""


def _too_far(difference: float, limit: float) -> str:
    return "" if difference <= limit else f"differs by {difference:.2g}, more than {limit:g}"
