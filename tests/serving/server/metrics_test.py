"""What Prometheus is told, read back by its own parser."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from prometheus_client.parser import text_string_to_metric_families

from mim_tf.errors import ServingError
from mim_tf.serving.server.metrics import ServerMetrics, metrics_path
from mim_tf.serving.server.model_config import find_models
from mim_tf.serving.server.models import Models
from mim_tf.serving.server.servable import Servable
from tests.serving.publishing import bring_along, publish, warmup_record

TF_SERVING = ":tensorflow:serving:"
SAVED_MODEL = ":tensorflow:cc:saved_model:"


def told(metrics: ServerMetrics) -> dict[tuple[str, ...], float]:
    """The value of each sample, by its name and the values of its labels in the order of the labels' names."""
    families = text_string_to_metric_families(metrics.exposition().decode())
    return {
        (sample.name, *(sample.labels[label] for label in sorted(sample.labels))): sample.value
        for family in families
        for sample in family.samples
    }


def refuse() -> None:
    raise tf.errors.InvalidArgumentError(None, None, "no")


def fail() -> None:
    raise RuntimeError("a defect")


@pytest.fixture
def metrics() -> ServerMetrics:
    metrics = ServerMetrics()
    metrics.models.add("ranker")
    return metrics


def test_requests_are_counted_by_model_and_what_became_of_them(metrics: ServerMetrics) -> None:
    def ask(model: str, answer: Callable[[], object]) -> None:
        with metrics.request(model, "GRPC"):
            answer()

    for _ in range(3):
        ask("ranker", dict)
    with pytest.raises(tf.errors.InvalidArgumentError, match="no"):
        ask("ranker", refuse)
    with pytest.raises(RuntimeError, match="a defect"):
        ask("ranker", fail)
    for name in ("made up", "made up too"):
        with pytest.raises(tf.errors.InvalidArgumentError, match="no"):
            ask(name, refuse)

    counts = {key[1:]: value for key, value in told(metrics).items() if key[0] == f"{TF_SERVING}request_count"}
    assert counts == {
        ("ranker", "OK"): 3,
        ("ranker", "INVALID_ARGUMENT"): 1,
        ("ranker", "UNKNOWN"): 1,
        ("", "INVALID_ARGUMENT"): 2,
    }
    assert told(metrics)["mim_serving_requests_under_way",] == 0


def test_latencies_are_of_answers_by_the_names_and_limits_of_tf_serving(metrics: ServerMetrics) -> None:
    with metrics.request("ranker", "GRPC"):
        assert told(metrics)["mim_serving_requests_under_way",] == 1
    with metrics.request("ranker", "REST"):
        pass
    with pytest.raises(tf.errors.InvalidArgumentError, match="no"), metrics.request("ranker", "REST"):
        refuse()
    samples = told(metrics)
    assert samples[f"{TF_SERVING}request_latency_count", "Predict", "GRPC", "ranker"] == 1
    assert samples[f"{TF_SERVING}request_latency_count", "predict", "REST", "ranker"] == 1
    limits = [float(key[3]) for key in samples if key[0].endswith("request_latency_bucket") and key[2] == "GRPC"]
    # 10, 18, 32.4 ... microseconds, 33 of them and infinity: the last is 10 * 1.8^32, about 25 minutes.
    np.testing.assert_allclose(limits[:3], [10, 18, 32.4])
    assert len(limits) == 34
    np.testing.assert_allclose(limits[-2] / 60e6, 24.6, rtol=0.01)


def test_latencies_are_in_microseconds(metrics: ServerMetrics, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([100.0, 100.25])
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    with metrics.run("ranker"):
        pass
    assert told(metrics)[f"{TF_SERVING}runtime_latency_sum", "Predict", "ranker", "TF2"] == 250_000


def test_loads_and_warm_ups_are_told_by_path(metrics: ServerMetrics, old: Path, tmp_path: Path) -> None:
    good, refused = publish(old, tmp_path / "1"), publish(old, tmp_path / "2")
    bring_along(good, warmup_record("lookup", item_id=np.array([7])))
    bring_along(refused, warmup_record("rank"))
    (tmp_path / "3").mkdir()
    Servable("ranker", 1, good, metrics)
    for version in (2, 3):
        with pytest.raises(ServingError, match=f"version {version} cannot be loaded"):
            Servable("ranker", version, tmp_path / str(version), metrics)

    samples = told(metrics)
    attempts = {key[1:]: value for key, value in samples.items() if key[0] == f"{SAVED_MODEL}load_attempt_count"}
    assert attempts == {
        (str(good), "success"): 1,
        (str(refused), "success"): 1,
        (str(tmp_path / "3"), "fail"): 1,
    }
    assert samples[f"{SAVED_MODEL}load_latency", str(good)] > 0
    assert samples[f"{TF_SERVING}model_warmup_latency_count", str(good), "OK"] == 1
    assert samples[f"{TF_SERVING}model_warmup_latency_count", str(refused), "fail"] == 1


def test_models_tells_which_names_there_are(models: Path) -> None:
    metrics = ServerMetrics()
    Models(find_models(models), metrics)
    assert metrics.models == {"other", "ranker"}


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("prometheus_config { enable: true }", "/monitoring/prometheus/metrics"),
        ('prometheus_config { enable: true path: "/metrics" }', "/metrics"),
        ('prometheus_config { path: "/metrics" }', None),
        ("", None),
    ],
)
def test_the_file_says_where_they_are(tmp_path: Path, text: str, path: str | None) -> None:
    (tmp_path / "monitoring.config").write_text(text)
    assert metrics_path(tmp_path / "monitoring.config") == path


def test_a_path_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "monitoring.config").write_text('prometheus_config { enable: true path: "metrics" }')
    with pytest.raises(ServingError, match=r'monitoring\.config: `path` must start with "/"\. Received: metrics\.'):
        metrics_path(tmp_path / "monitoring.config")
