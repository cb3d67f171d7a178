"""TF Serving's configuration files, in its own text format."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format, wrappers_pb2
from google.protobuf.message import Message

from mim_tf.errors import ServingError

_Field = descriptor_pb2.FieldDescriptorProto
_STRING, _BOOL, _INT64, _MESSAGE = _Field.TYPE_STRING, _Field.TYPE_BOOL, _Field.TYPE_INT64, _Field.TYPE_MESSAGE
_INT64_VALUE, _STRING_VALUE = ".google.protobuf.Int64Value", ".google.protobuf.StringValue"

# The messages that the tensorflow-serving-api wheel lacks, with the names, numbers and types of TF Serving's sources. A
# field that is not here, the stand-in does not have: it is refused by name, as a typo is.
_MESSAGES: dict[str, dict[str, tuple[int, int | str]]] = {
    "SSLConfig": {
        "server_key": (1, _STRING),
        "server_cert": (2, _STRING),
        "custom_ca": (3, _STRING),
        "client_verify": (4, _BOOL),
    },
    "PrometheusConfig": {"enable": (1, _BOOL), "path": (2, _STRING)},
    "MonitoringConfig": {"prometheus_config": (1, ".tensorflow.serving.PrometheusConfig")},
    "BatchingParameters": {
        "max_batch_size": (1, _INT64_VALUE),
        "batch_timeout_micros": (2, _INT64_VALUE),
        "max_enqueued_batches": (3, _INT64_VALUE),
        "num_batch_threads": (4, _INT64_VALUE),
        "thread_pool_name": (5, _STRING_VALUE),
        "allowed_batch_sizes": (6, _INT64),
        "pad_variable_length_inputs": (7, _BOOL),
    },
}
_REPEATED = {"allowed_batch_sizes"}

_Config = TypeVar("_Config", bound=Message)


def read_config(path: str | Path, message: type[_Config], *, secret: bool = False) -> _Config:
    """Reads a message in protobuf's text format.

    Args:
        path: The file.
        message: What it holds.
        secret: Whether nothing of the file may be shown.

    Raises:
        ServingError: If the file cannot be read, or if something in it is unknown or malformed; it says where.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ServingError(f"{path} cannot be read: {error}.") from error
    try:
        return text_format.Parse(text, message())
    except text_format.ParseError as error:
        received = f"{error.GetLine()}:{error.GetColumn()}, what is not shown" if secret else str(error)
        name = message.DESCRIPTOR.full_name
        raise ServingError(f"{path} must be a {name} in text format. Received, at line:column {received}.") from (
            None if secret else error
        )


def _message_types() -> dict[str, type[Message]]:
    """Makes the classes, in a pool of their own: another package may have brought the same names."""
    file = descriptor_pb2.FileDescriptorProto(name="mim_tf/serving/configs.proto", package="tensorflow.serving")
    file.syntax = "proto3"
    file.dependency.append(wrappers_pb2.DESCRIPTOR.name)
    for name, fields in _MESSAGES.items():
        file.message_type.add(name=name, field=[_field(field, *spec) for field, spec in fields.items()])
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.AddSerializedFile(file.SerializeToString())
    found = {name: pool.FindMessageTypeByName(f"{file.package}.{name}") for name in _MESSAGES}
    return {name: message_factory.GetMessageClass(descriptor) for name, descriptor in found.items()}


def _field(name: str, number: int, kind: int | str) -> descriptor_pb2.FieldDescriptorProto:
    """Describes a field; its kind is a number for a scalar and a name for a message."""
    label = _Field.LABEL_REPEATED if name in _REPEATED else _Field.LABEL_OPTIONAL
    if isinstance(kind, str):
        return _Field(name=name, number=number, label=label, type=_MESSAGE, type_name=kind)
    return _Field(name=name, number=number, label=label, type=kind)


_TYPES = _message_types()
SSLConfig, MonitoringConfig, BatchingParameters = (
    _TYPES[name] for name in ("SSLConfig", "MonitoringConfig", "BatchingParameters")
)
