"""Check that the CPU time of calls is linear in the length of hostile texts, through a real server.

    PYTHONPATH=tests python bench/hostile_text.py              about five minutes
    PYTHONPATH=tests python bench/hostile_text.py --quick      one text, as a smoke test

Server and caller are one process. Each figure is the minimum of RUNS runs, which alternate between half and whole
texts. The ratio of a linear call is 2, that of a quadratic one 4. Exit code 1 if the ratio of a call exceeds MAX_RATIO
and its time exceeds MIN_SECONDS.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc.aio

import upstream as fake
from hostile import SHAPES, filled
from ilab_chat.v1 import chat_pb2, chat_pb2_grpc, memory_pb2, memory_pb2_grpc
from ilab_chat_service.limits import CONTENT_BYTES, DOCUMENT_BYTES, MESSAGE_CHARACTERS
from ilab_chat_service.server import serving
from ilab_chat_service.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

RUNS = 3
MAX_RATIO = 3.0
MIN_SECONDS = 0.1


def calls(channel: grpc.aio.Channel) -> Mapping[str, Callable[[str, float], Awaitable[Any]]]:
    """Return the calls that take long texts, as functions of a shape and a share of the maximum size."""
    chat: Any = chat_pb2_grpc.ChatServiceStub(channel)
    memory: Any = memory_pb2_grpc.MemoryServiceStub(channel)

    def content(shape: str, share: float) -> str:
        return filled(shape, size=int(CONTENT_BYTES * share))

    def chats(shape: str, share: float) -> Any:
        request = chat_pb2.ChatRequest(user_id=f"chat {share}")
        request.message = filled(shape, characters=int(MESSAGE_CHARACTERS * share))
        request.context.add(text=filled(shape, size=int(DOCUMENT_BYTES * share)))
        return chat.Chat(request)

    def saves(shape: str, share: float) -> Any:
        request = memory_pb2.SaveObservationRequest(
            user_id=f"save {share}", content=content(shape, share), title="t", type="profile", topic_key="k"
        )
        return memory.SaveObservation(request)

    def searches(shape: str, share: float) -> Any:
        request = memory_pb2.SearchObservationsRequest(user_id=f"save {share}", query=content(shape, share))
        return memory.SearchObservations(request)

    def absent(_: str, share: float) -> Any:
        request = memory_pb2.SearchObservationsRequest(user_id=f"save {share}", query="\U0001f9a5" * 64)
        return memory.SearchObservations(request)

    return {
        "Chat": chats,
        "SaveObservation": saves,
        "SearchObservations": searches,
        "SearchObservations absent": absent,
    }


async def seconds(call: Awaitable[Any]) -> float:
    """Return the CPU time of this process until the call has ended, however it ends."""
    before = time.process_time()
    try:
        await call
    except grpc.aio.AioRpcError as error:
        if error.code() is not grpc.StatusCode.INVALID_ARGUMENT:
            raise
    return time.process_time() - before


async def measured(shapes: Mapping[str, str]) -> bool:
    """Print a table; return whether every call is linear."""
    linear = True
    with fake.running(repeated) as upstream, tempfile.TemporaryDirectory() as folder:
        settings = Settings(
            address="127.0.0.1:0",
            memory_db_path=str(Path(folder) / "memory.db"),
            openai_base_url=upstream.base_url,
            openai_model="test-model",
            consolidation="off",
            propagation_seconds=0,
        )
        async with serving(settings) as address, grpc.aio.insecure_channel(address) as channel:
            print(f"{'shape':30} {'call':26} {'half, ms':>9} {'whole, ms':>9} {'ratio':>6}")
            for name, shape in shapes.items():
                for method, call in calls(channel).items():
                    runs = [(await seconds(call(shape, 0.5)), await seconds(call(shape, 1.0))) for _ in range(RUNS)]
                    half, whole = (min(times) for times in zip(*runs, strict=True))
                    ratio = whole / half
                    linear &= ratio <= MAX_RATIO or whole <= MIN_SECONDS
                    print(f"{name:30} {method:26} {half * 1000:9.1f} {whole * 1000:9.1f} {ratio:6.2f}", flush=True)
    return linear


def repeated(request: fake.Request) -> fake.Reply:
    """Return a reply that repeats the message, as a worst case for leak redaction."""
    return fake.Reply(pieces=(request.messages[-1]["content"],))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    chosen = dict(list(SHAPES.items())[:1]) if parser.parse_args().quick else SHAPES
    sys.exit(not asyncio.run(measured(chosen)))
