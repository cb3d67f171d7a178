"""The body of an HTTP request, read up to a limit, whole or in chunks."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from email.message import Message
from http import HTTPStatus
from typing import BinaryIO

_PIECE = 2**18  # bytes: what is declared but not sent takes no memory
_LINE = 1024  # bytes: a chunk's size with its extensions, or a trailer
_TRAILERS = 100
_GZIP = 16 + zlib.MAX_WBITS


class RefusedBodyError(Exception):
    """A body that is not read to its end; what follows on the connection cannot be told from it.

    Args:
        status: HTTP's status code of the answer.
        message: Why.
    """

    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.status = status


def declared_length(headers: Message, limit: int) -> int | None:
    """How many bytes follow; None if they come in chunks.

    Args:
        headers: The request's.
        limit: Most bytes that may follow.

    Raises:
        RefusedBodyError: If there are more, or if the headers leave open how many.
    """
    if headers.defects:
        raise RefusedBodyError(HTTPStatus.BAD_REQUEST, "a header is malformed")
    encodings, lengths = headers.get_all("Transfer-Encoding", []), set(headers.get_all("Content-Length", []))
    if (encodings and lengths) or len(lengths) > 1:
        raise RefusedBodyError(HTTPStatus.BAD_REQUEST, "Content-Length and Transfer-Encoding must be one, once")
    if encodings:
        if [encoding.strip().lower() for encoding in encodings] != ["chunked"]:
            received = ", ".join(encodings)[:50]
            raise RefusedBodyError(
                HTTPStatus.NOT_IMPLEMENTED, f"Transfer-Encoding must be chunked. Received: {received}."
            )
        return None
    text = lengths.pop().strip() if lengths else "0"
    if not re.fullmatch("[0-9]+", text):
        raise RefusedBodyError(HTTPStatus.BAD_REQUEST, f"Content-Length must be a number. Received: {text[:50]}.")
    if len(text) > 19 or int(text) > limit:
        raise _too_large(limit)
    return int(text)


def read_body(headers: Message, stream: BinaryIO, limit: int) -> bytes:
    """Reads what belongs to a request, and unpacks it if it is gzip.

    Args:
        headers: The request's.
        stream: Stands behind the headers.
        limit: Most bytes, as sent and as unpacked.

    Raises:
        RefusedBodyError: If the body is longer, malformed, or ends early.
        TimeoutError: If the stream does not come in time.
    """
    coding = headers.get("Content-Encoding", "identity").strip().lower()
    if coding not in ("identity", "gzip"):
        raise RefusedBodyError(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"Content-Encoding must be gzip, if any. Received: {coding[:50]}."
        )
    length = declared_length(headers, limit)
    body = b"".join(_read_chunks(stream, limit) if length is None else _read(stream, length))
    return _unpack(body, limit) if coding == "gzip" else body


def _read(stream: BinaryIO, length: int) -> Iterator[bytes]:
    while length:
        piece = stream.read(min(length, _PIECE))
        if not piece:
            raise RefusedBodyError(HTTPStatus.BAD_REQUEST, f"the body ended {length} bytes early")
        length -= len(piece)
        yield piece


def _read_chunks(stream: BinaryIO, limit: int) -> Iterator[bytes]:
    """Chunks are `<size in hex>[;extensions]\\r\\n<bytes>\\r\\n`; one of size 0 is the last, before the trailers."""
    left = limit
    while size := _chunk_size(stream):
        if size > left:
            raise _too_large(limit)
        left -= size
        yield from _read(stream, size)
        if stream.read(2) != b"\r\n":
            raise RefusedBodyError(HTTPStatus.BAD_REQUEST, "a chunk is not as long as it says")
    for _ in range(_TRAILERS):
        if stream.readline(_LINE) in (b"\r\n", b"\n", b""):
            return
    raise RefusedBodyError(HTTPStatus.BAD_REQUEST, f"more than {_TRAILERS} trailers")


def _chunk_size(stream: BinaryIO) -> int:
    line = stream.readline(_LINE)
    match = re.fullmatch(rb"([0-9a-fA-F]{1,16})[ \t]*(;[^\r\n]*)?\r\n", line)
    if match is None:
        raise RefusedBodyError(HTTPStatus.BAD_REQUEST, f"a chunk must begin with its size. Received: {line[:20]!r}.")
    return int(match[1], 16)


def _unpack(body: bytes, limit: int) -> bytes:
    unpacker = zlib.decompressobj(_GZIP)
    try:
        unpacked = unpacker.decompress(body, limit + 1)
    except zlib.error as error:
        raise RefusedBodyError(HTTPStatus.BAD_REQUEST, f"the body is no gzip: {error}") from error
    if len(unpacked) > limit:
        raise _too_large(limit)
    if not unpacker.eof:
        raise RefusedBodyError(HTTPStatus.BAD_REQUEST, "the body's gzip ends early")
    return unpacked


def _too_large(limit: int) -> RefusedBodyError:
    return RefusedBodyError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the body must have at most {limit} bytes")
