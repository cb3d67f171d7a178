"""TF Serving's configuration messages that its Python wheel does not have, by their public field numbers."""

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, wrappers_pb2
from google.protobuf.message import Message

_Field = descriptor_pb2.FieldDescriptorProto
_INT64_VALUE = f".{wrappers_pb2.Int64Value.DESCRIPTOR.full_name}"
_STRING_VALUE = f".{wrappers_pb2.StringValue.DESCRIPTOR.full_name}"

# Message -> field -> number, type, and for messages which. From session_bundle_config.proto, monitoring_config.proto
# and ssl_config.proto; of BatchingParameters those fields that our files may use.
_MESSAGES: dict[str, dict[str, tuple[int, int, str]]] = {
    "BatchingParameters": {
        "max_batch_size": (1, _Field.TYPE_MESSAGE, _INT64_VALUE),
        "batch_timeout_micros": (2, _Field.TYPE_MESSAGE, _INT64_VALUE),
        "max_enqueued_batches": (3, _Field.TYPE_MESSAGE, _INT64_VALUE),
        "num_batch_threads": (4, _Field.TYPE_MESSAGE, _INT64_VALUE),
        "thread_pool_name": (5, _Field.TYPE_MESSAGE, _STRING_VALUE),
        "allowed_batch_sizes": (6, _Field.TYPE_INT64, ""),
        "pad_variable_length_inputs": (7, _Field.TYPE_BOOL, ""),
    },
    "PrometheusConfig": {"enable": (1, _Field.TYPE_BOOL, ""), "path": (2, _Field.TYPE_STRING, "")},
    "MonitoringConfig": {"prometheus_config": (1, _Field.TYPE_MESSAGE, ".tensorflow.serving.PrometheusConfig")},
    "SSLConfig": {
        "server_key": (1, _Field.TYPE_STRING, ""),
        "server_cert": (2, _Field.TYPE_STRING, ""),
        "custom_ca": (3, _Field.TYPE_STRING, ""),
        "client_verify": (4, _Field.TYPE_BOOL, ""),
    },
}
_REPEATED = {"allowed_batch_sizes"}


def _pool() -> descriptor_pool.DescriptorPool:
    file = descriptor_pb2.FileDescriptorProto(
        name="tf_serving_configs.proto",
        package="tensorflow.serving",
        syntax="proto3",
        dependency=[wrappers_pb2.DESCRIPTOR.name],
    )
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, (number, kind, type_name) in fields.items():
            label = _Field.LABEL_REPEATED if field in _REPEATED else _Field.LABEL_OPTIONAL
            message.field.add(name=field, number=number, type=kind, type_name=type_name or None, label=label)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    return pool


_POOL = _pool()


def message_class(name: str) -> type[Message]:
    """The class of a message, `BatchingParameters`, `MonitoringConfig` or `SSLConfig`."""
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(f"tensorflow.serving.{name}"))
