"""Warm-up records, as a SavedModel brings them along."""

from pathlib import Path

import pytest
import tensorflow as tf
from tensorflow_serving.apis import model_pb2, predict_pb2, prediction_log_pb2

from mim_tf.errors import ServingError
from mim_tf.serving.load.recorded_requests import recorded_requests
from tests.serving.load.records import write_records


def request(signature: str, item: int) -> predict_pb2.PredictRequest:
    spec = model_pb2.ModelSpec(name="as exported", signature_name=signature)
    spec.version.value = 7
    return predict_pb2.PredictRequest(model_spec=spec, inputs={"item_id": tf.make_tensor_proto([item])})


def items(requests: list[predict_pb2.PredictRequest]) -> list[int]:
    return [int(tf.make_ndarray(one.inputs["item_id"])[0]) for one in requests]


@pytest.fixture
def records(tmp_path: Path) -> Path:
    signatures = ("rank", "predict", "rank", "")
    return write_records(tmp_path / "records", [request(name, number) for number, name in enumerate(signatures)])


def test_those_of_a_signature_go_to_the_served_model_in_any_version(records: Path) -> None:
    found = recorded_requests(records, "ranker", "rank")
    assert items(found) == [0, 2]
    for one in found:
        assert (one.model_spec.name, one.model_spec.signature_name) == ("ranker", "rank")
        assert one.model_spec.WhichOneof("version_choice") is None
    assert items(recorded_requests(records, "ranker", "serving_default")) == [3]


def test_a_signature_without_records(records: Path) -> None:
    expected = r"signature 'lookup'\. There are those of: predict, rank, serving_default\."
    with pytest.raises(ServingError, match=expected):
        recorded_requests(records, "ranker", "lookup")


def test_records_of_another_kind_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "records"
    with tf.io.TFRecordWriter(str(path)) as writer:
        writer.write(prediction_log_pb2.PredictionLog(classify_log={}).SerializeToString())
    with pytest.raises(ServingError, match=r"There are those of: none\."):
        recorded_requests(path, "ranker", "rank")


@pytest.mark.parametrize("content", [None, b"no TFRecord at all, but as long as one", "no log"])
def test_a_file_that_cannot_be_read(tmp_path: Path, content: bytes | str | None) -> None:
    path = tmp_path / "records"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        with tf.io.TFRecordWriter(str(path)) as writer:
            writer.write(content)
    with pytest.raises(ServingError, match="records must be a file of warm-up records"):
        recorded_requests(path, "ranker", "rank")
