"""TensorFlow's errors as gRPC status: the two share their codes."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import grpc
import tensorflow as tf

_Response = TypeVar("_Response")

_CODES = {code.value[0]: code for code in grpc.StatusCode}
_MESSAGE_LIMIT = 1024  # characters: status travels in a header, and clients refuse headers over 8 kB


def report_errors(method: Callable[[Any, Any, grpc.ServicerContext], _Response]) -> Callable[..., _Response]:
    """Makes a service's method answer a TensorFlow error with that error's code and message."""

    @wraps(method)
    def reporting(service: Any, request: Any, context: grpc.ServicerContext) -> _Response:
        try:
            return method(service, request, context)
        except tf.errors.OpError as error:
            context.abort(_CODES[error.error_code], _shorten(error.message))
            raise  # never reached: `abort` raises

    return reporting


def _shorten(message: str) -> str:
    """Cuts a message at the limit, after taking off the location that TensorFlow's Python writes before the reason."""
    message = message.rpartition("<stack traces unavailable>\n")[2]
    return message if len(message) <= _MESSAGE_LIMIT else message[:_MESSAGE_LIMIT] + " ... (shortened)"
