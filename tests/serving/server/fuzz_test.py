"""10,000 requests that are almost right, against a server in a process of its own.

Whatever is sent, the answer is OK or says what is wrong with the request: never a defect of the server, a connection
lost, or a wait without end. Afterwards the server has the memory, and gives the numbers, that it had before.
"""

import http.client
import json
import os
import random
import re
import resource
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2

from tests.serving.mutations import DOCUMENTS, SCORE, VALID, mutate_bytes, mutated_body, mutated_request
from tests.serving.ragged_ranker import RaggedRanker

PREDICT = "/tensorflow.serving.PredictionService/Predict"
ADDRESSES = 10 * 2**30  # bytes: a server that asks for more than it may is to fail, not the machine
SECONDS = 60  # for an answer; most take milliseconds
GROWTH = 300 * 2**20  # bytes: what allocators keep for later; 10,000 leaked requests of 100 kB would be 1 GB
REFUSALS = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.FAILED_PRECONDITION,
}
UNREADABLE = (grpc.StatusCode.INTERNAL, "Exception deserializing request!")  # gRPC's own answer to what is no message
BATCHING = "max_batch_size { value: 16 } batch_timeout_micros { value: 1000 } max_enqueued_batches { value: 1000 }"
STATUSES = {200, 400, 404, 413, 414, 415, 431, 501, 505}


@dataclass(frozen=True)
class Running:
    """The server's process, and where it listens."""

    pid: int
    port: int
    rest_port: int

    def memory(self) -> int:
        """Bytes in use."""
        pages = Path(f"/proc/{self.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")


@pytest.fixture(params=["alone", "joined"])
def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server that runs each request alone, and one that joins them."""
    folder = tmp_path_factory.mktemp("models")
    RaggedRanker().save(folder / "ranker" / "1")
    command = [sys.executable, "-m", "mim_tf.serving", "--models", str(folder), "--port", "0", "--rest-api-port", "0"]
    if request.param == "joined":
        (folder / "batching").write_text(BATCHING)
        command += ["--batching-parameters-file", str(folder / "batching")]
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True) as process,
    ):
        assert process.stdout is not None
        resource.prlimit(process.pid, resource.RLIMIT_AS, (ADDRESSES, ADDRESSES))
        ports = []
        while len(ports) < 2:
            line = process.stdout.readline()
            assert line, (folder / "log").read_text()
            ports += [int(port) for port in re.findall(r"on 127\.0\.0\.1:(\d+)", line)]
        yield Running(process.pid, port=ports[1], rest_port=ports[0])
        process.terminate()
        assert process.wait(300) == 0


def call(channel: grpc.Channel, data: bytes) -> grpc.Future:
    return channel.unary_unary(PREDICT).future(data, timeout=SECONDS)


def answers(channel: grpc.Channel, requests: Iterator[bytes]) -> Iterator[tuple[bytes, grpc.StatusCode, str]]:
    """Sends all, of which 64 are under way at a time."""
    calls: list[tuple[bytes, Any]] = []
    for data in requests:
        calls.append((data, call(channel, data)))
        if len(calls) == 64:
            sent, oldest = calls.pop(0)
            yield sent, oldest.code(), oldest.details()
    for sent, left in calls:
        yield sent, left.code(), left.details()


def post_all(running: Running, bodies: list[bytes]) -> Iterator[tuple[bytes, int, bytes]]:
    """Sends all over one connection: it must not be lost by what is in a body."""
    with closing(http.client.HTTPConnection("127.0.0.1", running.rest_port, timeout=SECONDS)) as client:
        for body in bodies:
            client.request("POST", "/v1/models/ranker:predict", body)
            with client.getresponse() as response:
                yield body, response.status, response.read()


def send_all(running: Running, heads: list[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """Sends what is perhaps no HTTP, each over a connection of its own."""
    for data in heads:
        with socket.create_connection(("127.0.0.1", running.rest_port), timeout=SECONDS) as connection:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            yield data, b"".join(iter(lambda connection=connection: connection.recv(2**16), b""))


def fuzz_grpc(running: Running, count: int, draw: random.Random) -> Counter[str]:
    seen: Counter[str] = Counter()
    with grpc.insecure_channel(f"127.0.0.1:{running.port}") as channel:
        for data, code, details in answers(channel, (mutated_request(draw) for _ in range(count))):
            seen[code.name] += 1
            if code != grpc.StatusCode.OK:
                assert code in REFUSALS or (code, details) == UNREADABLE, (data, code, details)
                assert details, data
                assert "Traceback" not in details, data
    return seen


def fuzz_rest(running: Running, count: int, draw: random.Random) -> Counter[str]:
    seen: Counter[str] = Counter()
    bodies = [mutated_body(draw) for _ in range(count)]
    with ThreadPoolExecutor(4) as threads:
        for part in threads.map(lambda part: list(post_all(running, part)), [bodies[at::4] for at in range(4)]):
            for body, status, answer in part:
                seen[str(status)] += 1
                assert status in STATUSES, (body, status, answer)
                assert set(json.loads(answer)) & {"error", "outputs", "predictions"}, body
    return seen


def fuzz_http(running: Running, count: int, draw: random.Random) -> None:
    body = json.dumps(DOCUMENTS[0]).encode()
    head = b"POST /v1/models/ranker:predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body)
    for data, answer in send_all(running, [mutate_bytes(head, draw) + body for _ in range(count)]):
        status = re.match(rb"HTTP/1\.[01] (\d{3}) ", answer)
        assert status is not None, (data, answer)
        assert int(status[1]) in STATUSES, (data, answer)


def valid_answers(running: Running) -> list[Any]:
    """What the valid requests are answered with, by both APIs."""
    found: list[Any] = []
    with grpc.insecure_channel(f"127.0.0.1:{running.port}") as channel:
        for request in VALID:
            outputs = predict_pb2.PredictResponse.FromString(
                call(channel, request.SerializeToString()).result()
            ).outputs
            found.append({name: tf.make_ndarray(proto).tolist() for name, proto in outputs.items()})
    found += [(status, answer) for _, status, answer in post_all(running, [json.dumps(DOCUMENTS[0]).encode()])]
    return found


@pytest.mark.slow
def test_ten_thousand_requests_that_are_almost_right(running: Running) -> None:
    draw = random.Random(0)
    before = valid_answers(running)
    assert before[0]["score"] == SCORE
    fuzz_grpc(running, 1000, draw)  # thread pools and allocators are filled by then
    fuzz_rest(running, 500, draw)
    memory = running.memory()

    codes = fuzz_grpc(running, 5500, draw)
    statuses = fuzz_rest(running, 2500, draw)
    fuzz_http(running, 500, draw)

    assert running.memory() - memory < GROWTH
    assert valid_answers(running) == before
    # The requests are neither all right nor all wrong in the same way: they reach all parts of the server.
    assert {"OK", "INVALID_ARGUMENT", "NOT_FOUND", "FAILED_PRECONDITION", "INTERNAL"} <= set(codes), codes
    assert {"200", "400", "501"} <= set(statuses), statuses
