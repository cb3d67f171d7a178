"""TF Serving's text formats: what is read, and what is said of what is not."""

from pathlib import Path

import pytest
from google.protobuf import wrappers_pb2
from google.protobuf.message import Message
from tensorflow_serving.config import model_server_config_pb2

from mim_tf.errors import ServingError
from mim_tf.serving.server.config_files import BatchingParameters, MonitoringConfig, SSLConfig, read_config


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "server.config"


def test_ssl_has_texts_and_a_flag(file: Path) -> None:
    file.write_text('server_key: "line 1\\nline 2" server_cert: "cert" custom_ca: "ca" client_verify: true')
    config = read_config(file, SSLConfig)
    assert config.server_key == "line 1\nline 2"
    assert (config.server_cert, config.custom_ca, config.client_verify) == ("cert", "ca", True)


def test_batching_has_wrapped_numbers(file: Path) -> None:
    file.write_text("max_batch_size { value: 8 } allowed_batch_sizes: 4 allowed_batch_sizes: 8  # as TF Serving's")
    config = read_config(file, BatchingParameters)
    assert config.max_batch_size.value == 8
    assert list(config.allowed_batch_sizes) == [4, 8]
    assert not config.HasField("batch_timeout_micros")


def test_monitoring_has_a_path(file: Path) -> None:
    file.write_text('prometheus_config { enable: true path: "/metrics" }')
    config = read_config(file, MonitoringConfig).prometheus_config
    assert (config.enable, config.path) == (True, "/metrics")


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        # As the wire format has it: the field's number times 8 plus 2 for what has a length, 0 for a number.
        (SSLConfig(server_key="k", server_cert="c", custom_ca="a", client_verify=True), b"\x0a\1k\x12\1c\x1a\1a\x20\1"),
        (MonitoringConfig(prometheus_config={"enable": True, "path": "p"}), b"\x0a\5\x08\1\x12\1p"),
        (BatchingParameters(num_batch_threads={"value": 3}), b"\x22\2\x08\3"),
        (BatchingParameters(allowed_batch_sizes=[1, 2], pad_variable_length_inputs=True), b"\x32\2\1\2\x38\1"),
    ],
)
def test_the_wire_format_is_tf_servings(message: Message, expected: bytes) -> None:
    assert message.SerializeToString(deterministic=True) == expected


@pytest.mark.parametrize(
    ("text", "kind", "match"),
    [
        (
            "\nmax_batch_sise { value: 8 }",
            BatchingParameters,
            r'server\.config must be a tensorflow\.serving\.BatchingParameters .*2:1 : .*no field named "max_batch_si',
        ),
        ("enable_large_batch_splitting { value: true }", BatchingParameters, '"enable_large_batch_splitting"'),
        ("max_batch_size { value: many }", BatchingParameters, "1:25 : .*integer: many"),
        ("server_key: key.pem", SSLConfig, "1:13 : .*Expected string but found: 'key'"),
        ("model_config_list { config { nam: 1 } }", model_server_config_pb2.ModelServerConfig, '"nam"'),
    ],
)
def test_what_is_wrong_is_named_with_its_place(file: Path, text: str, kind: type[Message], match: str) -> None:
    file.write_text(text)
    with pytest.raises(ServingError, match=match):
        read_config(file, kind)


def test_of_a_secret_nothing_is_shown(file: Path) -> None:
    file.write_text("server_key: MIIEvQ")
    with pytest.raises(
        ServingError, match=r"SSLConfig in text format. Received, at line:column 1:13, what is not sho"
    ) as error:
        read_config(file, SSLConfig, secret=True)
    assert "MIIEvQ" not in str(error.value)
    assert error.value.__cause__ is None


@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
def test_a_file_that_cannot_be_read_is_named(file: Path, content: bytes | None) -> None:
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ServingError, match=r"server\.config cannot be read: "):
        read_config(file, SSLConfig)


def test_the_messages_stand_beside_those_of_others() -> None:
    assert SSLConfig.DESCRIPTOR.file.pool is not wrappers_pb2.DESCRIPTOR.pool
