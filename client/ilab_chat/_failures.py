"""The edge where what grpc raises becomes a ChatError: for threads, and for asyncio."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import grpc

from ilab_chat import _calls
from ilab_chat.errors import Cancelled


@contextmanager
def chat_errors(request_id: str = "", *, begun: bool = False) -> Iterator[None]:
    """Turn what grpc raises into a ChatError."""
    try:
        yield
    except grpc.RpcError as failure:
        raise _calls.error_of(failure, request_id, begun=begun) from failure


@contextmanager
def aio_chat_errors(request_id: str = "", *, begun: bool = False) -> Iterator[None]:
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
