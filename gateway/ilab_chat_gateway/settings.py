"""Every setting of the gateway, and the reader that fills them from the environment."""

from __future__ import annotations

import dataclasses
import ipaddress
import re
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, TypeVar, get_type_hints
from urllib.parse import urlsplit

from ilab_chat._target import DEFAULT_TARGET, AddressError, Target

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

T = TypeVar("T", str, int, float, bool)

#: Of every variable that only the gateway reads.
PREFIX = "ILAB_CHAT_GATEWAY_"
#: Of all our variables.
FRONT = "ILAB_"
#: Minimum similarity, 0 to 1, of two whole names of which one is a misspelt form of the other. The names of
#: the server's settings are less similar to those of the gateway.
SIMILAR = 0.9
#: Set by Kubernetes for a Service of such a name:
#: https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
OF_KUBERNETES = re.compile(r"\w+_(SERVICE_HOST|SERVICE_PORT\w*|PORT(_\d+_(TCP|UDP|SCTP)\w*)?)")

LAST_PORT = 65_535
LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "[::1]")


class SettingsError(ValueError):
    """A setting is invalid. The text names the environment variable."""


def setting(env: str, default: T, why: str) -> T:
    """Declare a field of the settings: environment variable, default, and one line for `--help` and the docs."""
    field: T = dataclasses.field(default=default, metadata={"env": env, "why": why})
    return field


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of one gateway."""

    address: str = setting("ILAB_CHAT_GATEWAY_ADDRESS", "127.0.0.1:8080", "Address to listen on, HOST:PORT.")
    target: str = setting("ILAB_CHAT_TARGET", DEFAULT_TARGET, "Address of the gRPC server, or any gRPC target.")
    tls: bool = setting("ILAB_CHAT_GATEWAY_TLS", False, "Use TLS for the connection to the server.")
    tls_ca_file: str = setting(
        "ILAB_CHAT_GATEWAY_TLS_CA_FILE", "", "PEM file with the certificate authorities to trust. Implies TLS."
    )
    tls_cert_file: str = setting(
        "ILAB_CHAT_GATEWAY_TLS_CERT_FILE", "", "PEM file with the gateway's client certificate (mTLS). Implies TLS."
    )
    tls_key_file: str = setting(
        "ILAB_CHAT_GATEWAY_TLS_KEY_FILE", "", "PEM file with the private key of the client certificate."
    )
    plaintext: bool = setting(
        "ILAB_CHAT_GATEWAY_PLAINTEXT",
        False,
        "Allow a plaintext connection to a server on another machine, for example behind a sidecar that encrypts.",
    )
    allow_remote: bool = setting(
        "ILAB_CHAT_GATEWAY_ALLOW_REMOTE",
        False,
        "Allow an address that other machines can reach. The server must require credentials.",
    )
    hosts: str = setting(
        "ILAB_CHAT_GATEWAY_HOSTS",
        "",
        "Allowed `Host` names of requests, without ports, comma-separated. Empty: localhost, 127.0.0.1, [::1].",
    )
    cors_origins: str = setting(
        "ILAB_CHAT_GATEWAY_CORS_ORIGINS",
        "",
        "Origins whose pages may call the gateway, comma-separated, such as https://app.example. Empty: no origin.",
    )
    timeout_seconds: float = setting(
        "ILAB_CHAT_GATEWAY_TIMEOUT_SECONDS",
        120.0,
        "Time limit of a call, in seconds. Exports, imports and deletions have no limit.",
    )
    max_body_bytes: int = setting(
        "ILAB_CHAT_GATEWAY_MAX_BODY_BYTES",
        4 * 1024 * 1024,
        "Maximum size of a request body in bytes; for an import, maximum size of a line.",
    )
    drain_seconds: float = setting(
        "ILAB_CHAT_GATEWAY_DRAIN_SECONDS", 30.0, "Time for running requests to finish after SIGTERM, in seconds."
    )
    playground: bool = setting("ILAB_CHAT_GATEWAY_PLAYGROUND", False, "Serve the playground at /playground.")

    def __post_init__(self) -> None:
        try:
            host, _ = split_address(self.address)
        except ValueError:
            raise SettingsError("ILAB_CHAT_GATEWAY_ADDRESS: must be HOST:PORT") from None
        if not is_loopback(host) and not self.allow_remote:
            raise SettingsError(
                "ILAB_CHAT_GATEWAY_ADDRESS: other machines can reach this address; "
                "set ILAB_CHAT_GATEWAY_ALLOW_REMOTE if the server requires credentials"
            )
        if not is_loopback(host) and not words(self.hosts):
            raise SettingsError("ILAB_CHAT_GATEWAY_HOSTS: required with an address that is not loopback")
        for name, least in (("timeout_seconds", 0.001), ("max_body_bytes", 1), ("drain_seconds", 0)):
            if not least <= getattr(self, name) <= 1e9:  # noqa: PLR2004 - beyond every sensible use
                raise SettingsError(f"ILAB_CHAT_GATEWAY_{name.upper()}: must be at least {least:g}")
        self._check_target()
        for origin in self.origins:
            parts = urlsplit(origin)
            if (
                parts.scheme not in {"http", "https"}
                or not parts.netloc
                or origin != f"{parts.scheme}://{parts.netloc}"
            ):
                raise SettingsError("ILAB_CHAT_GATEWAY_CORS_ORIGINS: must be origins such as https://app.example")

    def _check_target(self) -> None:
        try:
            target = Target.parse(self.target)
        except AddressError as error:
            flag = " and ILAB_CHAT_GATEWAY_TLS=true" if error.needs_tls else ""
            raise SettingsError(f"ILAB_CHAT_TARGET: {error.fault}: set {error.meant}{flag}") from None
        except ValueError as error:
            raise SettingsError(f"ILAB_CHAT_TARGET: {error}") from None
        if self.target == self.address:
            raise SettingsError(
                f"ILAB_CHAT_TARGET: is the gateway's own address; set the gRPC port, as in {DEFAULT_TARGET}"
            )
        if not (target.is_local or self.is_encrypted or self.plaintext):
            raise SettingsError(
                "ILAB_CHAT_TARGET: is on another machine; set ILAB_CHAT_GATEWAY_TLS, or ILAB_CHAT_GATEWAY_PLAINTEXT "
                "if something else encrypts the connection"
            )
        if bool(self.tls_cert_file) != bool(self.tls_key_file):
            raise SettingsError(
                "ILAB_CHAT_GATEWAY_TLS_CERT_FILE: must be set together with ILAB_CHAT_GATEWAY_TLS_KEY_FILE"
            )

    @property
    def is_encrypted(self) -> bool:
        """Whether the connection to the server uses TLS."""
        return self.tls or bool(self.tls_ca_file or self.tls_cert_file)

    @property
    def allowed_hosts(self) -> frozenset[str]:
        """The host names that a request may name, in lower case."""
        own = self.address.rpartition(":")[0]
        return frozenset(host.lower() for host in words(self.hosts) or (*LOOPBACK_HOSTS, own))

    @property
    def origins(self) -> list[str]:
        """The origins whose pages may call the gateway."""
        return words(self.cors_origins)


def read(environ: Mapping[str, str], overrides: Mapping[str, str] | None = None) -> Settings:
    """Return the settings in *environ*. *overrides*, by field name, take precedence. Empty variables count as unset.

    Raises:
        SettingsError: a setting is invalid.
    """
    types = get_type_hints(Settings)
    values: dict[str, Any] = {}
    for field in dataclasses.fields(Settings):
        text = (overrides or {}).get(field.name, environ.get(field.metadata["env"], ""))
        if text:
            values[field.name] = parse(field.metadata["env"], text, types[field.name])
    return Settings(**values)


def misspelt(environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield each variable that looks like one of the gateway's and is not, with the nearest name, or "".

    Args:
        environ: environment variables. Their values are not looked at.
    """
    known = [field.metadata["env"] for field in dataclasses.fields(Settings)]
    for name in sorted(environ):
        if name in known or OF_KUBERNETES.fullmatch(name):
            continue
        if name.startswith(PREFIX):
            close = get_close_matches(name.removeprefix(PREFIX), [each.removeprefix(PREFIX) for each in known], 1)
            yield name, next((each for each in known if close and each.endswith(close[0])), "")
        elif name.startswith(FRONT) and (whole := get_close_matches(name, known, 1, SIMILAR)):
            yield name, whole[0]


def parse(env: str, text: str, kind: type) -> str | int | float | bool:
    """Return *text* as a *kind*.

    Raises:
        SettingsError: *text* is not a *kind*; the message names *env*.
    """
    try:
        return PARSERS[kind](text)
    except (ValueError, KeyError):
        raise SettingsError(f"{env}: must be {NAMES[kind]}") from None


def words(text: str) -> list[str]:
    """Return the parts of a comma-separated text, without blanks and without empty parts."""
    return [word for each in text.split(",") if (word := each.strip())]


def split_address(address: str) -> tuple[str, int]:
    """Return host and port of HOST:PORT or [IPv6]:PORT.

    Raises:
        ValueError: it has no host, or no port between 0 and 65,535.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or int(port) > LAST_PORT:
        raise ValueError("not HOST:PORT")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if ":" in bare:
        ipaddress.IPv6Address(bare)
    return bare, int(port)


def is_loopback(host: str) -> bool:
    """Whether *host* can only be reached from this machine."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


PARSERS: dict[type, Callable[[str], str | int | float | bool]] = {
    str: str,
    int: int,
    float: float,
    bool: lambda text: {"true": True, "1": True, "false": False, "0": False}[text.lower()],
}
NAMES: dict[type, str] = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
