"""Connections to a server's gRPC port, and how TF Serving's services are called over one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import grpc
from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

from mim_tf.serving.client.tls import Tls

Methods: TypeAlias = Mapping[str, Callable[..., Any]]

_OPTIONS: tuple[tuple[str, Any], ...] = (
    ("grpc.max_receive_message_length", -1),  # no limit; gRPC's own is 4 MB
    ("grpc.max_send_message_length", -1),
    # A name that stands for several servers, as Kubernetes' headless services do (`dns:///`): gRPC would stay with one.
    ("grpc.lb_policy_name", "round_robin"),
    # gRPC's own pauses grow to two minutes: too long to notice that a server is back.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    # A machine that vanished says nothing. gRPC closes a connection of which nothing is acknowledged for the timeout,
    # if it sends pings at all; one that sends them more often than each five minutes is hung up on by gRPC's servers.
    ("grpc.keepalive_time_ms", 300_000),
    ("grpc.keepalive_timeout_ms", 10_000),
)


def open_channel(address: str, tls: Tls | None) -> grpc.Channel:
    """A connection that threads may share; it is made when it is first used, and again when it was lost.

    Args:
        address: `host:port`.
        tls: How it is encrypted; None for not at all.

    Raises:
        ServingError: If a file of `tls` is not what it should be.
    """
    if tls is None:
        return grpc.insecure_channel(address, options=_OPTIONS)
    return grpc.secure_channel(address, tls.credentials(), options=_options(tls))


def open_async_channel(address: str, tls: Tls | None) -> grpc.aio.Channel:
    """As `open_channel`, for the running event loop."""
    if tls is None:
        return grpc.aio.insecure_channel(address, options=_OPTIONS)
    return grpc.aio.secure_channel(address, tls.credentials(), options=_options(tls))


def methods_of(channel: grpc.Channel | grpc.aio.Channel) -> Methods:
    """What of TF Serving's services is called, by name."""
    prediction = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    model = model_service_pb2_grpc.ModelServiceStub(channel)
    return {
        "Predict": prediction.Predict,
        "GetModelMetadata": prediction.GetModelMetadata,
        "GetModelStatus": model.GetModelStatus,
    }


def _options(tls: Tls) -> tuple[tuple[str, Any], ...]:
    return _OPTIONS if tls.server_name is None else (*_OPTIONS, ("grpc.ssl_target_name_override", tls.server_name))
