"""Paths of the REST API, against the rules of TF Serving's documentation."""

import pytest
import tensorflow as tf

from mim_tf.serving.server.rest_path import RestPath


@pytest.mark.parametrize(
    ("method", "path", "verb", "name", "version", "label"),
    [
        ("POST", "/v1/models/ranker:predict", "predict", "ranker", None, None),
        ("POST", "/v1/models/ranker/versions/12:predict", "predict", "ranker", 12, None),
        ("POST", "/v1/models/ranker/labels/stable:predict", "predict", "ranker", None, "stable"),
        ("POST", "/V1/Models/Ranker:PREDICT", "predict", "Ranker", None, None),
        ("POST", "/v1/models/ranker:classify", "classify", "ranker", None, None),
        ("POST", "/v1/models/ranker/versions/0012:regress", "regress", "ranker", 12, None),
        ("GET", "/v1/models/ranker", "status", "ranker", None, None),
        ("GET", "/v1/models/ranker/versions/9223372036854775807", "status", "ranker", 2**63 - 1, None),
        ("GET", "/v1/models/ranker/labels/b%C3%A4st/metadata", "metadata", "ranker", None, "bäst"),
        ("GET", "/v1/models/ranker/metadata", "metadata", "ranker", None, None),
        # Decoded after the pattern has matched: a name may hold anything, and is a key, never a path.
        ("GET", "/v1/models/%2e%2e%2f%2e%2e%2fetc%2fpasswd", "status", "../../etc/passwd", None, None),
        ("GET", "/v1/models/a%00b", "status", "a\0b", None, None),
        ("GET", "/v1/models/sch%C3%B6n", "status", "schön", None, None),
        (
            "GET",
            "/v1/models/schön".encode().decode("latin-1"),
            "status",
            "schön",
            None,
            None,
        ),  # as http.server reads it
        ("GET", "/v1/models/50%", "status", "50%", None, None),
        ("GET", "/v1/models/..", "status", "..", None, None),
    ],
)
def test_what_a_path_asks_for(
    method: str, path: str, verb: str, name: str, version: int | None, label: str | None
) -> None:
    asked = RestPath.parse(method, path)
    assert (asked.verb, asked.spec.name) == (verb, name)
    assert (asked.spec.version.value if asked.spec.HasField("version") else None) == version
    assert (asked.spec.version_label if asked.spec.HasField("version_label") else None) == label


@pytest.mark.parametrize(
    ("method", "path", "match"),
    [
        ("GET", "/v1/models/ranker:predict", "Malformed request: GET /v1/models/ranker:predict"),
        ("POST", "/v1/models/ranker", "Malformed request: POST"),
        ("PUT", "/v1/models/ranker:predict", "Malformed request: PUT"),
        ("POST", "/v1/models/ranker:predict?page=1", "Malformed request"),
        ("POST", "/v1/models/ranker:explain", "Malformed request"),
        ("POST", "/v1/models/../../etc/passwd:predict", "Malformed request"),
        ("POST", "/v1/models/ranker/versions/-1:predict", "Malformed request"),
        ("POST", "/v1/models/ranker/versions/²:predict", "Malformed request"),
        ("POST", "/v1/models/ranker/versions/1/labels/a:predict", "Malformed request"),
        ("GET", "/v1/models/", "Malformed request"),
        ("GET", "/v1/", "Malformed request"),
        ("GET", "/v1/models/ranker/versions/9223372036854775808", "Failed to convert version: 9223372036854775808"),
        ("GET", "/v1/models/ranker/versions/" + "9" * 5000, "Failed to convert version: 999"),
        ("GET", "/v1/models/%ff", "Failed to decode model name: %ff"),
        ("GET", "/v1/models/ranker/labels/%c3", "Failed to decode model version label: %c3"),
    ],
)
def test_a_path_that_is_none_of_the_api(method: str, path: str, match: str) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match=match):
        RestPath.parse(method, path)


@pytest.mark.parametrize("path", ["/", "", "*", "/v2/models/ranker", "/etc/passwd", "/../v1/models/ranker"])
def test_a_path_outside_of_the_api(path: str) -> None:
    with pytest.raises(tf.errors.NotFoundError, match="Not found: GET"):
        RestPath.parse("GET", path)
