"""Warm-up records: what a server reads back of them."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis.predict_pb2 import PredictRequest
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

from mim_tf.errors import ExportError
from mim_tf.export.gate import Case
from mim_tf.export.warm_up import write_warm_up


def read(folder: Path) -> list[PredictRequest]:
    records = tf.data.TFRecordDataset(str(folder / "assets.extra" / "tf_serving_warmup_requests"))
    return [PredictionLog.FromString(record).predict_log.request for record in records.as_numpy_iterator()]


def test_a_request_comes_back_as_it_was(tmp_path: Path) -> None:
    inputs = {
        "id": np.array([2**53 + 1, -1]),
        "image": np.array([b"\xff\x00\x00", b""], object),
        "half": np.array([[0.1], [2.0]], np.float16),
    }
    write_warm_up(tmp_path, "shop", [Case("embed", inputs, {}), Case("version", {"request": np.array([0])}, {})])
    first, second = read(tmp_path)
    assert (first.model_spec.name, first.model_spec.signature_name) == ("shop", "embed")
    assert second.model_spec.signature_name == "version"
    for name, values in inputs.items():
        np.testing.assert_array_equal(tf.make_ndarray(first.inputs[name]), values)


def test_what_no_server_could_join_is_left_out(tmp_path: Path) -> None:
    rows, flat = np.array([1, 2]), np.array([7, 8, 9])
    cases = [Case("ragged", {"item_id": rows, "history_item_id": history}, {}) for history in (flat, flat[:2])]
    write_warm_up(tmp_path, "shop", cases)
    [request] = read(tmp_path)
    np.testing.assert_array_equal(tf.make_ndarray(request.inputs["history_item_id"]), [7, 8])


def test_a_server_takes_a_thousand(tmp_path: Path) -> None:
    case = Case("version", {"request": np.array([0])}, {})
    write_warm_up(tmp_path, "shop", [case] * 1000)
    assert len(read(tmp_path)) == 1000
    with pytest.raises(ExportError, match=r"at most 1000 warm-up records\. Received: 1001\."):
        write_warm_up(tmp_path, "shop", [case] * 1001)
