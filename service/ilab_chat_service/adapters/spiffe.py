"""Callers known by the SPIFFE id of their certificate, which TLS has verified."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from cryptography import x509

from ilab_chat_service.addresses import is_spiffe_id
from ilab_chat_service.callers import ANY_USER, InvalidCredentials, MissingCredentials

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ilab_chat_service.callers import Caller, Credentials

#: Certificates whose URI is remembered, because each call of a connection brings the same one. Some KB each.
MOST_CERTIFICATES = 1024


class SpiffeAuthenticator:
    """An allow-list of SPIFFE ids; one that ends with /* is for every id below. Each may act for any user."""

    def __init__(self, allowed: Sequence[str]) -> None:
        self._ids = frozenset(each for each in allowed if not each.endswith("/*"))
        self._folders = tuple(each.removesuffix("*") for each in allowed if each.endswith("/*"))

    async def caller(self, credentials: Credentials) -> Caller:
        """Return who has this certificate."""
        spiffe_id = uri_of(credentials.certificate) if credentials.certificate else None
        if spiffe_id is None or not spiffe_id.startswith("spiffe://"):
            raise MissingCredentials("this server asks for a client certificate with a SPIFFE id")
        # Before the list is looked at: an id below a folder must not lead out of it.
        if not is_spiffe_id(spiffe_id):
            raise InvalidCredentials("the certificate's URI is no valid SPIFFE id")
        if spiffe_id not in self._ids and not spiffe_id.startswith(self._folders):
            raise InvalidCredentials("the SPIFFE id is not on the allow-list")
        return ANY_USER


@lru_cache(maxsize=MOST_CERTIFICATES)
def uri_of(certificate: bytes) -> str | None:
    """Return the URI that a certificate in PEM stands for. None: it has none, or several, which an X.509-SVID must not.

    gRPC's own `peer_spiffe_id` ends at a NUL, so that an id could pass for another one.
    """
    try:
        extensions = x509.load_pem_x509_certificate(certificate).extensions
        names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    except Exception:  # noqa: BLE001 - whatever reading it raises: it names nobody
        return None
    return uris[0] if len(uris) == 1 else None
