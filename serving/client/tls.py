"""How a client's connection is encrypted, and who proves what to whom."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

import grpc

from mim_tf.errors import ServingError


@dataclass(frozen=True)
class Tls:
    """A connection over TLS: the server proves who it is and, with a certificate of the client's, the client too.

        Client("ranker.shop:8500", tls=Tls(roots="ca.pem", certificate="client.pem", key="client.key"))

    All files are PEM.

    Args:
        roots: Certificates of the authorities that may have signed the server's; None for gRPC's own list of public
            authorities.
        certificate: The client's certificate, with those between it and the server's authorities, for servers that ask
            for one (mutual TLS).
        key: The private key of `certificate`, without a password.
        server_name: Name that the server's certificate must hold; None for the host of the address.

    Raises:
        ValueError: If only one of `certificate` and `key` is given.
    """

    roots: str | Path | None = None
    certificate: str | Path | None = None
    key: str | Path | None = None
    server_name: str | None = None

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            raise ValueError(
                f"`certificate` and `key` must be given together. Received: {self.certificate} and {self.key}."
            )

    def credentials(self) -> grpc.ChannelCredentials:
        """Reads the files.

        Raises:
            ServingError: If one cannot be read or is not what it should be; it is named.
        """
        self._check()
        roots, key, certificate = (
            None if path is None else Path(path).read_bytes() for path in (self.roots, self.key, self.certificate)
        )
        return grpc.ssl_channel_credentials(roots, key, certificate)

    def _check(self) -> None:
        """gRPC takes any bytes and then fails at each call, without a reason; OpenSSL says what is wrong with them."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if self.roots is not None:
            try:
                context.load_verify_locations(self.roots)
            except OSError as error:  # ssl.SSLError is one
                raise ServingError(
                    f"`tls.roots` must be a PEM file of certificates. Received: {self.roots}: {error}."
                ) from error
        if self.certificate is not None:
            try:
                context.load_cert_chain(self.certificate, self.key, password="")  # or it would ask at the terminal
            except OSError as error:
                raise ServingError(
                    "`tls.certificate` and `tls.key` must be PEM files of a certificate and of its private key, which "
                    f"has no password. Received: {self.certificate} and {self.key}: {error}."
                ) from error
