"""Who is let in over TLS, and what is said to who is not: real handshakes, certificates made here."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography.hazmat.primitives import serialization

from mim_tf.errors import ServingError
from mim_tf.serving.client import AsyncClient, Client, Tls
from tests.serving.certificates import Authority, Pair, expired
from tests.serving.scripted import Scripted, serving

Ask = Callable[[str, Tls | None], Any]


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ours"), "ours")


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("theirs"), "theirs")


def ask(address: str, tls: Tls | None) -> Any:
    with Client(address, tls=tls, timeout=60, attempts=1) as client:
        return client.predict("m", {"x": 7})["x"]


def ask_async(address: str, tls: Tls | None) -> Any:
    async def awaited() -> Any:
        async with AsyncClient(address, tls=tls, timeout=60, attempts=1) as client:
            return (await client.predict("m", {"x": 7}))["x"]

    return asyncio.run(awaited())


@pytest.fixture(params=[ask, ask_async])
def asked(request: pytest.FixtureRequest) -> Ask:
    return request.param


def proving(pair: Pair) -> grpc.ServerCredentials:
    """A server that proves who it is, and lets in everybody."""
    return grpc.ssl_server_credentials([pair.read()])


def asking(pair: Pair, authority: Authority) -> grpc.ServerCredentials:
    """A server that lets in who has a certificate of the authority."""
    return grpc.ssl_server_credentials([pair.read()], authority.roots.read_bytes(), require_client_auth=True)


def test_a_server_is_believed_whose_authority_is_known(asked: Ask, ours: Authority) -> None:
    with serving(Scripted(), credentials=proving(ours.sign("server", "127.0.0.1"))) as address:
        assert asked(address, Tls(roots=ours.roots)) == 7
        assert asked(address, Tls(roots=str(ours.roots))) == 7


def test_another_servers_certificate_is_not_believed(asked: Ask, ours: Authority, theirs: Authority) -> None:
    with serving(Scripted(), credentials=proving(theirs.sign("server", "127.0.0.1"))) as address:
        match = r"UNAVAILABLE: .*VERIFY_FAILED.* Give the authority that signed the server's certificate as `tls.roots`"
        for tls in (Tls(roots=ours.roots), Tls()):  # the public authorities did not sign it either
            with pytest.raises(ServingError, match=match):
                asked(address, tls)


def test_who_is_not_believed_is_not_asked_again(ours: Authority, theirs: Authority) -> None:
    with (
        serving(Scripted(), credentials=proving(theirs.sign("again", "127.0.0.1"))) as address,
        Client(address, tls=Tls(roots=ours.roots), timeout=60, attempts=9) as client,
    ):
        with pytest.raises(ServingError, match=r"VERIFY_FAILED") as failure:
            client.predict("m", {"x": 7})
        assert "attempts failed" not in str(failure.value)
        with pytest.raises(ServingError, match=r'^model "m" at 127.*VERIFY_FAILED'):
            client.wait_until_ready("m", timeout=60)


def test_an_expired_certificate_is_not_believed(asked: Ask, ours: Authority) -> None:
    with (
        serving(Scripted(), credentials=proving(ours.sign("old", "127.0.0.1", expired()))) as address,
        pytest.raises(ServingError, match=r"certificate has expired.* The server's certificate must be renewed\."),
    ):
        asked(address, Tls(roots=ours.roots))


def test_a_certificate_for_another_name_needs_that_name(asked: Ask, ours: Authority) -> None:
    with serving(Scripted(), credentials=proving(ours.sign("ranker.shop"))) as address:
        assert asked(address, Tls(roots=ours.roots, server_name="ranker.shop")) == 7
        for name in (None, "other.shop"):
            with pytest.raises(ServingError, match=r"Hostname .* in the server's certificate as `tls.server_name`\."):
                asked(address, Tls(roots=ours.roots, server_name=name))


def test_a_client_proves_who_it_is(asked: Ask, ours: Authority, theirs: Authority) -> None:
    script = Scripted()
    server, client = ours.sign("server", "127.0.0.1"), theirs.sign("client")
    with serving(script, credentials=asking(server, theirs)) as address:
        assert asked(address, Tls(ours.roots, *client)) == 7
        assert len(script.requests) == 1
        with pytest.raises(ServingError, match=r"UNAVAILABLE: .* ask for a certificate: then give `tls.certificate`\."):
            asked(address, Tls(ours.roots))
        with pytest.raises(ServingError, match=r"UNAVAILABLE: .* that do not know who signed `tls.certificate`\."):
            asked(address, Tls(ours.roots, *ours.sign("stranger")))
    assert len(script.requests) == 1  # those who were refused asked nothing


def test_both_must_speak_tls(asked: Ask, ours: Authority) -> None:
    with (
        serving(Scripted(), credentials=proving(ours.sign("server", "127.0.0.1"))) as address,
        pytest.raises(ServingError, match=r"It hung up, as servers do that want TLS: then give `tls`\."),
    ):
        asked(address, None)
    with (
        serving(Scripted()) as address,
        pytest.raises(ServingError, match=r"The server does not speak TLS: leave out `tls`, or take its other port\."),
    ):
        asked(address, Tls(roots=ours.roots))


def test_files_that_are_not_what_they_should_be_are_named(ours: Authority, tmp_path: Path) -> None:
    one, other = ours.sign("one"), ours.sign("two")
    (tmp_path / "empty.pem").write_text("")
    with pytest.raises(ServingError, match=r"`tls.roots` must be a PEM file of certificates\. .*none.pem: .*No such"):
        Client("a:1", tls=Tls(tmp_path / "none.pem"))
    with pytest.raises(ServingError, match=r"`tls.roots` must be a PEM file of certificates\. .*empty.pem: "):
        Client("a:1", tls=Tls(tmp_path / "empty.pem"))
    match = r"`tls.certificate` and `tls.key` must be PEM files .*: .*ours-one.pem and .*ours-two.key: .*MISMATCH"
    with pytest.raises(ServingError, match=match):
        Client("a:1", tls=Tls(ours.roots, one.certificate, other.key))
    key = serialization.load_pem_private_key(one.key.read_bytes(), None)
    form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    locked = tmp_path / "locked.key"
    locked.write_bytes(key.private_bytes(*form, serialization.BestAvailableEncryption(b"secret")))
    with pytest.raises(ServingError, match=r"which has no password\. Received: .*locked\.key: "):
        Client("a:1", tls=Tls(ours.roots, one.certificate, locked))


def test_certificate_and_key_belong_together() -> None:
    for wrong in ({"certificate": "a.pem"}, {"key": "a.key"}):
        with pytest.raises(ValueError, match=r"`certificate` and `key` must be given together\. Received: "):
            Tls(**wrong)
