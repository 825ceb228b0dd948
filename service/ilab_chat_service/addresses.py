"""HOST:PORT, URLs and SPIFFE ids, as settings have them."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

LAST_PORT = 65_535

#: A name or an IPv4 address; the underscore is for names of containers.
HOST = re.compile(r"[A-Za-z0-9._-]+")

#: Trust domain and path, without escapes, query, fragment, or the segments that lead elsewhere: empty, "." and "..".
#: https://github.com/spiffe/spiffe/blob/main/standards/SPIFFE-ID.md (section 2)
SPIFFE_ID = re.compile(r"spiffe://[a-z0-9._-]{1,255}(/(?!\.{1,2}(/|$))[A-Za-z0-9._-]+)*")
MOST_SPIFFE_CHARACTERS = 2048


class AddressUnavailable(Exception):
    """The address cannot be listened on."""

    def __init__(self, address: str) -> None:
        super().__init__(f"cannot listen on {address}: is it an address of this machine, and is no other server there?")


def split_address(address: str) -> tuple[str, int]:
    """Return host and port of HOST:PORT or [IPv6]:PORT.

    Raises:
        ValueError: it has no host or no port between 0 and 65,535.
    """
    host, colon, port = address.rpartition(":")
    if not (colon and port.isascii() and port.isdigit() and int(port) <= LAST_PORT):
        raise ValueError("not HOST:PORT")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if ":" in bare or bare != host:
        ipaddress.IPv6Address(bare)
    elif not HOST.fullmatch(bare):
        raise ValueError("not HOST:PORT")
    return bare, int(port)


def with_port(address: str, port: int) -> str:
    """Return *address* with another port."""
    host, _ = split_address(address)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_http_url(text: str) -> bool:
    """Whether *text* is a URL by HTTP, in visible ASCII, with a host, no impossible port and no fragment."""
    try:
        url = urlsplit(text)
        host, _ = url.hostname or "", url.port
        if "[" in url.netloc:
            ipaddress.IPv6Address(host)
    except ValueError:
        return False
    # Of the text itself: urlsplit drops line ends.
    visible = all("!" <= character <= "~" for character in text)
    return visible and url.scheme in {"http", "https"} and bool(":" in host or HOST.fullmatch(host)) and "#" not in text


def is_loopback(host: str) -> bool:
    """Whether *host* can only be reached from this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_spiffe_id(text: str) -> bool:
    """Whether *text* is a SPIFFE id; that of a whole trust domain, without a path, is one."""
    return len(text) <= MOST_SPIFFE_CHARACTERS and bool(SPIFFE_ID.fullmatch(text))
