"""Where the service listens, and what gRPC is told about the way there. Does no I/O."""

import ipaddress
import json
import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

DEFAULT_PORT: Final = 50051
#: Where the gateway serves HTTP unless told otherwise.
HTTP_PORT: Final = 8080
LAST_PORT: Final = 65_535
DEFAULT_TARGET: Final = "127.0.0.1:50051"

SERVICE: Final = "ilab_chat.v1.ChatService"
MEMORY_SERVICE: Final = "ilab_chat.v1.MemoryService"
#: Methods whose requests have a request_id.
MEMORY_WRITES: Final = ("EndSession", "SummarizeSession", "SaveObservation", "UpdateObservation", "DeleteObservation")

DEFAULT_MAX_RETRIES: Final = 3
#: gRPC makes no more than five attempts.
MAX_RETRIES: Final = 4

# Only calls that can be repeated: those with a request_id, which the client always sets, and PreviewPrompt, which
# writes nothing. One by one, because a config with an empty name would apply to all others too.
RETRIED: Final = [
    *({"service": SERVICE, "method": method} for method in ("Chat", "StreamChat", "PreviewPrompt")),
    *({"service": MEMORY_SERVICE, "method": method} for method in MEMORY_WRITES),
]
# gRPC stops once the answer has begun, and never exceeds the caller's deadline: there is no `timeout` here that could
# change it.
RETRY_POLICY: Final = {
    "initialBackoff": "0.1s",
    "maxBackoff": "1s",
    "backoffMultiplier": 3,
    # Not ABORTED: the model's work was paid for, and whether to pay again is the caller's choice.
    "retryableStatusCodes": ["UNAVAILABLE"],
}
THROTTLING: Final = {
    # Repeating stops while more than half of the attempts fail. The most that gRPC takes, of which one half may be
    # used up at once: a server that is killed takes at most its 384 calls (256 that run and 128 that wait) with it.
    "maxTokens": 1000,
    "tokenRatio": 1,
}
#: gRPC asks for the addresses of a name once in 30 s at most, gives an attempt to connect 20 s, and waits up to two
#: minutes between two. A server that has moved to another address would be found as late as that.
RECONNECTING: Final = [
    ("grpc.dns_min_time_between_resolutions_ms", 1_000),
    ("grpc.min_reconnect_backoff_ms", 5_000),
    ("grpc.max_reconnect_backoff_ms", 5_000),
]
BALANCING: Final = {
    "loadBalancingConfig": [{"round_robin": {}}],
    "healthCheckConfig": {"serviceName": SERVICE},
}


#: Where gRPC finds servers by other means than a name and a port. https://github.com/grpc/grpc/blob/master/doc/naming.md
SCHEMES: Final = re.compile(r"(unix|unix-abstract|vsock|ipv4|ipv6|[a-z][a-z0-9+.-]*(?=:/)):")
SECURE_SCHEMES: Final = ("https", "grpcs")
PLAIN_SCHEMES: Final = ("http", "grpc")


class AddressError(ValueError):
    """An address that cannot be used. Its text says what to type."""

    def __init__(self, fault: str, meant: str, *, needs_tls: bool = False) -> None:
        super().__init__(f"{fault}: type {meant}{', with credentials=tls_credentials()' if needs_tls else ''}")
        self.fault = fault
        self.meant = meant
        """The address that is meant."""
        self.needs_tls = needs_tls
        """Whether the address is meant to be called over TLS."""


@dataclass(frozen=True, slots=True)
class Target:
    """A target, understood."""

    name: str
    """As gRPC takes it."""
    is_local: bool
    """Whether all of it is on this machine."""
    is_several: bool
    """Whether it stands for several servers, one address each."""

    @classmethod
    def parse(cls, text: str) -> "Target":
        """Understand *text*: `host:port`, comma-separated IP addresses, or any target of gRPC's own.

        Raises:
            AddressError: *text* is a URL, has no host or no port, or anything behind the port.
            ValueError: it is a list of anything but IP addresses of one family.
        """
        _check_spelling(text)
        scheme, colon, rest = text.partition(":")
        if scheme in {"unix", "unix-abstract"}:
            return cls(text, is_local=True, is_several=False)
        if scheme == "dns" and colon and not rest.isdecimal():
            return cls(text, is_local=_is_loopback(rest.rpartition("/")[2]), is_several=True)
        addresses = (rest if scheme in {"ipv4", "ipv6"} else text).split(",")
        is_local = all(map(_is_loopback, addresses))
        if len(addresses) == 1:
            return cls(text, is_local=is_local, is_several=False)
        return cls(f"{_family(addresses)}:{','.join(addresses)}", is_local=is_local, is_several=True)

    def options(self, max_retries: int = DEFAULT_MAX_RETRIES) -> list[tuple[str, str | int]]:
        """Return the options of a channel to it.

        Chat calls, previews and memory writes that fail as UNAVAILABLE before their answer begins are repeated, up to
        *max_retries* times. Several servers take turns, as long as the health service reports them SERVING. Proxies of
        the environment are not used for addresses on this machine.
        """
        policy = {"maxAttempts": max_retries + 1, **RETRY_POLICY}
        retried = {"methodConfig": [{"name": RETRIED, "retryPolicy": policy}], "retryThrottling": THROTTLING}
        config = (retried if max_retries else {}) | (BALANCING if self.is_several else {})
        return [("grpc.service_config", json.dumps(config)), *self.plain_options()]

    def plain_options(self) -> list[tuple[str, str | int]]:
        """Return the options of a channel that neither repeats nor asks for health."""
        # Else all channels of a process share one connection, and with it one worker of the server.
        options: list[tuple[str, str | int]] = [("grpc.use_local_subchannel_pool", 1), *RECONNECTING]
        return [*options, ("grpc.enable_http_proxy", 0)] if self.is_local else options


def check_target(target: str, channel: object, credentials: object) -> Target:
    """Return the target of a client, which must not be told two ways to connect.

    Raises:
        ValueError: *channel* is given together with *target* or *credentials*; *target* is a
            comma-separated list of anything but IP addresses of one family, or a list together with *credentials*.
    """
    if channel is not None and (target != DEFAULT_TARGET or credentials is not None):
        raise ValueError("pass either a channel, or a target and credentials")
    parsed = Target.parse(target)
    if parsed.name.startswith("ipv") and parsed.is_several and credentials is not None:
        # gRPC would compare each certificate with the text of the whole list.
        raise ValueError("TLS certificates are for names: with credentials, use dns:///name:port for several servers")
    return parsed


def check_max_retries(max_retries: int) -> int:
    """Return *max_retries*.

    Raises:
        ValueError: it is not between 0 and what gRPC supports.
    """
    if not 0 <= max_retries <= MAX_RETRIES:
        raise ValueError(f"max_retries must be 0 to {MAX_RETRIES}: gRPC makes no more attempts")
    return max_retries


def _family(addresses: list[str]) -> str:
    try:
        [version] = {ipaddress.ip_address(_host(address)).version for address in addresses}
    except ValueError:
        raise ValueError(
            "a list of addresses must contain IP addresses of one family, each with its port, as in "
            "10.0.0.1:50051,10.0.0.2:50051; use dns:///name:port for several servers behind one name"
        ) from None
    return f"ipv{version}"


def _check_spelling(text: str) -> None:
    """Refuse an address that gRPC would call wrong in its own words, or would take for another one."""
    scheme, separator, _ = text.partition("://")
    if separator and scheme.lower() in (*SECURE_SCHEMES, *PLAIN_SCHEMES):
        raise _url_error(text, scheme.lower())
    spelled = text.strip()
    if not spelled:
        raise AddressError("the address is empty", DEFAULT_TARGET)
    if "," in text:
        return
    if SCHEMES.match(text):
        if text.startswith("dns:") and text.endswith("/"):
            raise AddressError("an address ends with its port", text.rstrip("/"))
        return
    bare = re.split(r"[/?#]", spelled)[0]
    if spelled != text or re.search(r"\s", spelled):
        raise AddressError("an address contains no spaces", _with_port(re.sub(r"\s+", ":", spelled)))
    if bare != spelled:
        raise AddressError("an address ends with its port", _with_port(bare))
    if fault := _fault(text):
        raise AddressError(fault, _with_port(text))


def _url_error(url: str, scheme: str) -> AddressError:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "127.0.0.1", parts.port
    except ValueError:
        return AddressError(f"an address has no {scheme}://", DEFAULT_TARGET)
    name = f"[{host}]" if ":" in host else host
    if scheme == "http" and port == HTTP_PORT:
        return AddressError(f"{HTTP_PORT} is the port for HTTP, and this is a gRPC client", f"{name}:{DEFAULT_PORT}")
    needs_tls = scheme in SECURE_SCHEMES
    meant = f"{name}:{port or (443 if needs_tls else DEFAULT_PORT)}"
    return AddressError(f"an address has no {scheme}://", meant, needs_tls=needs_tls)


def _fault(text: str) -> str:
    host, colon, port = text.rpartition(":")
    if _is_ipv6(text) or (not host.startswith("[") and _is_ipv6(host)):
        return "an IPv6 address is in brackets"
    if not colon or text.endswith("]"):
        return "the address has no port"
    if not host:
        return "the address has no host"
    if not port:
        return "the address has no port"
    return "" if _is_port(port) else f"the port must be a number from 1 to {LAST_PORT}"


def _with_port(text: str) -> str:
    """Return the address that *text* may mean."""
    host, _, port = text.rpartition(":")
    if _is_ipv6(text):
        return f"[{text}]:{DEFAULT_PORT}"
    if text.endswith("]") or ":" not in text:
        host, port = text, ""
    if _is_ipv6(host):
        host = f"[{host}]"
    return f"{host or '127.0.0.1'}:{port if _is_port(port) else DEFAULT_PORT}"


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and 0 < int(text) <= LAST_PORT


def _is_ipv6(text: str) -> bool:
    try:
        return ipaddress.ip_address(text).version == 6  # noqa: PLR2004 - the name of the family
    except ValueError:
        return False


def _host(address: str) -> str:
    return address.rpartition(":")[0].strip("[]%")


def _is_loopback(address: str) -> bool:
    host = _host(address)
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
