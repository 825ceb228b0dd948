"""The address that the server listens on: a TCP port or a Unix domain socket."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from ilab_chat_service.settings.addresses import AddressUnavailable, socket_path, with_port

if TYPE_CHECKING:
    import grpc
    import grpc.aio

#: Owner and group may connect to a Unix domain socket.
SOCKET_MODE = 0o660


async def bind(server: grpc.aio.Server, address: str, credentials: grpc.ServerCredentials | None) -> str:
    """Bind *server* to *address*, with TLS if there are *credentials*; return the address with its port.

    Raises:
        AddressUnavailable: the address cannot be bound.
    """
    path = socket_path(address)
    # gRPC would remove the socket of another server, as it does with one that a killed server left.
    if bool(path) and await asyncio.to_thread(is_served, path):
        raise AddressUnavailable(address)
    try:
        port = server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address)
    except RuntimeError:
        raise AddressUnavailable(address) from None
    if path:
        await asyncio.to_thread(Path(path).chmod, SOCKET_MODE)
    return with_port(address, port)


def is_served(path: str) -> bool:
    """Return whether a process listens on the Unix domain socket *path*."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.setblocking(False)
        try:
            connection.connect(path)
        except BlockingIOError:  # its queue is full
            return True
        except OSError:
            return False
    return True
