"""How tests publish a version with its warm-up records, and wait for what a server makes of it."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2


def publish(saved: Path, version: Path) -> Path:
    """Puts a copy of a SavedModel in place as a version, as the README tells to."""
    aside = version.with_name(f"{version.name}.tmp")
    shutil.copytree(saved, aside)
    return aside.rename(version)


def wait_until(holds: Callable[[], bool], seconds: float = 300.0) -> None:
    """Returns when something holds; fails if it does not in time."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "what was waited for did not happen"
        time.sleep(0.01)


def exists(table: tf.Tensor) -> bool:
    """Whether a hash table is still in memory, by its handle."""
    try:
        return int(tf.raw_ops.LookupTableSizeV2(table_handle=table)) >= 0
    except tf.errors.NotFoundError:
        return False


def bring_along(version: Path, *records: bytes) -> None:
    """Gives a version warm-up records."""
    (version / "assets.extra").mkdir()
    with tf.io.TFRecordWriter(str(version / "assets.extra" / "tf_serving_warmup_requests")) as writer:
        for record in records:
            writer.write(record)


def warmup_record(signature: str, **inputs: Any) -> bytes:
    """A `PredictionLog` of a request for any model."""
    log = prediction_log_pb2.PredictionLog()
    log.predict_log.request.model_spec.signature_name = signature
    for name, value in inputs.items():
        log.predict_log.request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return log.SerializeToString()
