"""Real certificates for tests, signed by a real authority."""

from __future__ import annotations

import datetime as dt
import ipaddress
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

Key: TypeAlias = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey

#: Key usages, as cryptography names them.
USAGES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)

DAY = dt.timedelta(days=1)
Validity: TypeAlias = tuple[dt.timedelta, dt.timedelta]


@dataclass(frozen=True)
class Issued:
    """A certificate and its key, in PEM."""

    certificate: bytes
    key: bytes

    def write(self, folder: Path, name: str) -> tuple[str, str]:
        """Write both to *folder* and return their paths."""
        (folder / f"{name}.pem").write_bytes(self.certificate)
        (folder / f"{name}.key").write_bytes(self.key)
        return str(folder / f"{name}.pem"), str(folder / f"{name}.key")


class Authority:
    """A certificate authority that signs every request."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"test {x509.random_serial_number()}")])
        self.certificate = self._sign(self._key.public_key(), (), ca=True)

    def server(self, key: Key | None = None, valid: Validity = (-DAY, DAY)) -> Issued:
        """Return a certificate for this machine, with *key* or a new one, that is *valid* in a time around now."""
        names = x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        return self._issue(*names, key=key, valid=valid)

    def client(self, *uris: str, ca: bool = False, usages: Collection[str] = ()) -> Issued:
        """Return a client certificate with these URIs, such as SPIFFE IDs. Its key usages include digital signature."""
        return self._issue(*map(x509.UniformResourceIdentifier, uris), ca=ca, usages=usages)

    def channel(self, client: Issued | None = None) -> grpc.ChannelCredentials:
        """Return channel credentials that trust this authority and present *client*."""
        if client is None:
            return grpc.ssl_channel_credentials(self.certificate)
        return grpc.ssl_channel_credentials(self.certificate, client.key, client.certificate)

    def _issue(
        self,
        *names: x509.GeneralName,
        key: Key | None = None,
        ca: bool = False,
        usages: Collection[str] = (),
        valid: Validity = (-DAY, DAY),
    ) -> Issued:
        key = key or ec.generate_private_key(ec.SECP256R1())
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return Issued(self._sign(key.public_key(), names, ca=ca, usages=usages, valid=valid), private)

    def _sign(
        self,
        key: CertificatePublicKeyTypes,
        names: tuple[x509.GeneralName, ...],
        *,
        ca: bool,
        usages: Collection[str] = (),
        valid: Validity = (-DAY, DAY),
    ) -> bytes:
        now = dt.datetime.now(dt.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(self._name if ca and not names else x509.Name([]))
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + valid[0])
            .not_valid_after(now + valid[1])
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        if usages:
            allowed = {name: name in usages for name in USAGES} | {"digital_signature": True}
            builder = builder.add_extension(x509.KeyUsage(**allowed), critical=True)
        return builder.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM)
