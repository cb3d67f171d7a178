"""GetModelStatus, called as any gRPC client calls it: without our own client."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import text_format
from tensorflow_serving.apis import get_model_status_pb2, model_service_pb2_grpc

from mim_tf.serving.server.model_config import ModelConfig
from mim_tf.serving.server.model_service import ModelService
from mim_tf.serving.server.models import Models
from tests.serving.publishing import publish


@pytest.fixture(scope="module")
def stub(address: str) -> Iterator[Any]:
    with grpc.insecure_channel(address) as channel:
        yield model_service_pb2_grpc.ModelServiceStub(channel)


def request(spec: str) -> get_model_status_pb2.GetModelStatusRequest:
    message = get_model_status_pb2.GetModelStatusRequest()
    text_format.Parse(spec, message.model_spec)
    return message


@pytest.mark.parametrize("spec", ['name: "ranker"', 'name: "ranker" version { value: 10 }'])
def test_the_version_served_is_available(stub: Any, spec: str) -> None:
    (status,) = stub.GetModelStatus(request(spec), timeout=60).model_version_status
    assert status.version == 10
    assert status.state == get_model_status_pb2.ModelVersionStatus.AVAILABLE
    assert status.status.error_code == 0


@pytest.mark.parametrize(
    ("spec", "code", "message"),
    [
        ('name: "nobody"', grpc.StatusCode.NOT_FOUND, "Could not find any versions of model nobody"),
        ('name: "ranker" version { value: 2 }', grpc.StatusCode.NOT_FOUND, "Could not find version 2 of model ranker"),
        ('name: "ranker" version_label: "best"', grpc.StatusCode.INVALID_ARGUMENT, "version label: best"),
        ("", grpc.StatusCode.INVALID_ARGUMENT, "Missing ModelSpec"),
    ],
)
def test_a_model_that_is_not_there(stub: Any, spec: str, code: grpc.StatusCode, message: str) -> None:
    with pytest.raises(grpc.RpcError, match=message) as refusal:
        stub.GetModelStatus(request(spec), timeout=60)
    assert refusal.value.code() == code


def test_of_several_versions_all_are_told_or_the_one_that_is_named(folder: Path, new: Path) -> None:
    publish(new, folder / "2")
    service = ModelService(Models({"ranker": ModelConfig("ranker", folder, latest=None, labels={"stable": 1})}))

    def versions(spec: str) -> list[int]:
        return [status.version for status in service.status(request(spec)).model_version_status]

    assert versions('name: "ranker"') == [2, 1]
    assert versions('name: "ranker" version { value: 2 }') == [2]
    assert versions('name: "ranker" version_label: "stable"') == [1]
