"""The files of serving/compose."""

import re
import shutil
import subprocess
from typing import Any

import pytest

from tests.serving.deployment_files import COMPOSE, all_flags, compose_services, compose_tf_servings, documents

ROOT = COMPOSE.parents[1]


@pytest.mark.parametrize("name", compose_services())
def test_own_files_that_are_mounted_are_there(name: str) -> None:
    for volume in compose_services()[name].get("volumes", []):
        if volume.startswith("."):
            assert (COMPOSE / volume.split(":")[0]).exists()


@pytest.mark.parametrize("name", compose_tf_servings())
def test_a_server_is_asked_for_the_model_that_it_serves(name: str) -> None:
    service, given = compose_tf_servings()[name], all_flags()[f"compose {name}"]
    files = {"/config/ranker.models.config": "ranker", "/config/encoders.models.config": "item_encoder"}
    model = given.get("model_name") or files[given["model_config_file"]]
    assert service["environment"] == {"MODEL": model}
    assert service["healthcheck"]["test"] == ["CMD", "bash", "/config/health.sh"]
    assert given.get("model_base_path", f"/models/{model}") == f"/models/{model}"


@pytest.mark.parametrize("name", compose_tf_servings())
def test_threads_are_those_of_the_limit(name: str) -> None:
    given, cpus = all_flags()[f"compose {name}"], str(compose_tf_servings()[name]["cpus"])
    assert given["tensorflow_intra_op_parallelism"] == given["tensorflow_inter_op_parallelism"] == cpus


@pytest.mark.parametrize("name", compose_services())
def test_containers_may_do_little(name: str) -> None:
    service = compose_services()[name]
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["mem_limit"]
    assert service["restart"] == "unless-stopped"
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
    assert service.get("user", "prometheus's image has its own") != "0:0"


@pytest.mark.parametrize("name", compose_tf_servings())
def test_models_and_configs_are_not_written(name: str) -> None:
    assert [volume.rsplit(":", 2)[1:] for volume in compose_tf_servings()[name]["volumes"]] == [
        ["/models", "ro"],
        ["/config", "ro"],
    ]


def test_a_profile_uses_no_port_twice() -> None:
    for profile in ("baked", "sharded"):
        chosen = [one for one in compose_services().values() if profile in one.get("profiles", [profile])]
        ports = [port.rsplit(":", 1)[0] for one in chosen for port in one.get("ports", [])]
        assert len(ports) == len(set(ports)) > 0


def test_prometheus_asks_services_that_there_are() -> None:
    (prometheus,) = documents(COMPOSE / "prometheus.yml")
    tf_serving, realtime = prometheus["scrape_configs"]
    rest = {f"{name}:{all_flags()[f'compose {name}']['rest_api_port']}" for name in compose_tf_servings()}
    assert set(tf_serving["static_configs"][0]["targets"]) == rest
    assert tf_serving["metrics_path"] == "/monitoring/prometheus/metrics"
    assert realtime["static_configs"][0]["targets"] == ["realtime:9090"]
    assert "--set=realtime.metrics_port=9090" in compose_services()["realtime"]["command"]


def test_the_dockerfile_copies_what_there_is() -> None:
    build: dict[str, Any] = compose_services()["realtime"]["build"]
    assert (COMPOSE / build["context"]).resolve() == ROOT
    text = (ROOT / build["dockerfile"]).read_text(encoding="utf-8")
    copied = [name for line in re.findall(r"^COPY (.*) \S+$", text, re.MULTILINE) for name in line.split()]
    assert {"mim_tf", "export", "serving", "setup.cfg", "constraints.txt"} <= set(copied)
    assert all((ROOT / name).exists() for name in copied)


@pytest.mark.parametrize("profile", ["baked", "sharded", "realtime", "monitoring"])
def test_docker_reads_it(profile: str) -> None:
    if shutil.which("docker") is None:
        pytest.skip("docker is not on the PATH")
    if subprocess.run(["docker", "compose", "version"], check=False, capture_output=True).returncode:
        pytest.skip("docker has no compose plugin")
    command = ["docker", "compose", "--file", COMPOSE / "compose.yaml", "--profile", profile, "config", "--quiet"]
    told = subprocess.run(command, check=False, capture_output=True, text=True, env={"MODELS": "/models"}, timeout=120)
    assert told.returncode == 0, told.stderr
