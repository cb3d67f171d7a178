"""Kafka, against the cluster that librdkafka mocks inside a process: real consumers, real offsets."""

import itertools
import re
import time
from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition

from mim_tf.errors import DataError
from mim_tf.realtime.kafka_source import KafkaSource

OPTIONS = {"session.timeout.ms": "6000", "heartbeat.interval.ms": "200", "topic.metadata.refresh.interval.ms": "200"}


class Cluster:
    """A broker in this process, and a producer for it."""

    def __init__(self) -> None:
        self.producer = Producer({"bootstrap.servers": "mock", "test.mock.num.brokers": 1})
        (broker,) = self.producer.list_topics(timeout=60).brokers.values()
        self.address = f"{broker.host}:{broker.port}"

    def send(self, topic: str, *values: str, key: str = "k") -> None:
        for value in values:
            self.producer.produce(topic, value.encode(), key=key.encode())
        assert self.producer.flush(60) == 0

    def source(self, topic: str, **options: str) -> KafkaSource:
        return KafkaSource(f"kafka://{self.address}/{topic}", {**OPTIONS, **options})

    def committed(self, topic: str) -> int:
        """Messages that the group needs no more, of all partitions, as the broker says."""
        asking = Consumer({"bootstrap.servers": self.address, "group.id": "mim-realtime"})
        places = [TopicPartition(topic, partition) for partition in asking.list_topics(topic).topics[topic].partitions]
        offsets = [place.offset for place in asking.committed(places, timeout=60)]
        asking.close()
        return sum(max(0, offset) for offset in offsets)


@pytest.fixture(scope="module")
def cluster() -> Cluster:
    return Cluster()


def read(source: KafkaSource, most: int, seconds: float = 60.0) -> list[str]:
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
    (message,) = source.poll(1, 60)
    assert message.payload == b"10"
    assert re.fullmatch(r"orders\[\d\], offset 10", message.origin)
    assert before - 1 <= message.arrived <= time.time() + 1
    source.close()

    other = cluster.source("orders", **{"group.id": "other"})  # groups read apart
    assert read(other, 1) == ["0"]
    other.close()


KEYS = [f"k{number}" for number in range(8)]  # two in each of the mocked topic's four partitions


def wave(cluster: Cluster, number: int) -> set[str]:
    """Three messages of each key, sent in turns: `<key> <number in the order of its key>`."""
    values = [f"{key} {number + step}" for step in range(3) for key in KEYS]
    for value in values:
        cluster.send("shared", value, key=value.split()[0])
    return set(values)


def poll_until(condition: Callable[[], bool], got: dict[KafkaSource, list[str]]) -> None:
    """Poll all of them until then, and add what they read."""
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, got
        for source, values in got.items():
            values += [message.payload.decode() for message in source.poll(100, 0.1)]


def acknowledge_until(offset: int, cluster: Cluster, got: dict[KafkaSource, list[str]]) -> None:
    """Acknowledge what each of them read until the group's offsets add up to that: hand-overs take some back."""

    def there() -> bool:
        for source in got:
            source.acknowledge()
        return cluster.committed("shared") == offset

    poll_until(there, got)


def in_order(values: list[str], start: int = 0) -> bool:
    """Whether each key's messages came in the order they were sent in, as often from the group's offset as it likes.

    A group may hand its partitions around more than once, and what was not acknowledged is read again each time.
    """
    numbers = [[start, *(int(value.split()[1]) for value in values if value.split()[0] == key)] for key in KEYS]
    return all(now in (before + 1, start) for of_key in numbers for before, now in itertools.pairwise(of_key))


@pytest.mark.slow
def test_partitions_change_hands(cluster: Cluster) -> None:
    sent = wave(cluster, 0)
    first = cluster.source("shared")
    alone: dict[KafkaSource, list[str]] = {first: []}
    poll_until(first.drained, alone)
    assert set(alone[first]) == sent
    assert in_order(alone[first])

    # Another one comes. Nothing was acknowledged, so both read from the beginning what is theirs now.
    second = cluster.source("shared")
    both: dict[KafkaSource, list[str]] = {first: [], second: []}
    poll_until(lambda: second.drained() and first.drained(), both)
    sent |= wave(cluster, 3)
    poll_until(lambda: set(both[first] + both[second]) == sent, both)
    assert all(values and in_order(values) for values in both.values())
    second.acknowledge()
    of_second = cluster.committed("shared")
    first.acknowledge()  # must not set back what it read alone, which is the other one's now
    assert cluster.committed("shared") >= of_second
    acknowledge_until(len(sent), cluster, both)

    # It leaves, what it read last not acknowledged: the first one reads that again.
    last = wave(cluster, 6)
    third: dict[KafkaSource, list[str]] = {first: [], second: []}
    poll_until(lambda: set(third[first] + third[second]) == last, third)
    assert all(in_order(values, start=6) for values in third.values())
    first.acknowledge()
    second.close()
    again: dict[KafkaSource, list[str]] = {first: []}
    poll_until(lambda: set(third[second]) <= set(again[first]) and first.drained(), again)
    assert set(again[first]) <= last
    assert in_order(again[first], start=6)
    acknowledge_until(len(sent | last), cluster, again)
    first.close()


class ScriptedConsumer:
    """Stands in for librdkafka where the moment matters at which a partition goes."""

    def __init__(self, _: dict[str, Any]):
        self.places: list[TopicPartition] = []
        self.script: list[Any] = []  # what each call does: gives messages, or changes the assignment and gives some
        self.commits: list[dict[int, int]] = []

    def subscribe(self, _: list[str], **callbacks: Callable[..., None]) -> None:
        self.callbacks = callbacks

    def change(self, callback: str, *partitions: int) -> None:
        places = [TopicPartition("t", partition) for partition in partitions]
        self.places = places if callback == "on_assign" else []
        self.callbacks[callback](self, places)

    def assignment(self) -> list[TopicPartition]:
        return self.places

    def consume(self, _: int, timeout: float) -> list[Message]:
        return self.script.pop(0)() if self.script else []

    def poll(self, seconds: float) -> Message | None:
        return next(iter(self.consume(1, seconds)), None)

    def commit(self, offsets: list[TopicPartition], asynchronous: bool) -> None:
        assert not asynchronous
        self.commits.append({place.partition: place.offset for place in offsets})

    def position(self, places: list[TopicPartition]) -> list[TopicPartition]:
        return [TopicPartition("t", place.partition, 5) for place in places]

    def get_watermark_offsets(self, _: TopicPartition, cached: bool) -> tuple[int, int]:
        return 0, 8


def at_end(partition: int) -> list[Message]:
    return [Message(topic="t", partition=partition, offset=8, error=KafkaError(KafkaError._PARTITION_EOF))]


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> tuple[KafkaSource, ScriptedConsumer]:
    consumer = ScriptedConsumer({})
    monkeypatch.setattr("mim_tf.realtime.kafka_source.Consumer", lambda _: consumer)
    source = KafkaSource("kafka://h:1/t", {})
    consumer.change("on_assign", 0)
    return source, consumer


@pytest.mark.parametrize("going", ["on_revoke", "on_lost"])
def test_a_partition_that_comes_back_is_not_at_its_end(
    scripted: tuple[KafkaSource, ScriptedConsumer], going: str
) -> None:
    source, consumer = scripted
    consumer.script = [lambda: at_end(0)]
    assert source.poll(1, 0) == []
    assert source.drained()
    assert source.lag() == 0
    consumer.change(going, 0)
    assert not source.drained()
    consumer.change("on_assign", 0)
    assert not source.drained()
    assert source.lag() == 3


def test_a_partition_that_goes_within_a_poll_is_not_acknowledged(
    scripted: tuple[KafkaSource, ScriptedConsumer],
) -> None:
    source, consumer = scripted

    def go() -> list[Message]:
        consumer.change("on_revoke", 0)
        return []

    consumer.script = [lambda: [Message(topic="t", partition=0, offset=5, value=b"x")], go]
    assert [message.payload for message in source.poll(9, 0)] == [b"x"]  # harmless: its new owner has it too
    consumer.change("on_assign", 1)
    consumer.script = [lambda: [Message(topic="t", partition=1, offset=2, value=b"y")]]
    assert [message.payload for message in source.poll(9, 0)] == [b"y"]
    source.acknowledge()
    assert consumer.commits == [{1: 3}]


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
