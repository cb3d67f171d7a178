"""Answers of a server over REST, in the column format."""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from mim_tf.export.gate import Case
from mim_tf.export.gate.call_file import Result
from mim_tf.export.gate.saved_graph import SavedGraph
from mim_tf.serve_check.exported import Exported
from mim_tf.serving.signature import Signature

_TIMEOUT = 120.0  # seconds


def rest_answers(address: str, model: Exported) -> Sequence[Result | None]:
    """A result for each case of a model; None where the signature has float16, which TF Serving's REST has not.

    Args:
        address: `host:port`.
        model: what is asked.
    """
    signatures = SavedGraph.read(model.folder).signatures
    return [
        _answer(address, model.name, case, Signature.from_proto(signatures[case.signature])) for case in model.cases
    ]


def _has_half(signature: Signature) -> bool:
    return any(spec.dtype == tf.float16 for spec in (*signature.inputs.values(), *signature.outputs.values()))


def _answer(address: str, name: str, case: Case, signature: Signature) -> Result | None:
    if _has_half(signature):
        return None
    inputs = {key: _json_of(values) for key, values in case.inputs.items()}
    body = json.dumps({"signature_name": case.signature, "inputs": inputs}).encode()
    request = urllib.request.Request(
        f"http://{address}/v1/models/{name}:predict", body, {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT) as response:
            return Result(_arrays(json.load(response)["outputs"], signature))
    except urllib.error.HTTPError as error:
        return Result({}, f"{error.code}: {error.read().decode(errors='replace')}")
    except (OSError, KeyError, ValueError) as error:
        return Result({}, f"{type(error).__name__}: {error}")


def _json_of(values: np.ndarray) -> Any:
    """Nested lists; strings are bytes, which need not be text."""
    return _encoded(values.tolist())


def _encoded(value: Any) -> Any:
    if isinstance(value, list):
        return [_encoded(part) for part in value]
    return {"b64": base64.b64encode(value).decode()} if isinstance(value, bytes) else value


def _arrays(outputs: Any, signature: Signature) -> Mapping[str, np.ndarray]:
    """Outputs in the signature's dtypes. Of a single one the name is left out."""
    named = outputs if len(signature.outputs) > 1 else dict.fromkeys(signature.outputs, outputs)
    return {name: _array(named[name], spec) for name, spec in signature.outputs.items()}


def _array(value: Any, spec: tf.TensorSpec) -> np.ndarray:
    if spec.dtype == tf.string:
        value = _decoded(value)
    array = np.array(value, spec.dtype.as_numpy_dtype)
    # JSON says of no rows at all not how long they would be.
    return array if array.ndim == spec.shape.rank else array.reshape([size or 0 for size in spec.shape])


def _decoded(value: Any) -> Any:
    if isinstance(value, list):
        return [_decoded(part) for part in value]
    return base64.b64decode(value["b64"]) if isinstance(value, dict) else value.encode()
