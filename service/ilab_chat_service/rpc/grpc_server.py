"""The server of gRPC: how it is made, its channel arguments, its address, and reflection."""

from __future__ import annotations

import asyncio
import logging
import socket
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import grpc
import grpc.aio

# Imported for its side effect: reflection can then describe error details, and grpcurl prints them.
from google.rpc import error_details_pb2  # noqa: F401
from grpc_reflection.v1alpha import reflection, reflection_pb2

from ilab_chat_service.limits import HEADER_BYTES, REQUEST_BYTES
from ilab_chat_service.rpc.connection_limit import most_connections
from ilab_chat_service.settings.addresses import AddressUnavailable, socket_path, with_port

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ilab_chat_service.rpc.strangers import Strangers
    from ilab_chat_service.settings import Settings

log = logging.getLogger(__name__)

#: Time for a client to acknowledge our HTTP/2 settings. Until then not all limits apply to it.
SETTINGS_TIMEOUT_SECONDS = 10

#: Time for a TLS handshake. Each that is unfinished takes 30 KB and a descriptor, for 120 s by default.
HANDSHAKE_SECONDS = 10

#: Keepalive: time without traffic before a ping, and time for its answer. Without pings, the call of a client that has
#: vanished would run until the model has finished.
KEEPALIVE_SECONDS = 60
KEEPALIVE_TIMEOUT_SECONDS = 20

#: Minimum time between two pings of a client. gRPC clients have a minimum of 10 s and may be slightly early.
MIN_CLIENT_PING_SECONDS = 5

#: A connection without calls is closed after this time.
MAX_IDLE_SECONDS = 15 * 60

#: Time of a call outside its deadline: receiving the request, and sending the rest of the response.
GRACE_SECONDS = 60

#: Streams per connection in addition to the chat limits: for rejected calls, memory and health.
EXTRA_STREAMS = 100

#: Connections whose calls may wait for the event loop, all of one method.
PENDING_CONNECTIONS = 8

#: Maximum number of bytes that gRPC reads from a connection before it handles them. Without a maximum, the buffers of a
#: connection that sends without pause keep growing: flow control applies to messages, but not to frames such as
#: CONTINUATION and PRIORITY, which need no credentials. See `FinishEstimate` in
#: https://github.com/grpc/grpc/blob/master/src/core/lib/event_engine/posix_engine/posix_endpoint.cc
READ_BYTES = 64 * 1024

#: Bit mask of compression algorithms: "identity" only. Compression leaks secrets through the size of messages that also
#: contain an attacker's text (CRIME), and gRPC decompresses a message before it checks its size.
IDENTITY_ONLY = 1

#: Newer tools try v1 first. It has the messages of v1alpha, the only version that the package registers:
#: https://github.com/grpc/grpc/issues/31773
REFLECTION_V1 = "grpc.reflection.v1.ServerReflection"

#: Owner and group may connect to a Unix domain socket.
SOCKET_MODE = 0o660


def registered_methods_server(
    interceptors: Sequence[grpc.aio.ServerInterceptor],
    options: Sequence[tuple[str, Any]],
    strangers: Strangers | None = None,
) -> grpc.aio.Server:
    """Return a server without generic handlers, which no method name can stop.

    *strangers* bounds calls without valid credentials.

    It is that of `grpc_internals` or, with another grpcio than 1.85.x, `grpc.aio.server`, without *strangers*. Then a
    warning is logged.
    """
    try:
        from ilab_chat_service.rpc.grpc_internals import RegisteredMethodsServer  # noqa: PLC0415 - it can be unusable
    except ImportError as error:
        log.warning(
            "using grpc.aio's own server: %s. A call whose method name is not UTF-8 stops it: install grpcio 1.85.x",
            error,
        )
        return grpc.aio.server(interceptors=interceptors, options=options)
    # The published types know the class by its public name only.
    return cast("grpc.aio.Server", RegisteredMethodsServer(interceptors, options, strangers))


def connection_options(settings: Settings) -> Mapping[str, int]:
    """Return the channel arguments of the server.

    Keys and defaults: https://github.com/grpc/grpc/blob/master/include/grpc/impl/channel_arg_names.h
    """
    streams = settings.max_calls + settings.max_queued_calls + EXTRA_STREAMS
    options = {
        # A single process must fail on a port that is in use, not share it. For workers, supervisor.py checks this.
        "grpc.so_reuseport": int(settings.workers > 1),
        "grpc.max_allowed_incoming_connections": most_connections(settings),
        "grpc.max_receive_message_length": REQUEST_BYTES,
        "grpc.experimental.tcp_max_read_buffer_size": READ_BYTES,
        # Both limits are equal: between a soft and a hard limit, gRPC rejects at random.
        "grpc.max_metadata_size": HEADER_BYTES,
        "grpc.absolute_max_metadata_size": HEADER_BYTES,
        # Every stream costs memory before its credentials are checked.
        "grpc.max_concurrent_streams": streams,
        # Equal, as above. Calls beyond the limit, of anybody, end as CANCELLED. gRPC's default begins with 1,000.
        "grpc.server.max_pending_requests": PENDING_CONNECTIONS * streams,
        "grpc.server.max_pending_requests_hard_limit": PENDING_CONNECTIONS * streams,
        # gRPC ends calls that the event loop has not accepted in time as CANCELLED, as if their callers had cancelled.
        # Its default is 30 s, which a busy process exceeds. Callers have deadlines of their own.
        "grpc.server_max_unrequested_time_in_server": ceil(settings.max_deadline_seconds),
        "grpc.http2.settings_timeout": milliseconds(SETTINGS_TIMEOUT_SECONDS),
        "grpc.server_handshake_timeout_ms": milliseconds(HANDSHAKE_SECONDS),
        "grpc.compression_enabled_algorithms_bitset": IDENTITY_ONLY,
        "grpc.keepalive_time_ms": milliseconds(KEEPALIVE_SECONDS),
        # Not keepalive_timeout_ms, which closes no connection by itself (observed with grpcio 1.85).
        "grpc.http2.ping_timeout_ms": milliseconds(KEEPALIVE_TIMEOUT_SECONDS),
        # Not min_recv_ping_interval_without_data_ms, which is widely copied and has no effect.
        "grpc.http2.min_ping_interval_without_data_ms": milliseconds(MIN_CLIENT_PING_SECONDS),
        "grpc.keepalive_permit_without_calls": 1,
        "grpc.max_connection_idle_ms": milliseconds(MAX_IDLE_SECONDS),
    }
    if settings.connection_age_seconds:
        options["grpc.max_connection_age_ms"] = milliseconds(settings.connection_age_seconds)
        # A shorter grace period would cut off calls before their deadline.
        grace = settings.max_deadline_seconds + GRACE_SECONDS
        options["grpc.max_connection_age_grace_ms"] = milliseconds(grace)
    return options


def milliseconds(seconds: float) -> int:
    """Return *seconds* in whole milliseconds."""
    return round(seconds * 1000)


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


def add_reflection(server: grpc.aio.Server, services: Iterable[str]) -> None:
    """Make *server* describe *services*, under both versions of reflection, to tools that have no .proto files."""
    names = [*services, reflection.SERVICE_NAME]
    reflection.enable_server_reflection(names, server)
    servicer = reflection.aio.ReflectionServicer(names)
    info = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    server.add_registered_method_handlers(REFLECTION_V1, {"ServerReflectionInfo": info})
