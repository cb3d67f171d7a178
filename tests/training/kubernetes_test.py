"""The manifests of mim_tf/training/kubernetes: the pods' names, their `TF_CONFIG`, what makes a Job go on."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from mim_tf.settings import load_settings
from mim_tf.training.stages import strategy_of
from mim_tf.training.workers import Worker, worker_of

FOLDER = Path(__file__).parents[2] / "mim_tf" / "training" / "kubernetes"
STAGES = ("pretrain", "csft", "rank")
Document = dict[str, Any]


class Pod(NamedTuple):
    """A pod of a workload, as Kubernetes would start it."""

    address: str
    spec: Document
    labels: dict[str, str]
    environment: dict[str, str]
    arguments: list[str]


def built(folder: str) -> list[Document]:
    """What `kubectl apply -k` would send."""
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not on the PATH")
    command = ["kubectl", "kustomize", str(FOLDER / folder)]
    text = subprocess.run(command, check=True, capture_output=True, text=True, timeout=300).stdout
    return list(yaml.safe_load_all(text))


def expanded(text: str, known: dict[str, str]) -> str:
    """$(NAME) replaced as Kubernetes does: by what stands above it; another one stays as it is."""
    return re.sub(r"\$\((\w+)\)", lambda found: known.get(found[1], found[0]), text)


def pods(documents: list[Document]) -> Iterator[Pod]:
    """All pods of Jobs and StatefulSets, in the order of their names."""
    maps = {one["metadata"]["name"]: one["data"] for one in documents if one["kind"] == "ConfigMap"}
    workloads = [one for one in documents if one["kind"] in ("Job", "StatefulSet")]
    for workload in sorted(workloads, key=lambda one: one["metadata"]["name"]):
        spec, name = workload["spec"], workload["metadata"]["name"]
        pod = spec["template"]["spec"]
        domain = pod["subdomain"] if workload["kind"] == "Job" else spec["serviceName"]
        [container] = pod["containers"]
        [port] = container["ports"]
        for index in range(spec["completions"] if workload["kind"] == "Job" else spec["replicas"]):
            environment: dict[str, str] = {}
            for variable in container["env"]:
                source = variable.get("valueFrom", {})
                if "fieldRef" in source:
                    assert source["fieldRef"]["fieldPath"] == (
                        "metadata.annotations['batch.kubernetes.io/job-completion-index']"
                        if workload["kind"] == "Job"
                        else "metadata.labels['apps.kubernetes.io/pod-index']"
                    )
                    value = str(index)
                elif source:
                    value = maps[source["configMapKeyRef"]["name"]][source["configMapKeyRef"]["key"]]
                else:
                    value = expanded(variable["value"], environment)
                environment[variable["name"]] = value
            arguments = [expanded(argument, environment) for argument in container["args"]]
            address = f"{name}-{index}.{domain}:{port['containerPort']}"
            yield Pod(address, pod, spec["template"]["metadata"]["labels"], environment, arguments)


def options_of(pod: Pod) -> dict[str, str]:
    return dict(argument.removeprefix("--").split("=", 1) for argument in pod.arguments)


def strategy_asked_for(pod: Pod, folder: Path) -> tuple[str, str]:
    """The stage and its strategy, by what a pod's arguments set."""
    options, config = options_of(pod), folder / "shop.yaml"
    config.write_text("data: {items: items.parquet}")
    return options["stage"], strategy_of(options["stage"], load_settings(config, [options["set"]]))


@pytest.mark.parametrize("stage", STAGES)
def test_each_pod_of_a_stage_is_a_worker(stage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = list(pods(built(stage)))
    assert [pod.address for pod in found] == [f"{stage}-{index}.trainers:2222" for index in range(2)]
    for index, pod in enumerate(found):
        monkeypatch.setenv("TF_CONFIG", pod.environment["TF_CONFIG"])
        assert worker_of("multi_worker") == Worker(index, tuple(pod.address for pod in found))
        assert strategy_asked_for(pod, tmp_path) == (stage, "multi_worker")


def test_each_pod_with_servers_is_a_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = {pod.address: pod for pod in pods(built("servers"))}
    tasks = ["chief 0", "worker 0", "worker 1", "ps 0", "ps 1"]
    addresses = tuple(f"rank-{task.replace(' ', '-')}.trainers:2222" for task in tasks)
    assert set(found) == set(addresses)
    for number, (address, task) in enumerate(zip(addresses, tasks, strict=True)):
        monkeypatch.setenv("TF_CONFIG", found[address].environment["TF_CONFIG"])
        assert worker_of("parameter_server") == Worker(number, addresses, task)
        assert strategy_asked_for(found[address], tmp_path) == ("rank", "parameter_server")


@pytest.mark.parametrize("folder", [*STAGES, "servers"])
def test_pods_have_names_volumes_and_few_rights(folder: str) -> None:
    shared = built("shared")
    [service] = [one for one in shared if one["kind"] == "Service"]
    assert (service["metadata"]["name"], service["spec"]["clusterIP"]) == ("trainers", "None")
    claims = {one["metadata"]["name"] for one in shared if one["kind"] == "PersistentVolumeClaim"}
    for pod in pods(built(folder)):
        [container] = pod.spec["containers"]
        assert pod.labels.items() >= service["spec"]["selector"].items()
        volumes = {volume["name"]: volume for volume in pod.spec["volumes"]}
        mounts = {mount["mountPath"]: volumes[mount["name"]] for mount in container["volumeMounts"]}
        assert mounts[options_of(pod)["workdir"]]["persistentVolumeClaim"]["claimName"] in claims
        assert mounts[str(Path(options_of(pod)["config"]).parent)]["configMap"]["name"] == "shop"
        assert pod.spec["securityContext"]["runAsNonRoot"]
        assert not pod.spec["automountServiceAccountToken"]
        context = container["securityContext"]
        assert context["readOnlyRootFilesystem"]
        assert not context["allowPrivilegeEscalation"]
        assert context["capabilities"] == {"drop": ["ALL"]}


@pytest.mark.parametrize("folder", [*STAGES, "servers"])
def test_pods_of_a_training_reach_each_other_at_all_ports(folder: str) -> None:
    """At those that the system chooses, too, as the chief's of `InputServer`."""
    [policy] = [one for one in built("shared") + built(folder) if one["kind"] == "NetworkPolicy"]
    [rule] = policy["spec"]["ingress"]
    assert policy["spec"]["policyTypes"] == ["Ingress"]  # whom they connect to is not restricted
    assert "ports" not in rule
    [source] = rule["from"]
    for pod in pods(built(folder)):
        assert pod.labels.items() >= source["podSelector"]["matchLabels"].items()


@pytest.mark.parametrize("folder", [*STAGES, "servers"])
def test_a_job_makes_lost_pods_anew(folder: str) -> None:
    [job] = [one for one in built(folder) if one["kind"] == "Job"]
    spec = job["spec"]
    assert spec["completionMode"] == "Indexed"  # which gives pods their names
    assert spec["completions"] == spec["parallelism"]
    assert spec["template"]["spec"]["restartPolicy"] == "Never"
    rules = [
        (rule["action"], rule["onExitCodes"]["values"] if "onExitCodes" in rule else "DisruptionTarget")
        for rule in spec["podFailurePolicy"]["rules"]
    ]
    assert rules == [("Ignore", "DisruptionTarget"), ("Ignore", [128 + signal.SIGTERM]), ("FailJob", [2])]
    wrong = subprocess.run([sys.executable, "-m", "mim_tf.train"], capture_output=True, check=False, timeout=300)
    assert wrong.returncode == 2


def test_the_claim_is_the_one_that_serving_has() -> None:
    serving = FOLDER.parents[2] / "serving" / "kubernetes" / "base" / "volumes.yaml"
    theirs = {one["metadata"]["name"]: one for one in yaml.safe_load_all(serving.read_text())}
    [ours] = [one for one in built("shared") if one["kind"] == "PersistentVolumeClaim"]
    assert ours == theirs["workdir"]


def test_slurms_script_tells_each_process_its_number(tmp_path: Path) -> None:
    """With an `scontrol` that knows two hosts, an `srun` of two processes, and a `python` that says what it got."""
    programs = {
        "scontrol": "printf 'n7\\nn9\\n'",
        "srun": 'shift; for SLURM_PROCID in 0 1; do export SLURM_PROCID; "$@"; done',
        "python": 'echo "$TF_CONFIG"; echo "$*" >> "$CALLS"',
    }
    for name, text in programs.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{text}\n")
        (tmp_path / name).chmod(0o755)
    page = (FOLDER.parent / "CLUSTER.md").read_text(encoding="utf-8")
    [script] = re.findall(r"```bash\n(.*?)```", page, re.DOTALL)
    calls = tmp_path / "calls"
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_JOB_NODELIST": "n[7,9]"}
    run = subprocess.run(
        ["bash", "-euc", script], env=environment | {"CALLS": str(calls)}, capture_output=True, text=True, check=True
    )
    assert [json.loads(line) for line in run.stdout.splitlines()] == [
        {"cluster": {"worker": ["n7:2222", "n9:2222"]}, "task": {"type": "worker", "index": index}}
        for index in range(2)
    ]
    expected = "-m mim_tf.train --stage csft --config my.yaml --workdir /shared/W --set csft.strategy=multi_worker"
    assert calls.read_text().splitlines() == [expected] * 2


def test_the_page_names_every_folder() -> None:
    page = (FOLDER.parent / "CLUSTER.md").read_text(encoding="utf-8")
    overlays = {path.name for path in FOLDER.iterdir()} - {"workers"}
    assert overlays == {*STAGES, "servers", "shared"}
    assert all(f"`{name}`" in page or f"kubernetes/{name}" in page for name in overlays)
