"""What Prometheus may know of a server, by TF Serving's names where it has them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import tensorflow as tf
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric, generate_latest

from mim_tf.errors import ServingError
from mim_tf.serving.server.config_files import MonitoringConfig, read_config
from mim_tf.serving.server.grpc_status import code_of

METRICS_PATH = "/monitoring/prometheus/metrics"  # TF Serving's default

# TF Serving's: 33 limits from 10 microseconds on, each 1.8 times the one before; 52 from 100 on, each 1.2 times.
_LATENCIES = tuple(10 * 1.8**i for i in range(33))
_QUEUING_LATENCIES = tuple(100 * 1.2**i for i in range(52))
_ROWS = tuple(2**i for i in range(15))
_API = {"GRPC": "Predict", "REST": "predict"}  # written so by TF Serving, and known so to its dashboards


class ServerMetrics:
    """Counters, gauges and histograms of one server, in a registry of their own.

    `:tensorflow:...` are TF Serving's, with times in microseconds; `mim_serving_...` are the stand-in's.

    Attributes:
        models: The models that there are. Requests for others are counted as for a model without a name, so that who
            asks cannot fill the memory with names.
    """

    def __init__(self) -> None:
        self.models: set[str] = set()
        self.registry = CollectorRegistry()
        self.requests = self._counter(":tensorflow:serving:request_count", "Requests answered.", "model_name", "status")
        self.load_attempts = self._counter(
            ":tensorflow:cc:saved_model:load_attempt_count", "Loads of a SavedModel.", "model_path", "status"
        )
        self.load_latency = self._counter(
            ":tensorflow:cc:saved_model:load_latency", "Time in loads that succeeded.", "model_path"
        )
        self.joined_runs = self._counter(
            ":tensorflow:serving:batching_session:wrapped_run_count", "Runs of joined requests."
        )
        self.request_latency = self._histogram(
            ":tensorflow:serving:request_latency",
            "From a request to its answer, if it is not refused.",
            ("model_name", "API", "entrypoint"),
            _LATENCIES,
        )
        self.runtime_latency = self._histogram(
            ":tensorflow:serving:runtime_latency",
            "In TensorFlow, of a request or of several that are joined.",
            ("model_name", "API", "runtime"),
            _LATENCIES,
        )
        self.warmup_latency = self._histogram(
            ":tensorflow:serving:model_warmup_latency", "Replaying requests.", ("model_path", "status"), _LATENCIES
        )
        self.queuing_latency = self._histogram(
            ":tensorflow:serving:batching_session:queuing_latency",
            "From a request to the run that it is joined to.",
            ("thread_pool_name",),
            _QUEUING_LATENCIES,
        )
        self.batch_rows = self._histogram(
            "mim_serving_batch_rows", "Rows of a joined run, without padding.", ("model_name", "signature"), _ROWS
        )
        self.queue_length = Gauge(
            "mim_serving_queue_length", "Requests that wait to be joined.", registry=self.registry
        )
        self.requests_under_way = Gauge(
            "mim_serving_requests_under_way", "Requests taken in and not answered yet.", registry=self.registry
        )

    def exposition(self) -> bytes:
        """Writes all of them in Prometheus' text format, version 0.0.4."""
        return generate_latest(self.registry)

    @contextmanager
    def request(self, model: str, entrypoint: str) -> Iterator[None]:
        """Counts the request that the block answers, by what becomes of it.

        Args:
            model: The model that it names.
            entrypoint: By which it came, "GRPC" or "REST".
        """
        started = time.monotonic()
        model = model if model in self.models else ""
        status = grpc.StatusCode.UNKNOWN
        try:
            with self.requests_under_way.track_inprogress():
                yield
            status = grpc.StatusCode.OK
        except tf.errors.OpError as error:
            status = code_of(error)
            raise
        finally:
            self.requests.labels(model, status.name).inc()
            if status == grpc.StatusCode.OK:  # refusals are quick, and would hide slow answers
                self.request_latency.labels(model, _API[entrypoint], entrypoint).observe(_microseconds_since(started))

    @contextmanager
    def run(self, model: str) -> Iterator[None]:
        """Measures what the block runs in TensorFlow for a model."""
        started = time.monotonic()
        yield
        self.runtime_latency.labels(model, "Predict", "TF2").observe(_microseconds_since(started))

    @contextmanager
    def load(self, path: str) -> Iterator[None]:
        """Counts the load of a SavedModel that the block does."""
        started = time.monotonic()
        status = "fail"
        try:
            yield
            status = "success"
            self.load_latency.labels(path).inc(_microseconds_since(started))
        finally:
            self.load_attempts.labels(path, status).inc()

    @contextmanager
    def warmup(self, path: str) -> Iterator[None]:
        """Measures the warm-up that the block does."""
        started = time.monotonic()
        status = "fail"
        try:
            yield
            status = "OK"
        finally:
            self.warmup_latency.labels(path, status).observe(_microseconds_since(started))

    def _counter(self, name: str, documentation: str, *labels: str) -> Counter:
        counter = Counter(name, documentation, labels, registry=None)
        self.registry.register(_Unsuffixed(counter))
        return counter

    def _histogram(
        self, name: str, documentation: str, labels: tuple[str, ...], buckets: tuple[float, ...]
    ) -> Histogram:
        return Histogram(name, documentation, labels, buckets=buckets, registry=self.registry)


class _Unsuffixed:
    """Exposes a counter by its bare name, as TF Serving does: Prometheus' library appends `_total`."""

    def __init__(self, counter: Counter) -> None:
        self._counter = counter

    def collect(self) -> Iterator[Metric]:
        for counted in self._counter.collect():
            metric = Metric(counted.name, counted.documentation, "unknown")  # a "counter" must have the suffix
            metric.samples = [
                sample._replace(name=counted.name) for sample in counted.samples if sample.name.endswith("_total")
            ]
            yield metric


def _microseconds_since(started: float) -> float:
    return (time.monotonic() - started) * 1e6


def metrics_path(config_file: str | Path) -> str | None:
    """Reads where a server is to expose its metrics.

    Args:
        config_file: A `MonitoringConfig` in text format: TF Serving's `--monitoring_config_file`.

    Returns:
        The path on the REST port; None if they are not to be exposed.

    Raises:
        ServingError: If the file cannot be read, or the path has no slash before it.
    """
    prometheus = read_config(config_file, MonitoringConfig).prometheus_config
    path = prometheus.path or METRICS_PATH
    if not path.startswith("/"):
        raise ServingError(f'{config_file}: `path` must start with "/". Received: {path}.')
    return path if prometheus.enable else None
