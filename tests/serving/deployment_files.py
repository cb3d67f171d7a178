"""The deployment's files, and what its containers of TF Serving are."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

SERVING = Path(__file__).parents[2] / "serving"
TF_SERVING, COMPOSE, KUBERNETES = SERVING / "tf_serving", SERVING / "compose", SERVING / "kubernetes"
Document = dict[str, Any]


class Workload(NamedTuple):
    """A Deployment or StatefulSet of one container."""

    kind: str
    name: str
    spec: Document
    pod: Document
    container: Document


def documents(*files: Path) -> list[Document]:
    """What YAML files hold, by default all manifests."""
    files = files or tuple(sorted(KUBERNETES.glob("*/*.yaml")))
    return [document for file in files for document in yaml.safe_load_all(file.read_text(encoding="utf-8"))]


def workloads() -> list[Workload]:
    """All of Kubernetes."""
    return [
        Workload(one["kind"], one["metadata"]["name"], one["spec"], pod, *pod["containers"])
        for one in documents()
        if isinstance(one, dict) and one.get("kind") in ("Deployment", "StatefulSet")
        for pod in [one["spec"]["template"]["spec"]]
    ]


def tf_servings() -> list[Workload]:
    """Those that run TF Serving."""
    return [one for one in workloads() if one.container.get("command") == ["tensorflow_model_server"]]


def compose_services() -> dict[str, Document]:
    """All services of Compose."""
    (compose,) = documents(COMPOSE / "compose.yaml")
    services: dict[str, Document] = compose["services"]
    return services


def compose_tf_servings() -> dict[str, Document]:
    """Those that run TF Serving."""
    return {
        name: one for name, one in compose_services().items() if one.get("entrypoint") == ["tensorflow_model_server"]
    }


def flags(arguments: list[str]) -> Iterator[tuple[str, str]]:
    """Names and values of flags."""
    for argument in arguments:
        name, _, value = argument.removeprefix("--").partition("=")
        yield name, value


def all_flags() -> dict[str, dict[str, str]]:
    """Those of every TF Serving of Compose and Kubernetes, by the place and name of the service."""
    kubernetes = {f"kubernetes {one.name}": one.container["args"] for one in tf_servings()}
    compose = {f"compose {name}": one["command"] for name, one in compose_tf_servings().items()}
    return {name: dict(flags(arguments)) for name, arguments in (kubernetes | compose).items()}
