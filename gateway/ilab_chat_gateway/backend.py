"""The gRPC server behind the gateway: the connection, and calls as the gateway makes them."""

from __future__ import annotations

import uuid
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from ilab_chat._calls import check_response
from ilab_chat._connection import AsyncConnection, async_chat_errors, async_upload
from ilab_chat._security import tls_credentials
from ilab_chat._target import DEFAULT_TARGET, SERVICE, Target
from ilab_chat.aio import AsyncChatStream
from ilab_chat_gateway.settings import SettingsError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from google.protobuf.message import Message

    from ilab_chat._connection import AsyncItems
    from ilab_chat.v1.chat_pb2 import StreamChatRequest
    from ilab_chat_gateway.routes import Route
    from ilab_chat_gateway.settings import Settings

Metadata = tuple[tuple[str, str], ...]

#: Receive at most 64 KiB of an unread response. By default gRPC measures the connection, and receives megabytes.
SMALL_WINDOW = ("grpc.http2.bdp_probe", 0)

#: Time for the server's health service to answer.
HEALTH_SECONDS = 2.0


class Backend:
    """The server. Every call raises ChatError if it fails."""

    def __init__(self, channel: grpc.aio.Channel, timeout: float) -> None:
        self._connection = AsyncConnection(Target.parse(DEFAULT_TARGET), channel, None, max_retries=0)
        self._health: Any = health_pb2_grpc.HealthStub(channel)
        self._timeout = timeout

    async def ask(self, route: Route, request: Any, metadata: Metadata) -> Message:
        """Return the response of a unary call. A request without a request_id gets one, so that retries are safe."""
        if route.has_request_id and route.rpc != "PreviewPrompt" and not request.request_id:
            request.request_id = uuid.uuid4().hex
        timeout = None if route.unlimited else self._timeout
        with async_chat_errors(getattr(request, "request_id", "")):
            response = await route.stub_method(self._connection)(request, timeout=timeout, metadata=metadata)
        answer: Message = check_response(response, "")
        return answer

    def stream_chat(self, request: StreamChatRequest, metadata: Metadata) -> AsyncChatStream:
        """Return a streamed answer to enter."""
        request.request_id = request.request_id or uuid.uuid4().hex
        call = self._connection.chat.StreamChat
        return AsyncChatStream(
            lambda: call(request, timeout=self._timeout, metadata=metadata), request.request_id, idle_timeout=None
        )

    async def download(self, route: Route, request: Message, metadata: Metadata) -> AsyncIterator[Message]:
        """Yield the responses of a call that answers with a stream."""
        call = route.stub_method(self._connection)(request, metadata=metadata)
        try:
            with async_chat_errors():
                async for response in call:
                    yield check_response(response, "")
        finally:
            call.cancel()

    async def upload(self, user_id: str, items: AsyncItems, metadata: Metadata) -> Message:
        """Import *items*. An exception from iterating them cancels the call and is raised again."""
        with async_chat_errors():
            response = await async_upload(
                self._connection.memory.ImportUser, user_id, items, timeout=None, metadata=metadata
            )
        return check_response(response, "")

    async def is_serving(self) -> bool:
        """Whether the server answers and reports SERVING."""
        try:
            response = await self._health.Check(health_pb2.HealthCheckRequest(service=SERVICE), timeout=HEALTH_SECONDS)
        except grpc.RpcError:
            return False
        return bool(response.status == health_pb2.HealthCheckResponse.SERVING)


@asynccontextmanager
async def open_backend(settings: Settings) -> AsyncIterator[Backend]:
    """Open the connection; it connects on the first call."""
    async with open_channel(settings) as channel:
        yield Backend(channel, settings.timeout_seconds)


def open_channel(settings: Settings) -> grpc.aio.Channel:
    """Return a channel with the retries and the balancing of the Python client.

    Raises:
        SettingsError: a TLS file cannot be read.
    """
    target = Target.parse(settings.target)
    options = [*target.options(), ("grpc.max_receive_message_length", -1), SMALL_WINDOW]
    if not settings.is_encrypted:
        return grpc.aio.insecure_channel(target.name, options)
    try:
        credentials = tls_credentials(
            ca_file=settings.tls_ca_file or None,
            cert_file=settings.tls_cert_file or None,
            key_file=settings.tls_key_file or None,
        )
    except OSError as error:
        raise SettingsError(f"ILAB_CHAT_GATEWAY_TLS_*: cannot read {error.filename}: {error.strerror}") from None
    return grpc.aio.secure_channel(target.name, credentials, options)
