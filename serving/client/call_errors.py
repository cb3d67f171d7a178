"""What is said of a call that failed: where, why and what to do."""

from __future__ import annotations

import re
from typing import Any

import grpc

from mim_tf.errors import ServingError
from mim_tf.serving.client.call import Call
from mim_tf.serving.client.tls import Tls

_OTHERWISE = "The server's log may say more."
_REMEDIES = {
    grpc.StatusCode.UNAVAILABLE: "Is the server running at {address}?",
    grpc.StatusCode.DEADLINE_EXCEEDED: "No answer within {timeout} s: raise `timeout`, or send fewer rows.",
    grpc.StatusCode.NOT_FOUND: "Is a model of that name and version in the server's models folder?",
    grpc.StatusCode.INVALID_ARGUMENT: 'Client.signatures("{model}") shows what is expected.',
    grpc.StatusCode.FAILED_PRECONDITION: 'Client.signatures("{model}") shows what is expected.',
    grpc.StatusCode.RESOURCE_EXHAUSTED: "Send fewer rows, or fewer requests at once.",
    grpc.StatusCode.CANCELLED: "The client was closed meanwhile, or the server stopped.",
}
# What may be said by a server that is starting, or stopping to start again, beside UNAVAILABLE.
_STARTING = {
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.CANCELLED,
}
# What gRPC's details say where the client refuses the server, all of it under UNAVAILABLE.
_REFUSED = {
    "certificate has expired": "The server's certificate must be renewed.",
    "CERTIFICATE_VERIFY_FAILED": "Give the authority that signed the server's certificate as `tls.roots`.",
    "Hostname Verification Check failed": "Give the name that is in the server's certificate as `tls.server_name`.",
    "WRONG_VERSION_NUMBER": "The server does not speak TLS: leave out `tls`, or take its other port.",
}
_PLACE = re.compile(r"\s*\[\[\{\{node [^\]]*\}\}\]\]")
_QUEUE_IS_FULL = "scheduling queue"  # of TF Serving's batches, which it says as UNAVAILABLE too
_HANGS_UP = "Socket closed"  # all that is known where the server refuses the client, or goes away


def call_error(
    call: Call[Any], error: grpc.RpcError, *, address: str, tls: Tls | None, timeout: float, attempts: int
) -> ServingError:
    """Turns gRPC's error into one with model, address, code and remedy.

    Args:
        call: What failed.
        error: The last attempt's.
        address: Of the server.
        tls: How the connection is encrypted; None for not at all.
        timeout: What there was for all attempts, in seconds.
        attempts: How many there were.
    """
    details = error.details() or ""
    remedy = _REMEDIES.get(error.code(), _OTHERWISE).format(address=address, timeout=timeout, model=call.model)
    if error.code() == grpc.StatusCode.UNAVAILABLE:
        remedy = _remedy_of_unavailable(details, tls) or remedy
    elif "servable version label" in details:
        remedy = "Labels are in the server's model configuration file."
    tried = f" {attempts} attempts failed." if attempts > 1 else ""
    return ServingError(f'model "{call.model}" at {address}: {error.code().name}: {_sentence(details)}{tried} {remedy}')


def closed_error(call: Call[Any], address: str) -> ServingError:
    """The error of a call through a client that was closed."""
    return ServingError(f'model "{call.model}" at {address}: the client is closed. Make another one.')


def code_of(error: Exception) -> grpc.StatusCode | None:
    """gRPC's code of a `ServingError`; None where the server did not answer with one."""
    return error.__cause__.code() if isinstance(error.__cause__, grpc.RpcError) else None


def is_passing(error: grpc.RpcError) -> bool:
    """Whether another attempt may mend it: a server that is away, not one that is too busy or not trusted."""
    lasting = (_QUEUE_IS_FULL, *_REFUSED)
    return error.code() == grpc.StatusCode.UNAVAILABLE and not any(
        reason in (error.details() or "") for reason in lasting
    )


def is_awaited(error: ServingError) -> bool:
    """Whether a server that is starting may say so: that it is away, busy or has no such model yet."""
    cause = error.__cause__
    return isinstance(cause, grpc.RpcError) and (cause.code() in _STARTING or is_passing(cause))


def _sentence(details: str) -> str:
    """Without the place in the graph that TensorFlow puts behind the reason."""
    reason = _PLACE.sub("", details).strip()
    return reason if not reason or reason.endswith((".", "!", "?")) else f"{reason}."


def _remedy_of_unavailable(details: str, tls: Tls | None) -> str | None:
    """What to do where the server is busy, or client and server do not come together; None where nothing tells."""
    if _QUEUE_IS_FULL in details:
        return _REMEDIES[grpc.StatusCode.RESOURCE_EXHAUSTED]
    for reason, remedy in _REFUSED.items():
        if reason in details:
            return remedy
    if _HANGS_UP not in details:
        return None
    if tls is None:
        reason = "want TLS: then give `tls`"
    elif tls.certificate is None:
        reason = "ask for a certificate: then give `tls.certificate`"
    else:
        reason = "do not know who signed `tls.certificate`"
    return f"Is the server running? It hung up, as servers do that {reason}."
