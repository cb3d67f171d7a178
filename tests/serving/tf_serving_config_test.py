"""The files of serving/tf_serving: read as TF Serving reads them, and run as containers run them."""

import http.server
import itertools
import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from mim_tf.realtime import table_server
from mim_tf.settings import ITEM_ENCODER, QUERY_ENCODER, ExportSettings
from tests.serving.deployment_files import TF_SERVING
from tests.serving.tf_serving_protos import message_class

EXPORTED = {ExportSettings().model_name, ITEM_ENCODER, QUERY_ENCODER}
MODELS = sorted(path.name for path in TF_SERVING.glob("*.models.config"))
BATCHING = sorted(path.name for path in TF_SERVING.glob("batching.*.config"))


def parsed(name: str, message: Any) -> Any:
    return text_format.Parse((TF_SERVING / name).read_text(encoding="utf-8"), message)


def model_configs(name: str) -> Any:
    return parsed(name, model_server_config_pb2.ModelServerConfig()).model_config_list.config


def batching(name: str) -> Any:
    return parsed(name, message_class("BatchingParameters")())


def test_every_config_is_read_by_one_of_the_tests() -> None:
    assert {path.name for path in TF_SERVING.glob("*.config")} == {*MODELS, *BATCHING, "monitoring.config"}


@pytest.mark.parametrize("name", MODELS)
def test_models_are_those_that_an_export_writes(name: str) -> None:
    configs = model_configs(name)
    assert {config.name for config in configs} <= EXPORTED
    assert {config.name: config.base_path for config in configs} == {
        config.name: f"/models/{config.name}" for config in configs
    }
    assert {config.model_platform for config in configs} == {"tensorflow"}
    assert all(config.HasField("model_version_policy") for config in configs)


def test_all_that_an_export_writes_is_served() -> None:
    names = [config.name for name in MODELS for config in model_configs(name)]
    assert set(names) == EXPORTED


def test_labels_name_versions_that_are_loaded() -> None:
    (ranker,) = model_configs("canary.models.config")
    assert dict(ranker.version_labels) == {"stable": 1, "canary": 2}
    assert set(ranker.version_labels.values()) <= set(ranker.model_version_policy.specific.versions)


@pytest.mark.parametrize("name", BATCHING)
def test_sizes_of_batches_grow_up_to_the_largest(name: str) -> None:
    parameters = batching(name)
    sizes = list(parameters.allowed_batch_sizes)
    assert all(smaller < larger for smaller, larger in itertools.pairwise(sizes))
    assert not sizes or sizes[-1] == parameters.max_batch_size.value  # else TF Serving does not start


@pytest.mark.parametrize("name", BATCHING)
def test_histories_are_not_filled_up_with_the_first_behaviour(name: str) -> None:
    assert not batching(name).pad_variable_length_inputs


def test_a_batch_has_room_for_what_the_real_time_process_sends_at_once() -> None:
    assert batching("batching.rankers.config").max_batch_size.value >= table_server._ROWS_AT_ONCE


def test_metrics_are_on() -> None:
    prometheus = parsed("monitoring.config", message_class("MonitoringConfig")()).prometheus_config
    assert (prometheus.enable, prometheus.path) == (True, "/monitoring/prometheus/metrics")


def test_the_ssl_config_holds_the_texts_of_the_pem_files(tmp_path: Path) -> None:
    texts = {
        "server_key": "-----BEGIN PRIVATE KEY-----\nMC4CAQ+/=\n-----END PRIVATE KEY-----\n",
        "server_cert": "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n" * 2,  # a chain
        "custom_ca": "-----BEGIN CERTIFICATE-----\nMIIC\n-----END CERTIFICATE-----",  # no end of line
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    command = ["bash", TF_SERVING / "ssl_config.sh", *(tmp_path / name for name in texts)]
    written = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    config: Any = text_format.Parse(written, message_class("SSLConfig")())
    assert {name: getattr(config, name).strip() for name in texts} == {
        name: text.strip() for name, text in texts.items()
    }
    assert config.client_verify


def test_there_is_no_ssl_config_without_its_key(tmp_path: Path) -> None:
    command = ["bash", TF_SERVING / "ssl_config.sh", tmp_path / "no.key", os.devnull, os.devnull]
    assert subprocess.run(command, check=False, capture_output=True).returncode != 0


class _Rest(http.server.BaseHTTPRequestHandler):
    """As TF Serving's REST port, with `ranker` loaded and `item_encoder` still loading."""

    def do_GET(self) -> None:
        loaded, loading = "/v1/models/ranker", "/v1/models/item_encoder"
        self.send_response(200 if self.path in (loaded, f"{loaded}/metadata", loading) else 404)
        self.end_headers()
        self.wfile.write(b"{}\n" * 10_000)  # more than the caller reads

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def rest_port() -> Iterator[int]:
    with http.server.HTTPServer(("127.0.0.1", 0), _Rest) as server:
        server.handle_error = lambda *_: None  # type: ignore[method-assign]  # callers hang up
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def healthy(model: str, port: int) -> bool:
    environment = os.environ | {"MODEL": model, "REST_PORT": str(port)}
    command = ["bash", TF_SERVING / "health.sh"]
    return subprocess.run(command, check=False, env=environment, capture_output=True, timeout=300).returncode == 0


def test_a_server_is_healthy_when_its_model_is_loaded() -> None:
    with rest_port() as port:
        assert healthy("ranker", port)
        assert not healthy("item_encoder", port)
        assert not healthy("rankers", port)


def test_a_server_that_does_not_listen_is_not_healthy() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, and not listening
        assert not healthy("ranker", taken.getsockname()[1])
