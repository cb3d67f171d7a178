"""An authority and the certificates it signs, made on the spot."""

import datetime
import ipaddress
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_NOW = datetime.datetime.now(datetime.UTC)
_DAY = datetime.timedelta(days=1)


class Pair(NamedTuple):
    """A certificate and its private key, as PEM files."""

    certificate: Path
    key: Path

    def read(self) -> tuple[bytes, bytes]:
        """The key and the certificate, in gRPC's order."""
        return self.key.read_bytes(), self.certificate.read_bytes()


class Authority:
    """Signs certificates; its own is `roots`.

    Args:
        folder: For all files.
        name: Of the authority.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self._folder, self._name = folder, name
        self._key = ec.generate_private_key(ec.SECP256R1())
        basic = x509.BasicConstraints(ca=True, path_length=None)
        certificate = self._builder(name, self._key, _NOW + _DAY).add_extension(basic, critical=True)
        self.roots = folder / f"{name}.pem"
        self.roots.write_bytes(self._signed(certificate))

    def sign(self, name: str, address: str | None = None, end: datetime.datetime = _NOW + _DAY) -> Pair:
        """Makes a certificate for a host, by name or by IP address."""
        key = ec.generate_private_key(ec.SECP256R1())
        alternative = x509.IPAddress(ipaddress.ip_address(address)) if address else x509.DNSName(name)
        builder = self._builder(name, key, end)
        builder = builder.add_extension(x509.SubjectAlternativeName([alternative]), critical=False)
        pair = Pair(self._folder / f"{self._name}-{name}.pem", self._folder / f"{self._name}-{name}.key")
        pair.certificate.write_bytes(self._signed(builder))
        form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
        pair.key.write_bytes(key.private_bytes(*form, serialization.NoEncryption()))
        return pair

    def _builder(self, name: str, key: ec.EllipticCurvePrivateKey, end: datetime.datetime) -> x509.CertificateBuilder:
        subject, issuer = (x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, who)]) for who in (name, self._name))
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
        builder = builder.serial_number(x509.random_serial_number())
        return builder.not_valid_before(end - 2 * _DAY).not_valid_after(end)

    def _signed(self, builder: x509.CertificateBuilder) -> bytes:
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def expired() -> datetime.datetime:
    """An hour ago."""
    return _NOW - datetime.timedelta(hours=1)
