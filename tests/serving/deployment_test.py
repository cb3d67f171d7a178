"""The manifests of serving/kubernetes, and what they share with Compose."""

import importlib.metadata
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.serving.deployment_files import (
    KUBERNETES,
    TF_SERVING,
    Workload,
    all_flags,
    compose_tf_servings,
    documents,
    flags,
    tf_servings,
    workloads,
)
from tests.serving.tf_serving_flags import FLAGS

FOLDERS = ("base", "baked", "sharded", "tls")
MODES = ("baked", "sharded")
PROBES = ("startupProbe", "readinessProbe", "livenessProbe")


def kustomization(folder: Path) -> dict[str, Any]:
    (document,) = documents(folder / "kustomization.yaml")
    return document


def of_kind(kind: str) -> dict[str, Any]:
    found = [one for one in documents() if isinstance(one, dict) and one["kind"] == kind]
    assert found
    return {one["metadata"]["name"]: one for one in found}


def holds_table(workload: Workload) -> bool:
    """Whether a table is inside: all of TF Serving but the encoders and the network of a sharded table."""
    return workload.name not in ("encoders", "ranker-network")


def built(folder: Path) -> list[dict[str, Any]]:
    """What `kubectl apply -k` would send."""
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not on the PATH")
    command = ["kubectl", "kustomize", folder]
    text = subprocess.run(command, check=True, capture_output=True, text=True, timeout=300).stdout
    return list(yaml.safe_load_all(text))


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_manifest_is_in_its_kustomization(folder: str) -> None:
    listed = kustomization(KUBERNETES / folder)
    names = listed.get("resources", []) + [patch["path"] for patch in listed.get("patches", [])]
    assert all((KUBERNETES / folder / name).exists() for name in names)
    there = {path.name for path in (KUBERNETES / folder).iterdir()} - {"kustomization.yaml"}
    assert there == {name for name in names if not name.startswith("..")}


@pytest.mark.parametrize("workload", tf_servings(), ids=lambda one: one.name)
def test_pods_have_the_configs_that_they_read_and_no_others(workload: Workload) -> None:
    """Every change of one of them starts the pods anew."""
    maps = {one["name"]: set(one["files"]) for one in kustomization(TF_SERVING)["configMapGenerator"]}
    (mounted,) = [volume["configMap"]["name"] for volume in workload.pod["volumes"] if volume["name"] == "config"]
    read = set(re.findall(r"/config/([\w.]+)", repr(workload.container)))
    assert maps[mounted] == read | {"ssl_config.sh"}  # which ../tls reads


def test_every_config_is_read_by_a_pod_or_an_example() -> None:
    maps = kustomization(TF_SERVING)["configMapGenerator"]
    examples = {"canary.models.config", "batching.rankers.config"}
    there = {path.name for path in TF_SERVING.iterdir()} - {"kustomization.yaml"}
    assert {name for one in maps for name in one["files"]} == there - examples


def test_flags_are_tf_servings() -> None:
    for service, given in all_flags().items():
        assert set(given) <= FLAGS, service


def test_no_flag_is_given_twice() -> None:
    given = [one.container["args"] for one in tf_servings()] + [
        one["command"] for one in compose_tf_servings().values()
    ]
    for arguments in given:
        names = [name for name, _ in flags(arguments)]
        assert len(names) == len(set(names)), arguments


def test_files_that_flags_and_probes_name_are_there() -> None:
    everything = [one for one in documents() if isinstance(one, dict)]
    named = set(re.findall(r"/config/([\w.]+)", repr([everything, all_flags()])))
    assert {"ranker.models.config", "health.sh"} <= named
    assert named <= {path.name for path in TF_SERVING.iterdir()}


def test_requests_are_not_joined() -> None:
    """One that fails would fail those that it was joined with."""
    for service, given in all_flags().items():
        assert not {"enable_batching", "batching_parameters_file"} & set(given), service


def test_images_are_of_the_version_that_the_client_is_for() -> None:
    images = {one.container["image"] for one in tf_servings()} | {
        one["image"] for one in compose_tf_servings().values()
    }
    assert images == {f"tensorflow/serving:{importlib.metadata.version('tensorflow-serving-api')}"}


@pytest.mark.parametrize("workload", workloads(), ids=lambda one: one.name)
def test_probes_ask_at_ports_that_are_open(workload: Workload) -> None:
    ports = {port["name"]: port["containerPort"] for port in workload.container["ports"]}
    given = dict(flags(workload.container["args"]))
    if "rest" in ports:
        assert (ports["grpc"], ports["rest"]) == (int(given["port"]), int(given["rest_api_port"]))
    probes = [workload.container[name] for name in PROBES if name in workload.container]
    assert len(probes) >= 2
    assert all(probe["httpGet"]["port"] in ports for probe in probes if "httpGet" in probe)


@pytest.mark.parametrize("workload", tf_servings(), ids=lambda one: one.name)
def test_readiness_is_the_models_and_liveness_the_processs(workload: Workload) -> None:
    startup, readiness, liveness = (workload.container[name] for name in PROBES)
    for probe in (startup, readiness):
        by_script = probe.get("exec", {}).get("command") == ["bash", "/config/health.sh"]
        assert by_script or re.fullmatch(r"/v1/models/\w+/metadata", probe["httpGet"]["path"])
    assert "/v1/models" not in liveness["httpGet"]["path"]


@pytest.mark.parametrize("workload", tf_servings(), ids=lambda one: one.name)
def test_a_table_is_never_held_twice(workload: Workload) -> None:
    if holds_table(workload):  # the new pod starts when the old one is gone
        surge = workload.spec.get("strategy", {}).get("rollingUpdate", {}).get("maxSurge")
        assert workload.kind == "StatefulSet" or surge == 0
        assert workload.spec["updateStrategy"]["type"] == "RollingUpdate"
        assert "maxUnavailable" not in workload.spec["updateStrategy"].get("rollingUpdate", {})  # 1 by default
    (models,) = [mount for mount in workload.container["volumeMounts"] if mount["name"] == "models"]
    assert re.fullmatch(r"releases/\d+", models["subPath"])  # and no version comes into the running process
    assert dict(flags(workload.container["args"]))["file_system_poll_wait_seconds"] == "0"
    assert models["readOnly"]


@pytest.mark.parametrize("workload", tf_servings(), ids=lambda one: one.name)
def test_threads_are_those_of_the_limit(workload: Workload) -> None:
    given, limit = dict(flags(workload.container["args"])), workload.container["resources"]["limits"]["cpu"]
    assert given["tensorflow_intra_op_parallelism"] == given["tensorflow_inter_op_parallelism"] == limit
    assert workload.container["resources"]["requests"] == workload.container["resources"]["limits"]


def test_a_shard_serves_the_model_of_its_number() -> None:
    (table,) = [one for one in tf_servings() if one.name == "ranker-table"]
    shard, model = table.container["env"]
    assert shard["valueFrom"]["fieldRef"]["fieldPath"] == "metadata.labels['apps.kubernetes.io/pod-index']"
    given = dict(flags(table.container["args"]))
    names = (given["model_name"], given["model_base_path"])
    expanded = [name.replace("$(MODEL)", model["value"]).replace("$(SHARD)", "1") for name in names]
    assert expanded == ["ranker_table_1", "/models/ranker_table_1"]


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("baked", [f"ranker-{pod}.ranker-pods:8500/ranker" for pod in range(4)]),
        ("sharded", [f"ranker-table-{pod}.ranker-tables:8500/ranker_table_{pod}" for pod in range(2)]),
    ],
)
def test_the_real_time_process_sends_to_every_table(mode: str, expected: list[str]) -> None:
    (generated,) = kustomization(KUBERNETES / mode)["configMapGenerator"]
    (literal,) = generated["literals"]
    name, _, value = literal.partition("=")
    assert (generated["name"], name, yaml.safe_load(value)) == ("realtime-servers", "servers", expected)
    (holder,) = [one for one in tf_servings() if holds_table(one) and expected[0].startswith(f"{one.name}-0.")]
    scaled = [one["spec"] for one in of_kind("HorizontalPodAutoscaler").values()]
    limits = {one["scaleTargetRef"]["name"]: one["maxReplicas"] for one in scaled}
    assert len(expected) == limits.get(holder.name, holder.spec.get("replicas"))
    assert holder.spec["serviceName"] == expected[0].split(":")[0].split(".")[1]
    assert of_kind("Service")[holder.spec["serviceName"]]["spec"]["clusterIP"] == "None"


def test_one_process_alone_sends() -> None:
    (realtime,) = [one for one in workloads() if one.name == "realtime"]
    assert (realtime.spec["replicas"], realtime.spec["strategy"]["type"]) == (1, "Recreate")


def test_what_is_scaled_by_itself_is_not_set_back() -> None:
    for scaler in of_kind("HorizontalPodAutoscaler").values():
        target = scaler["spec"]["scaleTargetRef"]
        (workload,) = [one for one in workloads() if (one.kind, one.name) == (target["kind"], target["name"])]
        assert "replicas" not in workload.spec


def test_selectors_and_ports_fit_pods() -> None:
    pods = [(one.spec["template"]["metadata"]["labels"], one.container["ports"]) for one in workloads()]
    for service in of_kind("Service").values():
        names = [
            {port["name"] for port in ports}
            for labels, ports in pods
            if labels.items() >= service["spec"]["selector"].items()
        ]
        assert len(names) == 1, service
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= names[0]
    selectors = [one["spec"]["selector"] for one in of_kind("PodDisruptionBudget").values()]
    selectors += [one["spec"]["podSelector"] for one in of_kind("NetworkPolicy").values()]
    for selector in selectors:
        assert any(labels.items() >= selector["matchLabels"].items() for labels, _ in pods), selector


@pytest.mark.parametrize("workload", workloads(), ids=lambda one: one.name)
def test_containers_may_do_little(workload: Workload) -> None:
    context = workload.container["securityContext"]
    assert workload.pod["securityContext"]["runAsNonRoot"]
    assert context["readOnlyRootFilesystem"]
    assert not context["allowPrivilegeEscalation"]
    assert context["capabilities"] == {"drop": ["ALL"]}
    assert not workload.pod["automountServiceAccountToken"]


@pytest.mark.parametrize("mode", MODES)
def test_kustomize_builds_it(mode: str) -> None:
    resources = built(KUBERNETES / mode)
    maps = {one["metadata"]["name"]: one["data"] for one in resources if one["kind"] == "ConfigMap"}
    used = {
        volume["configMap"]["name"]
        for one in resources
        if one["kind"] in ("Deployment", "StatefulSet")
        for volume in one["spec"]["template"]["spec"]["volumes"]
        if "configMap" in volume
    }
    assert used - {"shop"} <= set(maps)  # which is the shop's own
    told = {name: text for data in maps.values() for name, text in data.items() if name != "servers"}
    assert told == {name: (TF_SERVING / name).read_text(encoding="utf-8") for name in told}


def built_with_tls(mode: str, folder: Path) -> list[dict[str, Any]]:
    shutil.copytree(KUBERNETES, folder / "kubernetes")
    shutil.copytree(TF_SERVING, folder / "tf_serving")
    with (folder / "kubernetes" / mode / "kustomization.yaml").open("a", encoding="utf-8") as file:
        file.write("components: [../tls]\n")
    return built(folder / "kubernetes" / mode)


def ingress(resources: list[dict[str, Any]]) -> list[tuple[str, list[int]]]:
    """Who reaches which ports of TF Serving."""
    (policy,) = [one for one in resources if (one["kind"], one["metadata"]["name"]) == ("NetworkPolicy", "tf-serving")]
    return [(next(iter(one["from"][0])), [port["port"] for port in one["ports"]]) for one in policy["spec"]["ingress"]]


@pytest.mark.parametrize("mode", MODES)
def test_with_tls_clients_do_not_reach_the_port_that_has_none(mode: str, tmp_path: Path) -> None:
    metrics = ("namespaceSelector", [8501])
    assert ingress(built(KUBERNETES / mode)) == [("podSelector", [8500, 8501]), metrics]
    assert ingress(built_with_tls(mode, tmp_path)) == [("podSelector", [8500]), metrics]


@pytest.mark.parametrize("mode", MODES)
def test_tls_is_for_every_tf_serving_and_nothing_else(mode: str, tmp_path: Path) -> None:
    pods = {
        one["metadata"]["name"]: one["spec"]["template"]["spec"]
        for one in built_with_tls(mode, tmp_path)
        if one["kind"] in ("Deployment", "StatefulSet")
    }
    secured = {
        name for name, pod in pods.items() if "--ssl_config_file=/ssl/ssl.config" in pod["containers"][0]["args"]
    }
    assert secured == set(pods) - {"realtime"}
    for name in secured:
        volumes = {volume["name"] for volume in pods[name]["volumes"]}
        mounts = [
            mount["name"] for one in ("initContainers", "containers") for mount in pods[name][one][0]["volumeMounts"]
        ]
        assert {"tls", "ssl"} <= volumes
        assert set(mounts) <= volumes
