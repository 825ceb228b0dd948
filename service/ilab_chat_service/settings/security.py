"""Settings of TLS and authentication."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ilab_chat_service.settings.addresses import is_http_url, is_loopback, is_spiffe_id
from ilab_chat_service.settings.fields import SettingsError, setting, words

if TYPE_CHECKING:
    from collections.abc import Mapping

#: The settings that each authentication mode needs.
AUTH_NEEDS: Mapping[str, tuple[str, ...]] = {
    "": (),
    "none": (),
    "tokens": ("auth_tokens_file",),
    "jwt": ("jwt_jwks", "jwt_issuer", "jwt_audience"),
    "spiffe": ("spiffe_ids",),
}
JWT_ALGORITHMS = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"})


@dataclass(frozen=True, kw_only=True)
class SecuritySettings:
    """TLS and authentication."""

    allow_plaintext: bool = setting(
        "ILAB_CHAT_ALLOW_PLAINTEXT",
        False,
        "Allow plaintext on a non-loopback address, for instance behind a sidecar that encrypts.",
    )
    tls_cert_file: str = setting(
        "ILAB_CHAT_TLS_CERT_FILE", "", "PEM file with the server's certificate and its chain. Empty: no TLS."
    )
    tls_key_file: str = setting("ILAB_CHAT_TLS_KEY_FILE", "", "PEM file with the private key of the certificate.")
    tls_client_ca_file: str = setting(
        "ILAB_CHAT_TLS_CLIENT_CA_FILE",
        "",
        "PEM file with certificate authorities. If set, clients must present a certificate from one (mTLS).",
    )
    auth: str = setting(
        "ILAB_CHAT_AUTH",
        "",
        "Authentication mode: none, tokens, jwt or spiffe. Without one, the server starts on a loopback address only.",
    )
    auth_tokens_file: str = setting(
        "ILAB_CHAT_AUTH_TOKENS_FILE",
        "",
        "With auth=tokens: file with one token per line, optionally followed by user:<id> to bind it to that user.",
    )
    jwt_jwks: str = setting(
        "ILAB_CHAT_JWT_JWKS", "", "With auth=jwt: file or https URL with the issuer's public keys (JWKS)."
    )
    jwt_issuer: str = setting("ILAB_CHAT_JWT_ISSUER", "", "With auth=jwt: required value of the iss claim.")
    jwt_audience: str = setting(
        "ILAB_CHAT_JWT_AUDIENCE", "", "With auth=jwt: value that the aud claim must equal or contain."
    )
    jwt_algorithms: str = setting(
        "ILAB_CHAT_JWT_ALGORITHMS",
        "RS256,PS256,ES256,EdDSA",
        "With auth=jwt: accepted signature algorithms, comma-separated.",
    )
    jwt_leeway_seconds: float = setting(
        "ILAB_CHAT_JWT_LEEWAY_SECONDS",
        30.0,
        "With auth=jwt: allowed clock difference to the issuer, in seconds.",
        least=0,
    )
    jwt_scope: str = setting(
        "ILAB_CHAT_JWT_SCOPE",
        "ilab-chat:any-user",
        "With auth=jwt: scope that allows a token to act for any user. Without it, a token acts for the user in its "
        "sub claim.",
    )
    spiffe_ids: str = setting(
        "ILAB_CHAT_SPIFFE_IDS",
        "",
        "With auth=spiffe: SPIFFE IDs of the allowed callers, comma-separated. A trailing /* allows every ID below "
        "that path.",
    )

    def check_security(self, host: str) -> None:
        """Check TLS and authentication for a server that listens on *host*.

        Raises:
            SettingsError: half of a TLS setting, a missing or unused setting of an authentication mode, or plaintext or
                anonymous calls from other hosts that nobody asked for.
        """
        if bool(self.tls_cert_file) != bool(self.tls_key_file):
            missing = "KEY" if self.tls_cert_file else "CERT"
            raise SettingsError(f"ILAB_CHAT_TLS_{missing}_FILE: TLS needs both a certificate and its private key")
        if self.tls_client_ca_file and not self.tls_cert_file:
            raise SettingsError("ILAB_CHAT_TLS_CERT_FILE: client certificates need TLS")
        if not is_loopback(host):
            self._check_strangers()
        self._check_auth()

    def _check_strangers(self) -> None:
        if not self.tls_cert_file and not self.allow_plaintext:
            raise SettingsError(
                "ILAB_CHAT_ADDRESS: TLS is required on a non-loopback address: set ILAB_CHAT_TLS_CERT_FILE, or set "
                "ILAB_CHAT_ALLOW_PLAINTEXT=true if something in front of this server encrypts"
            )
        if not self.auth:
            raise SettingsError(
                "ILAB_CHAT_AUTH: authentication is required on a non-loopback address; use none only behind a proxy "
                "that authenticates callers"
            )

    def _check_auth(self) -> None:
        """Check the settings of the mode, and that no setting of another one is set.

        A tokens file that the mode ignores would mean a server that everybody can call.
        """
        if self.auth not in AUTH_NEEDS:
            raise SettingsError("ILAB_CHAT_AUTH: must be none, tokens, jwt or spiffe")
        names = {field.name: field.metadata["env"] for field in dataclasses.fields(self)}
        for auth, needs in AUTH_NEEDS.items():
            for name in needs:
                given = bool(getattr(self, name))
                if auth == self.auth and not given:
                    raise SettingsError(f"{names[name]}: required for ILAB_CHAT_AUTH={auth}")
                if given and name not in AUTH_NEEDS[self.auth]:
                    raise SettingsError(f"{names[name]}: set, but ILAB_CHAT_AUTH is not {auth}")
        if self.auth == "spiffe":
            self._check_spiffe()
        if self.auth == "jwt":
            self._check_jwt()

    def _check_spiffe(self) -> None:
        if not self.tls_client_ca_file:
            raise SettingsError("ILAB_CHAT_TLS_CLIENT_CA_FILE: required for ILAB_CHAT_AUTH=spiffe")
        ids = words(self.spiffe_ids)
        if not ids or not all(is_spiffe_id(each.removesuffix("/*")) for each in ids):
            raise SettingsError(
                "ILAB_CHAT_SPIFFE_IDS: must be like spiffe://example.org/ns/shop/sa/orders or .../ns/shop/*"
            )

    def _check_jwt(self) -> None:
        """Check the key source and the algorithms: with a shared secret, every verifier could sign tokens."""
        algorithms = words(self.jwt_algorithms)
        if not algorithms or not set(algorithms) <= JWT_ALGORITHMS:
            raise SettingsError(f"ILAB_CHAT_JWT_ALGORITHMS: must be a list of {', '.join(sorted(JWT_ALGORITHMS))}")
        if "://" not in self.jwt_jwks:
            return
        if not is_http_url(self.jwt_jwks):
            raise SettingsError("ILAB_CHAT_JWT_JWKS: must be a file or an https URL")
        url = urlsplit(self.jwt_jwks)
        if url.scheme != "https" and not is_loopback(url.hostname or ""):
            raise SettingsError(
                "ILAB_CHAT_JWT_JWKS: must be https, because over http anyone on the path could replace keys"
            )
