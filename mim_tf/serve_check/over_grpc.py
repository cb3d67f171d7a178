"""Answers of a server over gRPC, by our client."""

from __future__ import annotations

from collections.abc import Sequence

from mim_tf.errors import ServingError
from mim_tf.export.gate import Case
from mim_tf.export.gate.call_file import Result
from mim_tf.serve_check.exported import Exported
from mim_tf.serving.client import Client

_TIMEOUT = 120.0  # seconds: a thousand images on a laptop


def grpc_answers(address: str, model: Exported) -> Sequence[Result]:
    """A result for each case of a model.

    Args:
        address: `host:port`.
        model: what is asked.
    """
    with Client(address, timeout=_TIMEOUT) as client:
        return [_answer(client, model.name, case) for case in model.cases]


def _answer(client: Client, name: str, case: Case) -> Result:
    try:
        return Result(client.predict(name, case.inputs, signature=case.signature))
    except ServingError as error:
        return Result({}, str(error))
