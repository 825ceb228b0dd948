"""Where the sync and the asyncio client differ: channels, streaming calls, and what grpc raises.

Hand-written. `aio` and `aio_memory` use the asyncio half; `sync` and `sync_memory`, which are generated from them, use
the other half. Both halves have the same names, up to `Async`, `async_` and `aclose`.
"""

import asyncio
import threading
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Generic, Protocol, Self, TypeAlias, TypeVar

import grpc

from ilab_chat import _calls
from ilab_chat._grpc_internals import keep_status_of_server
from ilab_chat._idle import Watch
from ilab_chat._memory_calls import Item, import_request
from ilab_chat._target import Target
from ilab_chat.errors import Cancelled, DeadlineExceeded
from ilab_chat.v1.chat_pb2_grpc import ChatServiceStub
from ilab_chat.v1.memory_pb2 import ImportUserRequest, ImportUserResponse
from ilab_chat.v1.memory_pb2_grpc import MemoryServiceStub

if TYPE_CHECKING:
    from ilab_chat.v1.chat_pb2_grpc import ChatServiceAsyncStub
    from ilab_chat.v1.memory_pb2_grpc import MemoryServiceAsyncStub

Response_co = TypeVar("Response_co", covariant=True)

#: The names that each client imports.
Items: TypeAlias = Iterable[Item]
AsyncItems: TypeAlias = Iterable[Item] | AsyncIterable[Item]


class StreamingCall(Protocol[Response_co]):
    """A running call that answers with a stream. grpc has no public name for this type."""

    def __iter__(self) -> Iterator[Response_co]: ...

    def cancel(self) -> bool: ...


class AsyncStreamingCall(Protocol[Response_co]):
    """A running call of grpc.aio that answers with a stream."""

    def __aiter__(self) -> AsyncIterator[Response_co]: ...

    def cancel(self) -> bool: ...


class Events(Generic[Response_co]):
    """Events of a running call. Each wait for the next one takes at most *idle_timeout* seconds, None for no limit.

    Iterating raises:
        DeadlineExceeded: nothing came in time. The call is cancelled.
    """

    def __init__(self, call: StreamingCall[Response_co], idle_timeout: float | None, request_id: str = "") -> None:
        self._iterator = iter(call)
        self._idle_timeout = idle_timeout
        self._request_id = request_id
        self._watch = None if idle_timeout is None else Watch(idle_timeout, call.cancel)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Response_co:
        if self._watch is None:
            return next(self._iterator)
        try:
            with self._watch:
                return next(self._iterator)
        except grpc.RpcError:
            if self._watch.has_expired:
                raise _idle(self._idle_timeout, self._request_id) from None
            raise


class AsyncEvents(Generic[Response_co]):
    """Events of a running call of grpc.aio. Each wait for the next one takes at most *idle_timeout* seconds.

    Iterating raises:
        DeadlineExceeded: nothing came in time. The call is cancelled.
    """

    def __init__(self, call: AsyncStreamingCall[Response_co], idle_timeout: float | None, request_id: str = "") -> None:
        self._call = call
        self._iterator = aiter(call)
        self._idle_timeout = idle_timeout
        self._request_id = request_id

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Response_co:
        limit = asyncio.timeout(self._idle_timeout)
        try:
            async with limit:
                return await anext(self._iterator)
        except TimeoutError:
            self._call.cancel()
            raise _idle(self._idle_timeout, self._request_id) from None


class Connection:
    """A channel and its stubs. Created at once, so that threads can share it. A given channel stays open."""

    def __init__(
        self,
        target: Target,
        channel: grpc.Channel | None,
        credentials: grpc.ChannelCredentials | None,
        max_retries: int,
    ) -> None:
        self._target = target
        self._owns_channel = channel is None
        self._channel = channel or _open_channel(target, credentials, max_retries)
        self._chat = ChatServiceStub(self._channel)
        self._memory = MemoryServiceStub(self._channel)
        self._closed = False

    @property
    def chat(self) -> ChatServiceStub:
        """The stub of ChatService. RuntimeError: the client is closed."""
        _check_open(closed=self._closed)
        return self._chat

    @property
    def memory(self) -> MemoryServiceStub:
        """The stub of MemoryService. RuntimeError: the client is closed."""
        _check_open(closed=self._closed)
        return self._memory

    def __str__(self) -> str:
        return f"{self._target.name}{', closed' if self._closed else ''}" if self._owns_channel else "a given channel"

    def close(self) -> None:
        """Close the channel and cancel its calls. A second call does nothing."""
        self._closed = True
        if self._owns_channel:
            self._channel.close()


class AsyncConnection:
    """A channel of grpc.aio and its stubs. A given channel stays open.

    Created by the first call: grpc.aio ties a channel to the event loop that runs when it is created, and a client may
    be created where no event loop runs.
    """

    def __init__(
        self,
        target: Target,
        channel: grpc.aio.Channel | None,
        credentials: grpc.ChannelCredentials | None,
        max_retries: int,
    ) -> None:
        self._target = target
        self._max_retries = max_retries
        self._credentials = credentials
        self._owns_channel = channel is None
        self._channel = channel
        self._chat: ChatServiceAsyncStub | None = None
        self._memory: MemoryServiceAsyncStub | None = None
        self._closed = False

    @property
    def chat(self) -> "ChatServiceAsyncStub":
        """The stub of ChatService. RuntimeError: the client is closed."""
        channel = self._open()
        if self._chat is None:
            self._chat = ChatServiceStub(channel)
        return self._chat

    @property
    def memory(self) -> "MemoryServiceAsyncStub":
        """The stub of MemoryService. RuntimeError: the client is closed."""
        channel = self._open()
        if self._memory is None:
            self._memory = MemoryServiceStub(channel)
        return self._memory

    def __str__(self) -> str:
        return f"{self._target.name}{', closed' if self._closed else ''}" if self._owns_channel else "a given channel"

    async def aclose(self) -> None:
        """Close the channel and cancel its calls. A second call does nothing."""
        self._closed = True
        if self._owns_channel and self._channel is not None:
            await self._channel.close()

    def _open(self) -> grpc.aio.Channel:
        _check_open(closed=self._closed)
        if self._channel is None:
            self._channel = _open_async_channel(self._target, self._credentials, self._max_retries)
        return self._channel


@contextmanager
def chat_errors(request_id: str = "", *, begun: bool = False) -> Iterator[None]:
    """Turn what grpc raises into a ChatError."""
    try:
        yield
    except grpc.RpcError as failure:
        raise _calls.error_of(failure, request_id, begun=begun) from failure


@contextmanager
def async_chat_errors(request_id: str = "", *, begun: bool = False) -> Iterator[None]:
    """Turn what grpc.aio raises into a ChatError."""
    try:
        with chat_errors(request_id, begun=begun):
            yield
    except asyncio.CancelledError:
        # grpc.aio raises this for a cancelled call too. Only a task that was asked to stop may see it: elsewhere it
        # would end a task that nobody cancelled, without a trace.
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        raise Cancelled("the call was cancelled on this side", request_id=request_id) from None


def upload(
    method: "grpc.StreamUnaryMultiCallable[ImportUserRequest, ImportUserResponse]",
    user_id: str,
    items: Items,
    *,
    timeout: float | None,
    metadata: tuple[tuple[str, str | bytes], ...],
) -> ImportUserResponse:
    """Return the response to *items*. An exception from iterating them cancels the call and is raised again."""
    failures: list[Exception] = []
    is_started = threading.Event()

    def requests() -> Iterator[ImportUserRequest]:
        yield ImportUserRequest(user_id=user_id)
        try:
            yield from map(import_request, items)
        except Exception as error:  # noqa: BLE001 - grpc would only log it
            failures.append(error)
            # On a thread of grpc, which may come here before the call has its name below.
            is_started.wait()
            call.cancel()

    call: Any = method.future(requests(), timeout=timeout, metadata=metadata)
    is_started.set()
    try:
        response: ImportUserResponse = call.result()
    except grpc.FutureCancelledError:
        if failures:
            raise failures[0] from None
        raise Cancelled("the call was cancelled on this side") from None
    except BaseException:
        call.cancel()
        raise
    return response


async def async_upload(
    method: "grpc.aio.StreamUnaryMultiCallable[ImportUserRequest, ImportUserResponse]",
    user_id: str,
    items: AsyncItems,
    *,
    timeout: float | None,  # noqa: ASYNC109 - the gRPC deadline
    metadata: tuple[tuple[str, str | bytes], ...],
) -> ImportUserResponse:
    """Return the response to *items*. An exception from iterating them cancels the call and is raised again."""
    failures: list[Exception] = []

    async def requests() -> AsyncIterator[ImportUserRequest]:
        yield ImportUserRequest(user_id=user_id)
        try:
            if isinstance(items, AsyncIterable):
                async for item in items:
                    yield import_request(item)
            else:
                for item in items:
                    yield import_request(item)
        except Exception as error:  # noqa: BLE001 - grpc.aio would only log it
            failures.append(error)
            call.cancel()
            # Ending here would look like the end of the items. The cancelled call cancels this task.
            await asyncio.get_running_loop().create_future()

    call: Any = method(requests(), timeout=timeout, metadata=metadata)
    keep_status_of_server(call)
    try:
        response: ImportUserResponse = await call
    except asyncio.CancelledError:
        if failures:
            raise failures[0] from None
        raise
    return response


def _check_open(*, closed: bool) -> None:
    if closed:
        raise RuntimeError("this client is closed")


def _idle(seconds: float | None, request_id: str) -> DeadlineExceeded:
    return DeadlineExceeded(f"nothing arrived for {seconds:g} s, the idle timeout", request_id=request_id)


def _open_channel(target: Target, credentials: grpc.ChannelCredentials | None, max_retries: int) -> grpc.Channel:
    options = target.options(max_retries)
    if credentials is None:
        return grpc.insecure_channel(target.name, options)
    return grpc.secure_channel(target.name, credentials, options)


def _open_async_channel(
    target: Target, credentials: grpc.ChannelCredentials | None, max_retries: int
) -> grpc.aio.Channel:
    options = target.options(max_retries)
    if credentials is None:
        return grpc.aio.insecure_channel(target.name, options)
    return grpc.aio.secure_channel(target.name, credentials, options)
