"""The floor: a bare grpc.aio server that answers the same bytes and does nothing else.

    python -m comparison.floor PORT

The method name selects the answer: /floor/Chat-TOKENS or /floor/Stream-TOKENS-GAP_MS.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import grpc
import grpc.aio

from comparison.upstream import MODEL, NUMBER_DIGITS, TOKEN
from ilab_chat.v1 import chat_pb2

#: Same length as the service's ids.
ID = "0" * 36


def answer(tokens: int) -> chat_pb2.ChatResponse:
    """Return the unary answer."""
    reply = "0" * NUMBER_DIGITS + TOKEN * (tokens - 1)
    usage = chat_pb2.Usage(input_tokens=100, output_tokens=tokens)
    return chat_pb2.ChatResponse(
        session_id=ID,
        reply=reply,
        request_id=ID,
        observation_id=1,
        model=MODEL,
        usage=usage,
        finish_reason=chat_pb2.FINISH_REASON_STOP,
    )


def stream(tokens: int) -> list[bytes]:
    """Return the serialized events of a stream."""
    started = chat_pb2.ChatStarted(session_id=ID, request_id=ID, model=MODEL)
    first, later = (chat_pb2.TextDelta(text=text) for text in ("0" * NUMBER_DIGITS, TOKEN))
    events = [
        chat_pb2.StreamChatResponse(started=started),
        chat_pb2.StreamChatResponse(text_delta=first),
        *[chat_pb2.StreamChatResponse(text_delta=later)] * (tokens - 1),
        chat_pb2.StreamChatResponse(completed=answer(tokens)),
    ]
    return [event.SerializeToString() for event in events]


def method(name: str) -> grpc.RpcMethodHandler[bytes, bytes]:
    """Return the handler of the method with this name."""
    kind, tokens, *gap = name.split("-")
    if kind == "Chat":
        reply = answer(int(tokens)).SerializeToString()

        async def chat(_request: bytes, _context: Any) -> bytes:
            return reply

        return grpc.unary_unary_rpc_method_handler(chat)
    events = stream(int(tokens))
    seconds = float(gap[0]) / 1000

    async def stream_chat(_request: bytes, context: Any) -> None:
        for event in events:
            if seconds:
                await asyncio.sleep(seconds)
            await context.write(event)

    return grpc.unary_stream_rpc_method_handler(stream_chat)


class Methods(grpc.GenericRpcHandler):
    """Handles every method. Answers are prepared at the first call."""

    def __init__(self) -> None:
        self._methods: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {}

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes]:
        """Return the handler of the called method."""
        path = handler_call_details.method
        if path not in self._methods:
            self._methods[path] = method(path.rpartition("/")[2])
        return self._methods[path]


async def serve(port: int) -> None:
    """Answer on 127.0.0.1 until killed."""
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers((Methods(),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
