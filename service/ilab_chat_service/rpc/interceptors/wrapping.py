"""What our interceptors have in common: putting something around the handler of a method."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

from ilab_chat_service.rpc.call import CALL
from ilab_chat_service.rpc.errors import UnparsableRequest

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]
    Handler: TypeAlias = grpc.RpcMethodHandler[Any, Any]
    Continue: TypeAlias = Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]]
    Around: TypeAlias = Callable[[Callable[[Any, Context], Awaitable[Any]], Any, Context], Awaitable[Any]]

OUR_METHODS = "/ilab_chat.v1."


def is_ours(details: grpc.HandlerCallDetails) -> bool:
    """Whether the method is one of this service's own: not health, not reflection."""
    return details.method.startswith(OUR_METHODS)


def wrapped(handler: Handler, around: Around) -> Handler:
    """Return *handler* with `around(method, request, context)` in the place of `method(request, context)`.

    For methods with one request whose handlers are coroutines: ours write their responses instead of yielding them. The
    request is parsed in the innermost call, so that bytes that are no message end like other bad input; gRPC, which
    would parse them before, answers UNKNOWN with the parser's text.
    """
    streams = handler.response_streaming
    method = parsing(handler.unary_stream if streams else handler.unary_unary, handler.request_deserializer)
    make = grpc.unary_stream_rpc_method_handler if streams else grpc.unary_unary_rpc_method_handler

    async def call(request: Any, context: Context) -> Any:
        return await around(method, request, context)

    return make(call, None, handler.response_serializer)


def parsing(method: Any, parse: Callable[[bytes], Any] | None) -> Any:
    """Return *method* as one that takes the bytes of its request; *method* itself if it does already."""
    if parse is None:
        return method

    async def call(request: bytes, context: Context) -> Any:
        try:
            parsed = parse(request)
        except DecodeError:
            raise UnparsableRequest("the request is no message of this method") from None
        # Each request of ours has one.
        CALL.get().user_id = parsed.user_id
        return await method(parsed, context)

    return call
