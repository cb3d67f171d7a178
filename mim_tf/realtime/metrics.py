"""What Prometheus may know of the real-time process."""

from __future__ import annotations

from collections import Counter as Counts

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

_SECONDS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.25, 1.5, 2, 3, 5, 10, 30, 60, 300)
RESULTS = ("committed", "known", "overtaken", "dead")
PARTS = ("source", "encoder", "store", "server")


class Metrics:
    """Counters, gauges and histograms, all named `mim_realtime_...`."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        self.events = Counter("mim_realtime_events", "Events by what became of them.", ["result"], registry=registry)
        self.failures = Counter(
            "mim_realtime_failures", "Failed attempts, each of which is repeated.", ["part"], registry=registry
        )
        self.lag = Gauge(
            "mim_realtime_lag", "What waits to be read: bytes of files, messages of a topic.", registry=registry
        )
        self.window_age = Gauge(
            "mim_realtime_window_age_seconds", "Since the first event of the open window.", registry=registry
        )
        self.commit_seconds = Histogram(
            "mim_realtime_commit_seconds", "From a window's end to its commit.", buckets=_SECONDS, registry=registry
        )
        self.store_version = Gauge("mim_realtime_store_version", "Newest version known.", registry=registry)
        self.server_version = Gauge(
            "mim_realtime_server_version", "Version of the server's table.", ["server"], registry=registry
        )
        self.server_rows = Gauge(
            "mim_realtime_server_rows", "Rows that the server's table needs so far.", ["server"], registry=registry
        )
        self.server_capacity = Gauge(
            "mim_realtime_server_capacity", "Rows that the server's table has.", ["server"], registry=registry
        )
        self.freshness = Histogram(
            "mim_realtime_freshness_seconds",
            "From an event's arrival to its embedding in the server's table.",
            ["server"],
            buckets=_SECONDS,
            registry=registry,
        )
        for result in RESULTS:
            self.events.labels(result)
        for part in PARTS:
            self.failures.labels(part)

    def count(self, counts: Counts[str]) -> None:
        """Add events by what became of them."""
        for result, number in counts.items():
            self.events.labels(result).inc(number)

    def serve(self, host: str, port: int) -> int:
        """Answer at `http://host:port/metrics` from now on; port 0 picks a free one.

        Returns:
            The port.
        """
        server, _ = start_http_server(port, host, self.registry)
        return int(server.server_port)
