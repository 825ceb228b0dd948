"""A client in Python with grpclib: python chat.py chat | stream | invalid | deadline | cancel."""

from __future__ import annotations

import asyncio
import os
import sys
import uuid
from typing import TYPE_CHECKING

from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from grpclib.client import Channel
from grpclib.const import Status
from grpclib.exceptions import GRPCError
from ilab_chat.v1.chat_grpc import ChatServiceStub

from ilab_chat.v1.chat_pb2 import ChatRequest, ChatResponse, StreamChatRequest

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

USER = "example-grpclib"


async def chat(client: ChatServiceStub, message: str) -> None:
    """Print the reply."""
    request = ChatRequest(user_id=USER, message=message, request_id=str(uuid.uuid4()))
    async with asyncio.timeout(60):
        response: ChatResponse = await repeated(lambda: client.Chat(request, timeout=60))
    print("reply", response.reply)


async def repeated(call: Callable[[], Awaitable[ChatResponse]], attempts: int = 4) -> ChatResponse:
    """Repeat a call that fails with UNAVAILABLE, because grpclib reads no service config.

    The request_id makes that safe. The details of the failure can say how long to wait.
    """
    for attempt in range(1, attempts):
        try:
            return await call()
        except GRPCError as error:
            if error.status is not Status.UNAVAILABLE:
                raise
            waits = [
                detail.retry_delay.ToTimedelta() for detail in error.details or () if isinstance(detail, RetryInfo)
            ]
            await asyncio.sleep(waits[0].total_seconds() if waits else 0.1 * 3**attempt)
    return await call()


async def stream(client: ChatServiceStub, message: str, *, seconds: float = 60, leave_early: bool = False) -> None:
    """Print the reply piece by piece, then as a whole."""
    request = StreamChatRequest(user_id=USER, message=message, request_id=str(uuid.uuid4()))
    async with client.StreamChat.open(timeout=seconds) as call:
        await call.send_message(request, end=True)
        async for event in call:
            kind = event.WhichOneof("event")  # skip all other events: new kinds may be added
            if kind == "text_delta":
                print("delta", event.text_delta.text)
                if leave_early:
                    await call.cancel()  # stops the model, too
                    print("error CANCELLED")
                    return
            elif kind == "completed":
                print("completed", event.completed.reply)


def print_error(error: GRPCError) -> None:
    """Show the code for a general policy, the reason for a specific one, and the fields to correct."""
    print("error", error.status.name)
    for detail in error.details or ():
        if isinstance(detail, ErrorInfo):
            print("reason", detail.reason)
        elif isinstance(detail, BadRequest):
            for violation in detail.field_violations:
                print("field", violation.field, violation.description)


async def main(command: str) -> None:
    """Run one command."""
    host, _, port = os.environ.get("ILAB_CHAT_ADDRESS", "127.0.0.1:50051").rpartition(":")
    async with Channel(host, int(port)) as channel:
        client = ChatServiceStub(channel)
        commands = {
            "chat": lambda: chat(client, "My name is Alice and I love hiking."),
            "stream": lambda: stream(client, "What do I love?"),
            "invalid": lambda: chat(client, ""),
            "deadline": lambda: stream(client, "Tell me a long story.", seconds=0.5),
            "cancel": lambda: stream(client, "Tell me a story.", leave_early=True),
        }
        try:
            await commands[command]()
        except GRPCError as error:
            print_error(error)
        except TimeoutError:  # grpclib raises it when the deadline passes before the server answers
            print("error DEADLINE_EXCEEDED")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "chat"))
