"""TensorFlow's errors as gRPC status: the two share their codes."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import grpc
import tensorflow as tf

_Response = TypeVar("_Response")

_CODES = {code.value[0]: code for code in grpc.StatusCode}
_MESSAGE_LIMIT = 1024  # characters: status travels in a header, and clients refuse headers over 8 kB
# What TensorFlow writes around a reason: `{{function_node ...}} REASON [Op:...] name: `.
_AROUND = re.compile(r"\A(?:\{\{[^{}]*\}\} )+| \[Op:\w+\](?: name: )?\Z")


def report_errors(method: Callable[[Any, Any, grpc.ServicerContext], _Response]) -> Callable[..., _Response]:
    """Makes a service's method answer a TensorFlow error with that error's code and message."""

    @wraps(method)
    def reporting(service: Any, request: Any, context: grpc.ServicerContext) -> _Response:
        try:
            return method(service, request, context)
        except tf.errors.OpError as error:
            context.abort(code_of(error), message_of(error))
            raise  # never reached: `abort` raises

    return reporting


def code_of(error: tf.errors.OpError) -> grpc.StatusCode:
    """Returns the gRPC code of an error."""
    return _CODES[error.error_code]


def message_of(error: tf.errors.OpError) -> str:
    """Returns an error's reason, cut at a limit, without the location that TensorFlow's Python writes around it."""
    message = _AROUND.sub("", error.message.rpartition("<stack traces unavailable>\n")[2])
    return message if len(message) <= _MESSAGE_LIMIT else message[:_MESSAGE_LIMIT] + " ... (shortened)"
