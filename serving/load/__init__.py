"""The load test: a server's latency at a given rate of requests, at rest, during upserts and while versions change."""
