"""The HTTP port for Prometheus and for probes: /metrics, /livez and /readyz.

It runs on threads of its own, so that a scrape delays no call, and a probe is answered while many calls run.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from contextlib import asynccontextmanager
from dataclasses import dataclass
from socketserver import TCPServer
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler

from prometheus_client import make_wsgi_app
from prometheus_client.exposition import ThreadingWSGIServer

from ilab_chat_service.settings.addresses import AddressUnavailable, split_address, with_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable
    from wsgiref.types import StartResponse, WSGIEnvironment

    from prometheus_client import CollectorRegistry

log = logging.getLogger(__name__)

#: Time for a request to arrive and its answer to be read.
REQUEST_SECONDS = 10.0
#: Connections that are answered at a time; more are closed. Prometheus and probes need two or three.
CONNECTIONS = 16
#: Time in which the event loop must react, or the process is not alive. Probes wait less: Kubernetes 1 s by default.
ALIVE_SECONDS = 5.0
#: Interval at which the thread that accepts connections checks whether it must stop.
POLL_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Pages:
    """The pages of the port, as a WSGI application.

    Args:
        registry: the metrics.
        is_ready: tells, on any thread, whether calls can be answered.
        loop: the event loop of the process: it is alive if this reacts.
    """

    registry: CollectorRegistry
    is_ready: Callable[[], bool]
    loop: asyncio.AbstractEventLoop

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request."""
        try:
            match environ["PATH_INFO"]:
                case "/metrics":
                    return make_wsgi_app(self.registry)(environ, start_response)  # type: ignore[no-any-return]
                case "/livez":
                    return said(start_response, "200 OK" if self._is_alive() else "503 Service Unavailable")
                case "/readyz":
                    return said(start_response, "200 OK" if self.is_ready() else "503 Service Unavailable")
                case _:
                    return said(start_response, "404 Not Found")
        except Exception:
            log.exception("a request of the metrics port failed")
            return said(start_response, "500 Internal Server Error")

    def _is_alive(self) -> bool:
        reacted = threading.Event()
        try:
            self.loop.call_soon_threadsafe(reacted.set)
        except RuntimeError:  # the loop has ended
            return False
        return reacted.wait(ALIVE_SECONDS)


def said(start_response: StartResponse, status: str) -> Iterable[bytes]:
    """Answer with *status* and its words."""
    # A new list, because wsgiref adds to it.
    start_response(status, [("Content-Type", "text/plain; charset=utf-8")])
    return [status.partition(" ")[2].lower().encode() + b"\n"]


class Handler(WSGIRequestHandler):
    """Handles a request. Requests are not logged."""

    timeout = REQUEST_SECONDS

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name of the base class
        """Log nothing."""


class PagesServer(ThreadingWSGIServer):
    """A server of `Pages`, bound to *address*.

    Raises:
        OSError: it cannot be bound.
    """

    def __init__(self, address: str, pages: Pages) -> None:
        host, port = split_address(address)
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        self.address_family, *_, location = found[0]
        self._free = threading.BoundedSemaphore(CONNECTIONS)
        # Both families have a host and a port first.
        super().__init__((str(location[0]), int(location[1])), Handler)
        self.set_app(pages)

    def server_bind(self) -> None:
        """Bind without looking up the name of the host, which may take seconds, as the base class does."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer a connection on a thread, or close it if there are too many."""
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer a connection within REQUEST_SECONDS, even if its bytes arrive one at a time."""
        limit = threading.Timer(REQUEST_SECONDS, self.shutdown_request, [request])
        limit.daemon = True
        limit.start()
        try:
            super().process_request_thread(request, client_address)
        finally:
            limit.cancel()
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log nothing: the client has left, or sent something else than HTTP."""


@asynccontextmanager
async def serving_pages(address: str, pages: Pages) -> AsyncIterator[str]:
    """Serve *pages* while the block runs; yield the address with its port.

    Raises:
        AddressUnavailable: the address cannot be bound.
    """
    try:
        server = await asyncio.to_thread(PagesServer, address, pages)
    except OSError:
        raise AddressUnavailable(address, "ILAB_CHAT_METRICS_ADDRESS") from None
    thread = threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": POLL_SECONDS}, name="metrics", daemon=True
    )
    thread.start()
    try:
        yield with_port(address, server.server_port)
    finally:
        await asyncio.to_thread(stop, server, thread)


def stop(server: PagesServer, thread: threading.Thread) -> None:
    """Stop *server*, whose loop runs on *thread*."""
    server.shutdown()
    thread.join()
    server.server_close()
