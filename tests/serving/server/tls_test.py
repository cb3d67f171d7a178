"""TLS by TF Serving's configuration file, with certificates made here: who gets an answer."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import text_format
from tensorflow_serving.apis import get_model_status_pb2, model_service_pb2_grpc

from mim_tf.errors import ServingError
from mim_tf.serving.server import Server
from mim_tf.serving.server.config_files import SSLConfig
from mim_tf.serving.server.tls import server_credentials
from tests.serving.certificates import Authority, Pair

AVAILABLE = get_model_status_pb2.ModelVersionStatus.AVAILABLE


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"), "authority")


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"), "stranger")


@pytest.fixture(scope="module")
def of_server(authority: Authority) -> dict[str, str]:
    """What an `SSLConfig` must have."""
    return fields(authority.sign("server", "127.0.0.1"))


def fields(pair: Pair) -> dict[str, str]:
    return {"server_key": pair.key.read_text(), "server_cert": pair.certificate.read_text()}


def write(folder: Path, **texts: Any) -> Path:
    path = folder / "ssl.config"
    path.write_text(text_format.MessageToString(SSLConfig(**texts)))
    return path


@contextmanager
def serving(models: Path, config: Path) -> Iterator[int]:
    with Server(models, port=0, poll_seconds=None, credentials=server_credentials(config)) as server:
        yield server.port


def state(port: int, roots: Path | None, client: Pair | None = None) -> int:
    """Asks for the state of the ranker; an answer means that both sides trust each other."""
    address = f"127.0.0.1:{port}"
    if roots is None:
        channel = grpc.insecure_channel(address)
    else:
        own = client.read() if client is not None else (None, None)
        channel = grpc.secure_channel(address, grpc.ssl_channel_credentials(roots.read_bytes(), *own))
    request = get_model_status_pb2.GetModelStatusRequest(model_spec={"name": "ranker"})
    with channel:
        response = model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus(request, timeout=30)
    return int(response.model_version_status[0].state)


def assert_refused(port: int, roots: Path | None, client: Pair | None = None) -> None:
    with pytest.raises(grpc.RpcError, match="UNAVAILABLE"):
        state(port, roots, client)


def test_a_client_that_knows_the_authority_gets_an_answer(
    folder: Path, tmp_path: Path, authority: Authority, stranger: Authority, of_server: dict[str, str]
) -> None:
    with serving(folder.parent, write(tmp_path, **of_server)) as port:
        assert state(port, authority.roots) == AVAILABLE
        assert_refused(port, None)  # no TLS
        assert_refused(port, stranger.roots)


def test_clients_prove_who_they_are_when_they_are_asked(
    folder: Path, tmp_path: Path, authority: Authority, stranger: Authority, of_server: dict[str, str]
) -> None:
    config = write(tmp_path, **of_server, custom_ca=authority.roots.read_text(), client_verify=True)
    with serving(folder.parent, config) as port:
        assert state(port, authority.roots, authority.sign("client")) == AVAILABLE
        assert_refused(port, authority.roots, stranger.sign("client"))
        assert_refused(port, authority.roots)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"server_key": ""}, "server_key"),
        ({"server_cert": "/etc/ssl/server.pem"}, "server_cert"),
        ({"client_verify": True}, "custom_ca"),
        ({"custom_ca": "ca.pem"}, "custom_ca"),
    ],
)
def test_what_is_no_pem_text_is_named(
    tmp_path: Path, of_server: dict[str, str], change: dict[str, Any], field: str
) -> None:
    with pytest.raises(ServingError, match=rf"ssl\.config: `{field}` must be a PEM text\. Received: \d+ characters"):
        server_credentials(write(tmp_path, **{**of_server, **change}))


def test_a_key_of_another_certificate_is_told(
    folder: Path, tmp_path: Path, authority: Authority, of_server: dict[str, str]
) -> None:
    other = authority.sign("other").key.read_text()
    config = write(tmp_path, **{**of_server, "server_key": other})
    with (
        pytest.raises(ServingError, match=r"Cannot listen on .* or key and certificate do not belong together"),
        serving(folder.parent, config),
    ):
        pass
