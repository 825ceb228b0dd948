"""How a client shows who it is, and makes sure whom it talks to."""

from collections.abc import Callable
from pathlib import Path

import grpc

Token = str | Callable[[], str]


def tls_credentials(
    *, ca_file: str | Path | None = None, cert_file: str | Path | None = None, key_file: str | Path | None = None
) -> grpc.ChannelCredentials:
    """Return the *credentials* of a client that speaks TLS. The files are read now, and not again.

    Args:
        ca_file: PEM file of the authorities to trust. None: those that gRPC comes with.
        cert_file: PEM file of the client's certificate, for a server that asks for one (mTLS).
        key_file: PEM file of its private key.

    Raises:
        OSError: a file cannot be read.
        ValueError: there is a certificate without a key, or a key without a certificate.
    """
    if (cert_file is None) != (key_file is None):
        raise ValueError("pass a client certificate and its private key together")
    trusted, key, certificate = (path and Path(path).read_bytes() for path in (ca_file, key_file, cert_file))
    return grpc.ssl_channel_credentials(trusted or None, key or None, certificate or None)


class PlaintextToken(ValueError):
    """A token would leave this machine in plaintext."""

    fault = "a token is not sent in plaintext to another machine"

    def __init__(self) -> None:
        super().__init__(
            f"{self.fault}: pass credentials, for instance tls_credentials(), or allow_plaintext_token=True if "
            "something else encrypts"
        )


def check_token(token: Token | None, *, is_local: bool, encrypted: bool, allow_plaintext_token: bool) -> None:
    """Refuse to send a token where others can read it.

    gRPC's own call credentials would refuse plaintext on loopback too, and say so only when a call fails.

    Raises:
        PlaintextToken: the connection is plaintext and leaves this machine, and *allow_plaintext_token* is false.
    """
    if token is not None and not encrypted and not allow_plaintext_token and not is_local:
        raise PlaintextToken


def authorization(token: Token) -> tuple[str, str]:
    """Return the metadata that carries the token.

    Raises:
        ValueError: it is empty or has other than visible ASCII characters; it is not quoted.
    """
    text = token if isinstance(token, str) else token()
    if not text or not all("!" <= character <= "~" for character in text):
        raise ValueError("the token is empty or contains other than visible ASCII characters")
    return ("authorization", f"Bearer {text}")
