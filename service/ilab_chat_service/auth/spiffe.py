"""Authentication by the SPIFFE ID in the client certificate, which TLS has verified."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

from cryptography import x509

from ilab_chat_service.auth.callers import ANY_USER, InvalidCredentials, MissingCredentials
from ilab_chat_service.settings.addresses import is_spiffe_id

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ilab_chat_service.auth.callers import Caller, Credentials

#: Size of the cache of identities: every call of a connection presents the same certificate. Some KB per entry.
MAX_CACHED_CERTIFICATES = 1024


class SpiffeAuthenticator:
    """An allow-list of SPIFFE IDs. A trailing /* allows every ID below that path. Each may act for any user."""

    def __init__(self, allowed: Sequence[str]) -> None:
        self._ids = frozenset(each for each in allowed if not each.endswith("/*"))
        self._prefixes = tuple(each.removesuffix("*") for each in allowed if each.endswith("/*"))

    async def caller(self, credentials: Credentials) -> Caller:
        """Return the caller with this client certificate."""
        identity = identity_of(credentials.certificate) if credentials.certificate else UNKNOWN
        spiffe_id = identity.uri
        if spiffe_id is None or not spiffe_id.startswith("spiffe://"):
            raise MissingCredentials("this server requires a client certificate with a SPIFFE ID")
        if identity.fault:
            raise InvalidCredentials(identity.fault)
        # Check this before the allow-list: an ID with `..` in its path could match a prefix and lead out of it.
        if not is_spiffe_id(spiffe_id):
            raise InvalidCredentials("the certificate's URI is not a valid SPIFFE ID")
        if spiffe_id not in self._ids and not spiffe_id.startswith(self._prefixes):
            raise InvalidCredentials("the SPIFFE ID is not on the allow-list")
        return replace(ANY_USER, name=spiffe_id)


@dataclass(frozen=True, slots=True)
class Identity:
    """The identity in a client certificate."""

    uri: str | None
    """The only URI of the certificate; None unless it has exactly one, as an X.509-SVID must."""
    fault: str = ""
    """Why the certificate is not accepted. Empty: it is."""


UNKNOWN = Identity(None)


@lru_cache(maxsize=MAX_CACHED_CERTIFICATES)
def identity_of(certificate: bytes) -> Identity:
    """Return the identity in a PEM certificate.

    gRPC's own `peer_spiffe_id` truncates the ID at a NUL, so one ID could pass for another.
    """
    try:
        extensions = x509.load_pem_x509_certificate(certificate).extensions
        names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        uris = names.get_values_for_type(x509.UniformResourceIdentifier)
        return Identity(uris[0], signing_fault(extensions)) if len(uris) == 1 else UNKNOWN
    except Exception:  # noqa: BLE001 - untrusted input: the parser may raise anything
        return UNKNOWN


def signing_fault(extensions: x509.Extensions) -> str:
    """Return why the certificate with these extensions is a signing certificate. Empty: it is a leaf.

    https://github.com/spiffe/spiffe/blob/main/standards/X509-SVID.md, sections 4.1 and 4.3: a leaf has CA:FALSE and
    neither keyCertSign nor cRLSign. BoringSSL accepts a signing certificate as a client certificate.
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
