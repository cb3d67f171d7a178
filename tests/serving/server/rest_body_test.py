"""Bodies of HTTP requests, byte by byte as RFC 9112 writes them."""

import gzip
import io
import re
from email.message import Message
from http import HTTPStatus
from http.client import parse_headers

import pytest

from mim_tf.serving.server.rest_body import RefusedBodyError, read_body


def headers(*lines: str) -> Message:
    return parse_headers(io.BytesIO("".join(f"{line}\r\n" for line in (*lines, "")).encode("latin-1")))


def read(lines: tuple[str, ...], sent: bytes, limit: int = 100) -> tuple[bytes, bytes]:
    """The body, and what is left for the next request."""
    stream = io.BytesIO(sent)
    return read_body(headers(*lines), stream, limit), stream.read()


CHUNKED = ("Transfer-Encoding: chunked",)


@pytest.mark.parametrize(
    ("lines", "sent", "body", "left"),
    [
        (("Content-Length: 4",), b"bodyGET /", b"body", b"GET /"),
        (("Content-Length: 0",), b"GET /", b"", b"GET /"),
        ((), b"GET /", b"", b"GET /"),
        (("content-length: 4", "Content-Length: 4"), b"body", b"body", b""),
        (("Content-Length: 100",), b"x" * 100, b"x" * 100, b""),
        (CHUNKED, b"4\r\nbody\r\n0\r\n\r\nGET /", b"body", b"GET /"),
        (("Transfer-Encoding: Chunked ",), b"2;a=b\r\nbo\r\n02\r\ndy\r\n0\r\nTrailer: 1\r\n\r\nG", b"body", b"G"),
        (CHUNKED, b"A\r\n0123456789\r\n0\r\n\r\n", b"0123456789", b""),
        (("Content-Encoding: identity", "Content-Length: 1"), b"x", b"x", b""),
    ],
)
def test_what_belongs_to_the_request(lines: tuple[str, ...], sent: bytes, body: bytes, left: bytes) -> None:
    assert read(lines, sent) == (body, left)


@pytest.mark.parametrize("chunked", [False, True])
def test_gzip_is_unpacked(chunked: bool) -> None:
    packed = gzip.compress(b"x" * 100)
    coding = "Content-Encoding: gzip"
    if chunked:
        assert read((coding, *CHUNKED), b"%x\r\n%s\r\n0\r\n\r\n" % (len(packed), packed)) == (b"x" * 100, b"")
    else:
        assert read((coding, f"Content-Length: {len(packed)}"), packed) == (b"x" * 100, b"")


BOMB = gzip.compress(b"\0" * 2**20, mtime=0)  # 1 MB in about 1 kB; its time would be in the names of tests


@pytest.mark.parametrize(
    ("lines", "sent", "status", "match"),
    [
        (("Content-Length: 101",), b"", 413, "at most 100 bytes"),
        ((f"Content-Length: {2**30}",), b"", 413, "at most 100 bytes"),
        (("Content-Length: " + "9" * 5000,), b"", 413, "at most 100 bytes"),
        (CHUNKED, b"65\r\n", 413, "at most 100 bytes"),
        (CHUNKED, b"40\r\n" + b"x" * 64 + b"\r\n40\r\n", 413, "at most 100 bytes"),
        (CHUNKED, b"ffffffffffffffff\r\n", 413, "at most 100 bytes"),
        (("Content-Length: -1",), b"", 400, "Content-Length must be a number. Received: -1."),
        (("Content-Length: +4",), b"body", 400, "must be a number"),
        (("Content-Length: 1_0",), b"", 400, "must be a number"),
        (("Content-Length: ²",), b"", 400, "must be a number"),
        (("Content-Length:",), b"", 400, "must be a number"),
        (("Content-Length: 4, 4",), b"body", 400, "must be a number"),
        (("Content-Length: 4", "Content-Length: 5"), b"body", 400, "must be one, once"),
        (("Content-Length: 4", *CHUNKED), b"body", 400, "must be one, once"),
        ((*CHUNKED, *CHUNKED), b"", 501, "Transfer-Encoding must be chunked. Received: chunked, chunked."),
        (("Transfer-Encoding: gzip, chunked",), b"", 501, "must be chunked. Received: gzip, chunked"),
        (("Content-Length 4",), b"body", 400, "a header is malformed"),
        (("Content-Length: 5",), b"body", 400, "the body ended 1 bytes early"),
        (CHUNKED, b"5\r\nbody", 400, "the body ended 1 bytes early"),
        (CHUNKED, b"4\r\nbodyX\r\n0\r\n\r\n", 400, "a chunk is not as long as it says"),
        (CHUNKED, b"", 400, "a chunk must begin with its size. Received: b''"),
        (CHUNKED, b"x\r\n", 400, "a chunk must begin with its size. Received: b'x"),
        (CHUNKED, b"0x4\r\nbody\r\n", 400, "a chunk must begin with its size"),
        (CHUNKED, b"-4\r\nbody\r\n", 400, "a chunk must begin with its size"),
        (CHUNKED, b"4\nbody\r\n", 400, "a chunk must begin with its size"),
        (CHUNKED, b"4;" + b"x" * 5000, 400, "a chunk must begin with its size"),
        (CHUNKED, b"0\r\n" + b"a: b\r\n" * 200, 400, "more than 100 trailers"),
        (("Content-Encoding: br", "Content-Length: 1"), b"x", 415, "must be gzip, if any. Received: br."),
        (("Content-Encoding: gzip", f"Content-Length: {len(BOMB)}"), BOMB, 413, "at most 2000 bytes"),
        (("Content-Encoding: gzip", "Content-Length: 4"), b"body", 400, "the body is no gzip"),
        (("Content-Encoding: gzip", "Content-Length: 10"), BOMB[:10], 400, "the body's gzip ends early"),
        (("Content-Encoding: gzip", "Content-Length: 0"), b"", 400, "the body's gzip ends early"),
    ],
)
def test_what_is_refused(lines: tuple[str, ...], sent: bytes, status: int, match: str) -> None:
    with pytest.raises(RefusedBodyError, match=re.escape(match)) as refusal:
        read(lines, sent, limit=2000 if sent == BOMB else 100)
    assert refusal.value.status == HTTPStatus(status)
