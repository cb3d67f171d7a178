"""The command, from files to a store and a server."""

import json
import os
import signal
import subprocess
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from confluent_kafka import Producer

from mim_tf.serving.client import Client
from mim_tf.serving.server import Server
from tests.realtime.pictures import event
from tests.realtime.toy_center import ENV, FINGERPRINT, ToyCenter, expected

PATIENCE = 300.0  # seconds, of a machine that does much else


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.slow
def test_from_a_file_to_a_server_and_again(tmp_path: Path) -> None:
    center = ToyCenter(tmp_path)
    center.export()
    lines = [event(number, number) for number in range(2, 700)]
    (center.incoming / "a.jsonl").write_bytes(b"".join([*lines, b"poison\n", event(-1, 5)]))
    with Server(center.models, port=0) as server, Client(f"127.0.0.1:{server.port}") as client:
        serving = ["--set", f'realtime.servers=["127.0.0.1:{server.port}/table"]']
        ended = center.run("--once", *serving)
        assert ended.returncode == 0, ended.stderr
        assert ended.stdout.splitlines()[-1] == "Ended: 698 committed, 2 dead."
        assert center.held() == {1: (1, 0)} | {number: expected(number) for number in range(2, 700)}
        answer = client.predict("table", {"item_id": np.arange(2, 701)}, signature="lookup")
        assert answer["hit"].tolist() == [True] * 698 + [False]
        assert answer["embedding"][:698].tolist() == [list(expected(number)) for number in range(2, 700)]
        letters = (center.workdir / "realtime" / "dead_letters.jsonl").read_text().splitlines()
        assert [json.loads(line)["reason"][:7] for line in letters] == ["no JSON", "reserve"]

        (center.workdir / "realtime" / "progress.json").unlink()  # all is read again
        assert center.run("--once", *serving).stdout.splitlines()[-1] == "Ended: 2 dead, 698 known."


@pytest.mark.slow
def test_it_follows_the_folder_until_sigterm(tmp_path: Path) -> None:
    center = ToyCenter(tmp_path, window_seconds=30.0, metrics_port=0, encoder=None)
    with subprocess.Popen(center.realtime(), env=ENV, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        metrics = process.stdout.readline().split()[-1]
        assert process.stdout.readline().startswith("Reading ")
        rival = center.run("--once")
        assert (rival.returncode, rival.stderr) == (
            1,
            f"error: another process works in {center.workdir / 'realtime'}. Wait for it, or stop it.\n",
        )
        (center.incoming / "a.jsonl").write_bytes(event(2, 2))
        wait_for(lambda: "mim_realtime_window_age_seconds 0.0" not in page(metrics))
        assert "mim_realtime_lag 0.0" in page(metrics)
        assert len(center.store) == 1  # the window is still open
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
        assert process.stdout.read() == "Ended: 1 committed.\n"
    assert center.held() == {1: (1, 0), 2: (2, 0)}


def page(address: str) -> str:
    with urllib.request.urlopen(address, timeout=60) as answer:
        return answer.read().decode()


@pytest.mark.slow
def test_an_encoder_behind_grpc(tmp_path: Path) -> None:
    center = ToyCenter(tmp_path)
    save_served_encoder(tmp_path / "encoders" / "item_encoder" / "1", FINGERPRINT)
    save_served_encoder(tmp_path / "others" / "item_encoder" / "1", "another")
    (center.incoming / "a.jsonl").write_bytes(event(2, 2) + event(3, 300) + event(4, 13) + event(5, 5))
    with Server(tmp_path / "others", port=0) as server:
        ended = center.run("--once", "--set", f"realtime.encoder=127.0.0.1:{server.port}")
        assert ended.returncode == 1
        assert f"`realtime.encoder` must serve {FINGERPRINT}" in ended.stderr
    with Server(tmp_path / "encoders", port=0) as server:
        ended = center.run("--once", "--set", f"realtime.encoder=127.0.0.1:{server.port}")
    assert ended.stdout.splitlines()[-1] == "Ended: 3 committed, 1 dead.", ended.stderr
    assert center.held() == {1: (1, 0), 2: (2, 0), 3: (44, 1), 5: (5, 0)}
    letter = json.loads((center.workdir / "realtime" / "dead_letters.jsonl").read_text())
    assert letter["reason"].startswith("the encoder fails: ")
    assert "thirteen" in letter["reason"]


def save_served_encoder(folder: Path, fingerprint: str) -> None:
    """What an export of the encoder looks like to a client; pictures of 13 fail inside the graph."""

    def decoded(image: tf.Tensor) -> tf.Tensor:
        pixel = tf.cast(tf.io.decode_image(image, 3, expand_animations=False)[0, 0, :2], tf.float32)
        with tf.control_dependencies([tf.debugging.Assert(pixel[0] != 13, ["thirteen"])]):
            return tf.identity(pixel)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "image"), tf.TensorSpec([None], tf.string, "title")])
    def embed(image: tf.Tensor, title: tf.Tensor) -> dict[str, tf.Tensor]:
        embedding = tf.map_fn(decoded, image, fn_output_signature=tf.TensorSpec([2], tf.float32))
        return {"embedding": embedding, "encoder": tf.fill(tf.shape(title), fingerprint)}

    module = tf.Module()
    module.embed = embed
    os.makedirs(folder)
    tf.saved_model.save(module, str(folder), signatures={"embed": embed})


@pytest.mark.slow
def test_events_from_kafka(tmp_path: Path) -> None:
    producer = Producer({"bootstrap.servers": "mock", "test.mock.num.brokers": 1})
    (broker,) = producer.list_topics(timeout=60).brokers.values()
    for number in range(2, 300):
        producer.produce("items", event(number % 50 + 2, number, timestamp=number), key=str(number % 50).encode())
    producer.produce("items", b"poison")
    assert producer.flush(60) == 0
    center = ToyCenter(tmp_path, source=f"kafka://{broker.host}:{broker.port}/items")
    ended = center.run("--once")
    assert ended.stdout.splitlines()[-1] == "Ended: 298 committed, 1 dead.", ended.stderr
    last = {number % 50 + 2: expected(number) for number in range(2, 300)}
    assert center.held() == {1: (1, 0)} | last
    again = center.run("--once")  # the offsets were committed
    assert again.stdout.splitlines()[-1] == "Ended: no events."


def test_what_is_missing_is_told(tmp_path: Path) -> None:
    center = ToyCenter(tmp_path)
    (center.workdir / "represent" / "metrics.json").unlink()
    ended = center.run()
    assert ended.returncode == 1
    assert "represent is not finished. Run first: python -m mim_tf.train --stage represent --config" in ended.stderr
