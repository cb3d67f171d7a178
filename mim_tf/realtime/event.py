"""What the shop says of an item, as it comes in: one JSON object."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple, cast

import numpy as np

from mim_tf.data.images import ImageFolder, decodes
from mim_tf.data.rejects import Reason
from mim_tf.representation.reserved_ids import RESERVED_IDS

_BLANKS = " \t\n\r\v\f"  # what `prepare` strips from titles
_AHEAD = 3600.0  # seconds that the shop's clock may be ahead of ours


class Message(NamedTuple):
    """An event as a source gives it."""

    payload: bytes  # JSON
    origin: str  # where it stood, for people
    arrived: float  # seconds since 1970 UTC


class Event(NamedTuple):
    """A new or changed item."""

    item_id: int | str
    title: str
    image: bytes
    time: np.datetime64  # us UTC, when the shop said so, or when the event arrived
    told: bool  # whether the shop has told the time
    message: Message


class BadEventError(ValueError):
    """An event that no repetition would make good; its message is the reason."""


@dataclass(frozen=True)
class EventParser:
    """Reads events: objects with the columns of `data.items`.

    `item_id`, the title columns, `image` (base64) or `image_path` (in the folder of the images), and perhaps
    `timestamp`: seconds since 1970 UTC or a date and time of ISO 8601, else the event's arrival. Other keys are left
    alone.

    Attributes:
        id_type: `int64` or `string`.
        title: names of the columns that make the title.
        images: the folder that image paths lead into; None where there are to be none.
    """

    id_type: str
    title: Sequence[str]
    images: ImageFolder | None

    def __call__(self, message: Message) -> Event:
        """One event.

        Raises:
            BadEventError: it is none, or its item could never be encoded.
            OSError: its image cannot be read now.
        """
        fields = _object(message.payload)
        item_id = self._item_id(fields)
        title = joined_title([_text(fields, name) for name in self.title])
        if not title:
            raise BadEventError(Reason.EMPTY_TITLE)
        told = fields.get("timestamp")
        time = _instant(message.arrived) if told is None else _told_time(told, message.arrived)
        return Event(item_id, title, self._image(fields), time, told is not None, message)

    def _item_id(self, fields: dict[str, Any]) -> int | str:
        item_id = fields.get("item_id")
        if item_id is None:
            raise BadEventError(Reason.MISSING_ITEM_ID)
        if not (_is_int64(item_id) if self.id_type == "int64" else isinstance(item_id, str)):
            raise BadEventError(f"item_id must be {self.id_type}. Received: {item_id!r:.100}.")
        if item_id in (*RESERVED_IDS, ""):
            raise BadEventError(Reason.RESERVED_ITEM_ID)
        if isinstance(item_id, str):
            _check_unicode("item_id", item_id)
        return cast(int | str, item_id)

    def _image(self, fields: dict[str, Any]) -> bytes:
        path, encoded = fields.get("image_path"), fields.get("image")
        if isinstance(encoded, str):
            image = _from_base64(encoded)
        elif isinstance(path, str) and self.images:
            image = self._image_at(path, self.images)
        else:
            also = " or image_path" if self.images else ""
            raise BadEventError(f"image (base64){also} must be given.")
        if not decodes(image):
            raise BadEventError(Reason.UNDECODABLE_IMAGE)
        return image

    @staticmethod
    def _image_at(path: str, images: ImageFolder) -> bytes:
        try:
            read, reason = images.read(path, missing_alone=True)
        except ValueError as error:  # such as a zero byte in it
            raise BadEventError(Reason.UNREADABLE_IMAGE_FILE) from error
        if read is None:
            raise BadEventError(reason)
        return read


def joined_title(parts: Sequence[str]) -> str:
    """The title of several columns, as `prepare` joins them."""
    return ". ".join(part for part in (part.strip(_BLANKS) for part in parts) if part)


def _is_int64(value: Any) -> bool:
    return type(value) is int and -(2**63) <= value < 2**63  # JSON's true is no number


def _object(payload: bytes) -> dict[str, Any]:
    try:
        fields = json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise BadEventError(f"no JSON: {error}") from error
    if not isinstance(fields, dict):
        raise BadEventError(f"a JSON object is wanted. Received: {type(fields).__name__}.")
    return fields


def _text(fields: dict[str, Any], name: str) -> str:
    text = fields.get(name)
    if text is not None and not isinstance(text, str):
        raise BadEventError(f"{name} must be text. Received: {text!r:.100}.")
    _check_unicode(name, text or "")
    return text or ""


def _check_unicode(name: str, text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:  # half of a surrogate pair, which JSON can write
        raise BadEventError(f"{name} must be Unicode text: {error.reason}.") from error


def _from_base64(encoded: str) -> bytes:
    try:
        return base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadEventError(f"image must be base64: {error}.") from error


def _told_time(given: Any, arrived: float) -> np.datetime64:
    readers: dict[type, Callable[[Any], datetime]] = {
        int: lambda seconds: datetime.fromtimestamp(seconds, UTC),
        float: lambda seconds: datetime.fromtimestamp(seconds, UTC),
        str: datetime.fromisoformat,
    }
    try:
        time = readers[type(given)](given)
        time = time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
    except (KeyError, ValueError, OverflowError, OSError) as error:
        raise BadEventError(f"timestamp must be seconds or ISO 8601. Received: {given!r:.100}.") from error
    if time.timestamp() > arrived + _AHEAD:  # until then no later event of the item would count
        raise BadEventError(f"timestamp must not be in the future. Received: {given!r:.100}.")
    return np.datetime64(time.replace(tzinfo=None), "us")


def _instant(seconds: float) -> np.datetime64:
    return np.datetime64(round(seconds * 1e6), "us")
