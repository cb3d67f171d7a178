"""The paths of TF Serving's REST API: what a request asks of which model."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

import tensorflow as tf
from tensorflow_serving.apis import model_pb2

# TF Serving's own patterns; a path is matched as it came, with its query, and decoded only afterwards.
_MODEL = r"/v1/models/(?P<name>[^/:]+)(?:/versions/(?P<version>[0-9]+)|/labels/(?P<label>[^/:]+))?"
_PATTERNS = {
    "POST": re.compile(_MODEL + r":(?P<verb>classify|regress|predict)", re.IGNORECASE),
    "GET": re.compile(_MODEL + r"(?:/(?P<verb>metadata))?", re.IGNORECASE),
}
_LARGEST_VERSION = 2**63 - 1
_STATUS = "status"


@dataclass(frozen=True)
class RestPath:
    """What a method and a path ask for.

    Args:
        verb: `predict`, `classify`, `regress`, `status` or `metadata`.
        spec: The model, and its version or label if the path names one.
    """

    verb: str
    spec: model_pb2.ModelSpec

    @classmethod
    def parse(cls, method: str, path: str) -> RestPath:
        """Reads a path as TF Serving does.

        Raises:
            tf.errors.NotFoundError: If the path does not begin with `/v1/`: no such page.
            tf.errors.InvalidArgumentError: If it does, but is none of the API's.
        """
        if not path.lower().startswith("/v1/"):
            raise tf.errors.NotFoundError(None, None, f"Not found: {method} {path}")
        pattern = _PATTERNS.get(method)
        match = pattern.fullmatch(path) if pattern is not None else None
        if match is None:
            raise tf.errors.InvalidArgumentError(None, None, f"Malformed request: {method} {path}")
        spec = model_pb2.ModelSpec(name=_decode("model name", match["name"]))
        if match["version"] is not None:
            spec.version.value = _version(match["version"])
        if match["label"] is not None:
            spec.version_label = _decode("model version label", match["label"])
        return cls((match["verb"] or _STATUS).lower(), spec)


def _decode(what: str, text: str) -> str:
    """Decodes `%2e` and the like. What comes out is a key to look up, never a path: it may hold anything."""
    try:
        # http.server reads the request line as Latin-1, so that its bytes can be told again.
        return unquote_to_bytes(text.encode("latin-1")).decode()
    except UnicodeError as error:
        raise tf.errors.InvalidArgumentError(None, None, f"Failed to decode {what}: {text}") from error


def _version(digits: str) -> int:
    # The length first: `int` refuses thousands of digits in its own way.
    if len(digits.lstrip("0")) > 19 or int(digits) > _LARGEST_VERSION:
        raise tf.errors.InvalidArgumentError(None, None, f"Failed to convert version: {digits} to numeric.")
    return int(digits)
