"""Kafka, against the cluster that librdkafka mocks inside a process: real consumers, real offsets."""

import re
import time

import pytest
from confluent_kafka import Producer

from mim_tf.errors import DataError
from mim_tf.realtime.kafka_source import KafkaSource

OPTIONS = {"session.timeout.ms": "6000", "heartbeat.interval.ms": "200", "topic.metadata.refresh.interval.ms": "200"}


class Cluster:
    """A broker in this process, and a producer for it."""

    def __init__(self) -> None:
        self.producer = Producer({"bootstrap.servers": "mock", "test.mock.num.brokers": 1})
        (broker,) = self.producer.list_topics(timeout=10).brokers.values()
        self.address = f"{broker.host}:{broker.port}"

    def send(self, topic: str, *values: str, key: str = "k") -> None:
        for value in values:
            self.producer.produce(topic, value.encode(), key=key.encode())
        assert self.producer.flush(10) == 0

    def source(self, topic: str, **options: str) -> KafkaSource:
        return KafkaSource(f"kafka://{self.address}/{topic}", {**OPTIONS, **options})


@pytest.fixture(scope="module")
def cluster() -> Cluster:
    return Cluster()


def read(source: KafkaSource, most: int, seconds: float = 30.0) -> list[str]:
    """So many messages, or what comes until it is drained."""
    got: list[str] = []
    end = time.monotonic() + seconds
    while len(got) < most and time.monotonic() < end:
        messages = source.poll(most - len(got), 0.2)
        got += [message.payload.decode() for message in messages]
        if not messages and source.drained():
            break
    return got


@pytest.mark.slow
def test_messages_come_in_order_and_again_until_they_are_acknowledged(cluster: Cluster) -> None:
    cluster.send("orders", *(str(number) for number in range(10)))
    source = cluster.source("orders")
    assert read(source, 4) == ["0", "1", "2", "3"]
    assert source.lag() == 6
    source.acknowledge()
    assert read(source, 3) == ["4", "5", "6"]
    source.close()  # without a word: as after a death

    source = cluster.source("orders")
    assert read(source, 100) == ["4", "5", "6", "7", "8", "9"]
    assert source.drained()
    assert source.lag() == 0
    source.acknowledge()
    before = time.time()
    cluster.send("orders", "10")
    (message,) = source.poll(1, 10)
    assert message.payload == b"10"
    assert re.fullmatch(r"orders\[\d\], offset 10", message.origin)
    assert before - 1 <= message.arrived <= time.time() + 1
    source.close()

    other = cluster.source("orders", **{"group.id": "other"})  # groups read apart
    assert read(other, 1) == ["0"]
    other.close()


@pytest.mark.parametrize(
    ("uri", "options", "message"),
    [
        ("kafka://host:1", {}, r"`realtime.source` must be kafka://broker:port/topic\. Received: kafka://host:1"),
        ("kafka:///topic", {}, r"must be kafka://broker:port/topic"),
        ("kafka://h:1/t", {"enable.auto.commit": "true"}, r"`realtime.kafka` must not set enable.auto.commit"),
        ("kafka://h:1/t", {"no.such": "1"}, r"`realtime.kafka`: .*no\.such"),
    ],
)
def test_what_is_wrong_is_told(uri: str, options: dict[str, str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        KafkaSource(uri, options)
