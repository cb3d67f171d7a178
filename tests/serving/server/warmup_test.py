"""What is replayed before a version answers, and what a record that fails does."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from mim_tf.errors import ServingError
from mim_tf.serving.server.servable import Servable
from mim_tf.serving.server.warmup import warm_up
from tests.serving.publishing import bring_along, publish, warmup_record


def replayed(folder: Path) -> list[list[int]]:
    """The ids that each replayed request asks for."""
    asked: list[predict_pb2.PredictRequest] = []
    warm_up(folder, asked.append)
    return [tf.make_ndarray(request.inputs["item_id"]).tolist() for request in asked]


def test_without_records_nothing_is_replayed(tmp_path: Path) -> None:
    assert replayed(tmp_path) == []


def test_records_are_replayed_in_their_order(tmp_path: Path) -> None:
    bring_along(tmp_path, *(warmup_record("lookup", item_id=np.array([number])) for number in range(5)))
    assert replayed(tmp_path) == [[0], [1], [2], [3], [4]]


def test_a_thousand_records_are_the_most(tmp_path: Path) -> None:
    (tmp_path / "fits").mkdir()
    (tmp_path / "more").mkdir()
    record = warmup_record("lookup", item_id=np.array([7]))
    bring_along(tmp_path / "fits", *[record] * 1000)
    bring_along(tmp_path / "more", *[record] * 1001)
    assert len(replayed(tmp_path / "fits")) == 1000
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"exceeds the maximum \(1000\) at .*more/assets"):
        replayed(tmp_path / "more")


@pytest.mark.parametrize(
    ("record", "error", "match"),
    [
        (b"\xff\xff", tf.errors.InvalidArgumentError, "warm-up record 2 failed: Failed to parse warmup record"),
        (b"", tf.errors.UnimplementedError, "warm-up record 2 failed: Unsupported log_type for warmup: None"),
        (
            prediction_log_pb2.PredictionLog(
                classify_log=prediction_log_pb2.ClassifyLog(response={"model_spec": {"name": "ranker"}})
            ).SerializeToString(),
            tf.errors.UnimplementedError,
            "warm-up record 2 failed: Unsupported log_type for warmup: classify_log",
        ),
    ],
)
def test_a_record_that_is_no_request_is_named(
    tmp_path: Path, record: bytes, error: type[tf.errors.OpError], match: str
) -> None:
    bring_along(tmp_path, warmup_record("lookup", item_id=np.array([7])), record)
    with pytest.raises(error, match=match):
        replayed(tmp_path)


def test_a_file_that_is_cut_off_is_no_tfrecord(tmp_path: Path) -> None:
    bring_along(tmp_path, warmup_record("lookup", item_id=np.array([7])))
    path = tmp_path / "assets.extra" / "tf_serving_warmup_requests"
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(tf.errors.DataLossError, match=r"verify your warmup data is in TFRecord format: .*warmup_req"):
        replayed(tmp_path)


def test_a_version_whose_records_are_answered_is_loaded(old: Path, tmp_path: Path) -> None:
    version = publish(old, tmp_path / "1")
    started = tmp_path / "started"  # which the signature `wait` writes
    (tmp_path / "go").touch()
    bring_along(version, warmup_record("lookup", item_id=np.array([7])), warmup_record("wait", folder=str(tmp_path)))
    Servable("ranker", 1, version)
    assert started.exists()


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (warmup_record("lookup", item_id=7.5), r"InvalidArgumentError: warm-up record 2 failed: input must be item_id"),
        (warmup_record("rank"), r'FailedPreconditionError: warm-up record 2 failed: Serving signature key "rank" not'),
        (warmup_record("read", path="/nowhere"), r"NotFoundError: warm-up record 2 failed: /nowhere; No such file"),
    ],
)
def test_a_version_that_refuses_a_record_is_not_loaded(old: Path, tmp_path: Path, record: bytes, reason: str) -> None:
    version = publish(old, tmp_path / "1")
    bring_along(version, warmup_record("lookup", item_id=np.array([7])), record)
    with pytest.raises(ServingError, match=f'model "ranker" version 1 cannot be loaded from .*{reason}') as failure:
        Servable("ranker", 1, version)
    assert isinstance(failure.value.__cause__, tf.errors.OpError)
