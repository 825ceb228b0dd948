"""HOST:PORT, URLs and SPIFFE ids, as settings have them."""

from __future__ import annotations

import base64
import ipaddress
import re
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlencode, urlsplit, urlunsplit

if TYPE_CHECKING:
    from collections.abc import Mapping

LAST_PORT = 65_535

MEANT = "must be HOST:PORT, for instance 127.0.0.1:50051, or unix:/PATH"
MEANT_IPV6 = "must be HOST:PORT with an IPv6 address in brackets, for instance [::1]:50051"
#: Linux limits the path to 107 bytes. https://man7.org/linux/man-pages/man7/unix.7.html
SOCKET = re.compile(r"unix:(/[!-~]{1,106})")

#: A name or an IPv4 address; the underscore is for names of containers.
HOST = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\.?")

#: Trust domain and path, without escapes, query, fragment, or the segments that lead elsewhere: empty, "." and "..".
#: https://github.com/spiffe/spiffe/blob/main/standards/SPIFFE-ID.md (section 2)
SPIFFE_ID = re.compile(r"spiffe://[a-z0-9._-]{1,255}(/(?!\.{1,2}(/|$))[A-Za-z0-9._-]+)*")
MOST_SPIFFE_CHARACTERS = 2048


class AddressUnavailable(Exception):
    """The address cannot be listened on."""

    def __init__(self, address: str, variable: str = "ILAB_CHAT_ADDRESS") -> None:
        """Name what may be wrong, and the variable that names another address."""
        reason = (
            "its folder does not exist or cannot be written, or another server uses it"
            if socket_path(address)
            else "another server uses it, or it is not an address of this machine"
        )
        super().__init__(f"cannot listen on {address}: {reason}; {variable} names another address")


def socket_path(address: str) -> str:
    """Return the absolute path of a Unix domain socket, unix:/PATH. Empty: *address* is not one."""
    found = SOCKET.fullmatch(address)
    return found[1] if found else ""


def split_address(address: str) -> tuple[str, int]:
    """Return host and port of HOST:PORT or [IPv6]:PORT.

    Raises:
        ValueError: it has no host or no port between 0 and 65,535, or an IPv6 address without brackets. The text says
            which.
    """
    host, colon, port = address.rpartition(":")
    if not (colon and port.isascii() and port.isdigit() and int(port) <= LAST_PORT):
        raise ValueError(MEANT)
    if ":" in host and not host.startswith("["):
        # The last group of the address could be the port.
        raise ValueError(MEANT_IPV6)
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if ":" in bare or bare != host:
        try:
            ipaddress.IPv6Address(bare)
        except ValueError:
            raise ValueError(MEANT_IPV6) from None
    elif not HOST.fullmatch(bare):
        raise ValueError(MEANT)
    return bare, int(port)


def with_port(address: str, port: int) -> str:
    """Return *address* with another port. A socket has none."""
    if socket_path(address):
        return address
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
    # Parsers differ in what a backslash is: to some, what follows it is the host.
    visible = visible and "\\" not in text
    return visible and url.scheme in {"http", "https"} and bool(":" in host or HOST.fullmatch(host)) and "#" not in text


#: A name or an IPv4 address, and behind it what is not a port of at most 65,535.
PORT_FAULT = re.compile(
    r"^https?://(?:[^/?#]*@)?[\w.-]+:(?!\d{1,4}(?!\d)|[1-5]\d{4}(?!\d)|6[0-4]\d{3}(?!\d))[^@/?#]+(?:[/?#]|$)"
)

#: Paths that follow a base URL, and are not part of one. https://platform.openai.com/docs/api-reference
ENDPOINT = re.compile(r"/(chat/completions|completions|responses|embeddings|models|messages)/*$")


def url_fault(base_url: str) -> str:
    """Return why *base_url* cannot be the base URL of an API; or an empty text. Quotes no password and no query."""
    if not all("!" <= character <= "~" for character in base_url):
        return "must consist of visible ASCII characters, without spaces"
    if not is_http_url(base_url):
        if "://" not in base_url:
            return "must begin with http:// or https://"
        if PORT_FAULT.search(base_url):
            return f"must have a port between 0 and {LAST_PORT:,}"
        return "must be an http or https URL with a host and no fragment, for instance http://127.0.0.1:8080/v1"
    url = urlsplit(base_url)
    if endpoint := ENDPOINT.search(url.path):
        # Of the query only what Azure needs: others may be keys.
        version = re.search(r"(?:^|&)(api-version=[\w.-]+)", url.query)
        query = f"?{version[1]}" if version else ""
        meant = f"{url.scheme}://{url.netloc.rpartition('@')[2]}{url.path[: endpoint.start()]}{query}"
        return f"must not include the endpoint {endpoint[0].rstrip('/')}; you probably meant {meant}"
    return ""


def url_without_login(url: str) -> tuple[str, str]:
    """Return a URL without user name and password, and the value of an Authorization header for them, empty if none."""
    parts = urlsplit(url)
    login, _, place = parts.netloc.rpartition("@")
    name, _, password = login.partition(":")
    basic = base64.b64encode(f"{unquote(name)}:{unquote(password)}".encode()).decode() if login else ""
    return urlunsplit(parts._replace(netloc=place)), f"Basic {basic}" if basic else ""


def chat_completions_url(base_url: str, query: Mapping[str, str]) -> str:
    """Return the URL of chat completions: *base_url* with its path and its query extended."""
    parts = urlsplit(base_url)
    queries = [each for each in (parts.query, urlencode(query)) if each]
    return urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/chat/completions", query="&".join(queries)))


def is_within(url: str, domains: tuple[str, ...]) -> bool:
    """Return whether the host of *url* is one of *domains* or below one."""
    host = urlsplit(url).hostname or ""
    return any(host == domain or host.endswith(f".{domain}") for domain in domains)


def is_loopback(host: str) -> bool:
    """Whether *host* can only be reached from this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_spiffe_id(text: str) -> bool:
    """Whether *text* is a SPIFFE id, of a service or, without a path, of a whole trust domain."""
    return len(text) <= MOST_SPIFFE_CHARACTERS and bool(SPIFFE_ID.fullmatch(text))
