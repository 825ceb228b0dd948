"""TLS credentials of the listener, reloaded when the certificate files change."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import grpc
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, SECP384R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import PublicKeyAlgorithmOID

from ilab_chat_service.file_reload import FileReload, NotYet, reason
from ilab_chat_service.limits import MIN_RSA_BITS
from ilab_chat_service.settings import SettingsError

if TYPE_CHECKING:
    from ilab_chat_service.settings.security import SecuritySettings

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Loaded:
    """The contents of the files."""

    configuration: grpc.ServerCertificateConfiguration
    not_before: datetime
    """When the certificate becomes valid."""
    not_after: datetime
    """When it expires."""


@dataclass(frozen=True, slots=True)
class Certificates:
    """TLS credentials of the listener."""

    credentials: grpc.ServerCredentials
    files: FileReload[Loaded]

    def expiry(self) -> datetime:
        """Return when the certificate in use expires."""
        return self.files.value.not_after


def server_certificates(settings: SecuritySettings) -> Certificates:
    """Return the TLS credentials of the listener.

    Before each handshake gRPC asks, in its own thread, for a changed certificate. Open connections keep the old one.

    Raises:
        SettingsError: a file cannot be read or is invalid.
    """
    paths = [settings.tls_cert_file, settings.tls_key_file]
    mutual = bool(settings.tls_client_ca_file)
    if mutual:
        paths.append(settings.tls_client_ca_file)
    try:
        files = FileReload(paths, loaded, check_new=check_dates)
    except (OSError, ValueError) as error:
        raise SettingsError(f"ILAB_CHAT_TLS_CERT_FILE, _KEY_FILE, _CLIENT_CA_FILE: {reason(error)}") from None

    try:
        check_dates(files.value)
    except ValueError as error:
        # The server starts, because it has no better one.
        log.warning("%s", error)

    def changed() -> grpc.ServerCertificateConfiguration | None:
        return files.value.configuration if files.refresh() else None

    credentials = grpc.dynamic_ssl_server_credentials(
        files.value.configuration,
        # The stubs omit None, which means no change.
        changed,  # type: ignore[arg-type]
        require_client_authentication=mutual,
    )
    return Certificates(credentials, files)


def loaded(certificates: bytes, key: bytes, client_authorities: bytes | None = None) -> Loaded:
    """Validate the contents of the files and return a gRPC configuration. gRPC does not validate them itself.

    Raises:
        ValueError: a file is invalid, the key does not match the certificate, or gRPC clients reject its type.
    """
    leaf = parse_certificates("the certificate file", certificates)[0]
    try:
        public = load_pem_private_key(key, password=None).public_key()
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ValueError("the key file must contain an unencrypted private key in PEM") from None
    if public != leaf.public_key():
        raise ValueError("the private key does not match the certificate")
    if not is_key_accepted(leaf):
        raise ValueError(
            "gRPC clients do not accept this type of key: use RSA with at least 2048 bits, or ECDSA P-256 or P-384"
        )
    if client_authorities is not None:
        parse_certificates("the client CA file", client_authorities)
    configuration = grpc.ssl_server_certificate_configuration([(key, certificates)], client_authorities)
    return Loaded(configuration, leaf.not_valid_before_utc, leaf.not_valid_after_utc)


def check_dates(new: Loaded) -> None:
    """Check that the certificate is valid now: it must not replace one that may be.

    Raises:
        ValueError: it has expired.
        NotYet: it is not valid yet.
    """
    now = datetime.now(UTC)
    if new.not_after <= now:
        raise ValueError("the TLS certificate has expired")
    if now < new.not_before:
        raise NotYet("the TLS certificate is not valid yet", new.not_before.timestamp())


def is_key_accepted(leaf: x509.Certificate) -> bool:
    """Return whether gRPC clients accept the key of *leaf*. With any other key, every handshake fails silently.

    BoringSSL clients reject Ed25519 and P-521 by default (kVerifySignatureAlgorithms in
    https://github.com/google/boringssl/blob/main/ssl/extensions.cc), and RSA keys other than rsaEncryption.
    """
    public = leaf.public_key()
    if isinstance(public, RSAPublicKey):
        is_rsa_encryption = leaf.public_key_algorithm_oid == PublicKeyAlgorithmOID.RSAES_PKCS1_v1_5
        return is_rsa_encryption and public.key_size >= MIN_RSA_BITS
    return isinstance(public, EllipticCurvePublicKey) and isinstance(public.curve, SECP256R1 | SECP384R1)


def parse_certificates(what: str, pem: bytes) -> list[x509.Certificate]:
    """Return the certificates in *pem*, at least one. *what* names the file in errors.

    Raises:
        ValueError: there is no certificate, or one is invalid or truncated.
    """
    try:
        found = x509.load_pem_x509_certificates(pem)
    except ValueError:
        raise ValueError(f"{what} contains no certificate in PEM, or an invalid one") from None
    # The parser skips an unterminated block, for instance in a truncated chain or bundle.
    if pem.count(b"-----BEGIN ") != pem.count(b"-----END ") or len(found) != pem.count(b"-----BEGIN CERTIFICATE-----"):
        raise ValueError(f"{what} contains a truncated certificate; the file may be incomplete")
    return found
