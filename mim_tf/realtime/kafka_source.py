"""Events from a Kafka topic."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import cast

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka import Message as KafkaMessage

from mim_tf.errors import DataError
from mim_tf.realtime.event import Message

SCHEME = "kafka://"
_DEFAULTS = {"group.id": "mim-realtime", "auto.offset.reset": "earliest"}
_OURS = {"enable.auto.commit": False, "enable.auto.offset.store": False, "enable.partition.eof": True}


class KafkaSource:
    """Reads a topic as one member of a consumer group.

    Key events by the item: Kafka keeps the order within a partition, and a key's events in one. Several processes share
    a topic's partitions; when they change hands, events may come twice: those polled and not acknowledged, which the
    old owner still takes in and the new one reads again. Give events a `timestamp` then, so that an older one cannot
    undo a newer one. A partition that went is no longer acknowledged here, as that could set the new owner back.

    Args:
        uri: `kafka://broker:port,broker:port/topic`.
        options: of librdkafka, such as `group.id` (`mim-realtime` unless given) or `security.protocol`.

    Raises:
        DataError: the URI or an option is wrong.
    """

    def __init__(self, uri: str, options: Mapping[str, str]):
        brokers, _, self._topic = uri.removeprefix(SCHEME).partition("/")
        if not uri.startswith(SCHEME) or not brokers or not self._topic or "/" in self._topic:
            raise DataError(f"`realtime.source` must be kafka://broker:port/topic. Received: {uri}.")
        if taken := sorted(set(options) & set(_OURS)):
            raise DataError(f"`realtime.kafka` must not set {', '.join(taken)}: offsets follow the store's commits.")
        try:
            self._consumer = Consumer({"bootstrap.servers": brokers, **_DEFAULTS, **options, **_OURS})
        except (KafkaException, ValueError, TypeError) as error:
            raise DataError(f"`realtime.kafka`: {error}") from error
        self._read: dict[int, int] = {}  # next offset by partition, of what was polled and not acknowledged
        self._at_end: set[int] = set()  # partitions
        changed = self._changed_hands
        self._consumer.subscribe([self._topic], on_assign=changed, on_revoke=changed, on_lost=changed)

    def poll(self, most: int, seconds: float) -> list[Message]:
        """The next messages.

        Raises:
            ConnectionError: the broker cannot be asked now.
        """
        first = self._consumer.poll(seconds)
        more = self._consumer.consume(most - 1, timeout=0) if first is not None and most > 1 else []
        polled = [*([first] if first is not None else []), *more]
        messages = [self._taken(message) for message in polled if message.error() is None]
        troubles = [error for error in map(self._trouble, polled) if error]
        self._forget({*self._read, *self._at_end} - self._assigned())  # polled just before its partition went
        if troubles and not messages:  # beside messages it would take them away; what lasts comes again
            raise ConnectionError(f"Kafka: {troubles[0]}")
        return messages

    def acknowledge(self) -> None:
        """Commit the offsets of all that was polled, but for partitions that went to others.

        Raises:
            ConnectionError: the broker cannot be asked now.
        """
        offsets = [TopicPartition(self._topic, partition, offset) for partition, offset in self._read.items()]
        if offsets:
            try:
                self._consumer.commit(offsets=offsets, asynchronous=False)
            except KafkaException as error:
                raise ConnectionError(f"Kafka: {error}") from error
        self._read = {}

    def drained(self) -> bool:
        """Whether partitions are assigned, and all were read to their ends."""
        assigned = self._assigned()
        return bool(assigned) and assigned <= self._at_end

    def lag(self) -> int:
        """Messages in the partitions that are assigned here and were not read, as far as their ends are known."""
        waiting = 0
        for place in self._consumer.position(self._consumer.assignment()):
            low, high = self._consumer.get_watermark_offsets(place, cached=True)
            if place.partition not in self._at_end:
                waiting += max(0, high - (place.offset if place.offset >= 0 else low))
        return waiting

    def close(self) -> None:
        """Leave the group."""
        self._consumer.close()

    def _assigned(self) -> set[int]:
        return {place.partition for place in self._consumer.assignment()}

    def _changed_hands(self, _: Consumer, places: list[TopicPartition]) -> None:
        """Called by a poll. One that comes back is read on from the group's offset, not from where it was here."""
        self._forget(place.partition for place in places)

    def _forget(self, partitions: Iterable[int]) -> None:
        for partition in partitions:
            self._read.pop(partition, None)
            self._at_end.discard(partition)

    def _trouble(self, message: KafkaMessage) -> str | None:
        """What an error says; None of a message, and of the end of a partition, which is noted."""
        error, partition = message.error(), cast(int, message.partition())
        at_end = error is not None and error.code() == KafkaError._PARTITION_EOF
        (self._at_end.add if at_end else self._at_end.discard)(partition)
        return error.str() if error is not None and not at_end else None

    def _taken(self, message: KafkaMessage) -> Message:
        partition, offset = cast(int, message.partition()), cast(int, message.offset())  # None of errors alone
        self._read[partition] = offset + 1
        kind, milliseconds = message.timestamp()
        arrived = milliseconds / 1000 if kind else time.time()
        origin = f"{self._topic}[{partition}], offset {offset}"
        return Message(message.value() or b"", origin, arrived)
