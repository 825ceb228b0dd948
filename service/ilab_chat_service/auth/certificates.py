"""The server's certificate, and the authorities of its clients' certificates: read again when the files change."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import grpc
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, SECP384R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import PublicKeyAlgorithmOID

from ilab_chat_service.file_reload import FileReload, reason
from ilab_chat_service.settings import SettingsError

if TYPE_CHECKING:
    from ilab_chat_service.settings.security import SecuritySettings

log = logging.getLogger(__name__)

#: Least of public certificates (CA/Browser Forum, Baseline Requirements, 6.1.5).
LEAST_RSA_BITS = 2048


def server_credentials(settings: SecuritySettings) -> grpc.ServerCredentials:
    """Return the TLS of the listener, which the settings ask for.

    Before each handshake gRPC asks, in a thread of its own, whether there is a new certificate; connections that are
    open keep theirs.

    Raises:
        SettingsError: the files cannot be used.
    """
    paths = [settings.tls_cert_file, settings.tls_key_file]
    mutual = bool(settings.tls_client_ca_file)
    if mutual:
        paths.append(settings.tls_client_ca_file)
    try:
        files = FileReload(paths, configuration)
    except (OSError, ValueError) as error:
        raise SettingsError(f"ILAB_CHAT_TLS_CERT_FILE, _KEY_FILE, _CLIENT_CA_FILE: {reason(error)}") from None

    def changed() -> grpc.ServerCertificateConfiguration | None:
        return files.value if files.refresh() else None

    # The stubs do not know that None stands for no change.
    return grpc.dynamic_ssl_server_credentials(files.value, changed, require_client_authentication=mutual)  # type: ignore[arg-type]


def configuration(
    certificates: bytes, key: bytes, client_authorities: bytes | None = None
) -> grpc.ServerCertificateConfiguration:
    """Return the contents of the files as gRPC takes them, which does not look at them before a handshake.

    Raises:
        ValueError: one is not what it should be, or certificate and key do not belong together, or the key is of
            a type that gRPC does not serve.
    """
    leaf = authorities("the certificate file", certificates)[0]
    try:
        public = load_pem_private_key(key, password=None).public_key()
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ValueError("the key file has no unencrypted private key in PEM") from None
    if public != leaf.public_key():
        raise ValueError("certificate and key do not belong together")
    if not is_served(leaf):
        raise ValueError(
            "the key is none that gRPC's clients accept: RSA of 2048 bits or more, or ECDSA P-256 or P-384"
        )
    if leaf.not_valid_after_utc <= datetime.now(UTC):
        log.warning("the TLS certificate has expired")
    if client_authorities is not None:
        authorities("the client CA file", client_authorities)
    return grpc.ssl_server_certificate_configuration([(key, certificates)], client_authorities)


def is_served(leaf: x509.Certificate) -> bool:
    """Whether BoringSSL, as gRPC uses it, ends a handshake with this certificate; with others each one fails, silently.

    Its clients verify neither Ed25519 nor P-521 unless told to (kVerifySignatureAlgorithms in
    https://github.com/google/boringssl/blob/main/ssl/extensions.cc), and RSA keys only of the plain type.
    """
    public = leaf.public_key()
    if isinstance(public, RSAPublicKey):
        plain = leaf.public_key_algorithm_oid == PublicKeyAlgorithmOID.RSAES_PKCS1_v1_5
        return plain and public.key_size >= LEAST_RSA_BITS
    return isinstance(public, EllipticCurvePublicKey) and isinstance(public.curve, SECP256R1 | SECP384R1)


def authorities(what: str, pem: bytes) -> list[x509.Certificate]:
    """Return the certificates of a file; at least one."""
    try:
        found = x509.load_pem_x509_certificates(pem)
    except ValueError:
        raise ValueError(f"{what} has no certificate in PEM, or a broken one") from None
    # The parser skips a block that does not end, as of a chain or a bundle that was cut.
    if pem.count(b"-----BEGIN ") != pem.count(b"-----END ") or len(found) != pem.count(b"-----BEGIN CERTIFICATE-----"):
        raise ValueError(f"{what} has a certificate that is cut off; the file may be incomplete")
    return found
