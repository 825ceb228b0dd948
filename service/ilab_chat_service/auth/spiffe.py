"""Callers known by the SPIFFE id of their certificate, which TLS has verified."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from cryptography import x509

from ilab_chat_service.auth.callers import ANY_USER, InvalidCredentials, MissingCredentials
from ilab_chat_service.settings.addresses import is_spiffe_id

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ilab_chat_service.auth.callers import Caller, Credentials

#: Certificates whose identity is remembered, because each call of a connection brings the same one. Some KB each.
MOST_CERTIFICATES = 1024


class SpiffeAuthenticator:
    """An allow-list of SPIFFE ids; one that ends with /* is for every id below. Each may act for any user."""

    def __init__(self, allowed: Sequence[str]) -> None:
        self._ids = frozenset(each for each in allowed if not each.endswith("/*"))
        self._folders = tuple(each.removesuffix("*") for each in allowed if each.endswith("/*"))

    async def caller(self, credentials: Credentials) -> Caller:
        """Return who has this certificate."""
        identity = identity_of(credentials.certificate) if credentials.certificate else NOBODY
        spiffe_id = identity.uri
        if spiffe_id is None or not spiffe_id.startswith("spiffe://"):
            raise MissingCredentials("this server asks for a client certificate with a SPIFFE id")
        if identity.fault:
            raise InvalidCredentials(identity.fault)
        # Before the list is looked at: an id below a folder must not lead out of it.
        if not is_spiffe_id(spiffe_id):
            raise InvalidCredentials("the certificate's URI is no valid SPIFFE id")
        if spiffe_id not in self._ids and not spiffe_id.startswith(self._folders):
            raise InvalidCredentials("the SPIFFE id is not on the allow-list")
        return ANY_USER


@dataclass(frozen=True, slots=True)
class Identity:
    """What a certificate says of its owner."""

    uri: str | None
    """Its one URI. None: it has none, or several, which an X.509-SVID must not have."""
    fault: str = ""
    """Why it is not accepted for that URI."""


NOBODY = Identity(None)


@lru_cache(maxsize=MOST_CERTIFICATES)
def identity_of(certificate: bytes) -> Identity:
    """Return what a certificate in PEM says.

    gRPC's own `peer_spiffe_id` ends at a NUL, so that an id could pass for another one.
    """
    try:
        extensions = x509.load_pem_x509_certificate(certificate).extensions
        names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        uris = names.get_values_for_type(x509.UniformResourceIdentifier)
        return Identity(uris[0], signing_fault(extensions)) if len(uris) == 1 else NOBODY
    except Exception:  # noqa: BLE001 - whatever reading it raises: it names nobody
        return NOBODY


def signing_fault(extensions: x509.Extensions) -> str:
    """Return why a certificate that may sign others is not a leaf, empty for a leaf.

    https://github.com/spiffe/spiffe/blob/main/standards/X509-SVID.md, sections 4.1 and 4.3: a leaf has CA:FALSE and
    neither keyCertSign nor cRLSign. BoringSSL accepts a signing certificate as a client's.
    """
    for extension in extensions:
        match extension.value:
            case x509.BasicConstraints(ca=True):
                return "the certificate is a CA (basicConstraints CA:TRUE); a SPIFFE client needs a leaf certificate"
            case x509.KeyUsage(key_cert_sign=True) | x509.KeyUsage(crl_sign=True):
                return (
                    "the certificate's keyUsage allows keyCertSign or cRLSign; a SPIFFE client needs a leaf certificate"
                )
    return ""
