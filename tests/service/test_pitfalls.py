"""Pitfalls of gRPC in Python: at least one test for each, with its number in the project's notes.

The others stand with what they are about: `grep -r test_pitfall tests`. 15 is about spans of OpenTelemetry, of which
the server makes none.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest
from google.rpc import error_details_pb2, status_pb2

from fuzz import http2
from ilab_chat.v1 import chat_pb2, chat_pb2_grpc
from ilab_chat_service.failures import ModelInterrupted, TurnNotStored
from ilab_chat_service.memory.adapter import MemoryAdapter
from ilab_chat_service.rpc.error_table import TABLE
from ilab_chat_service.rpc.errors import DeadlineExceeded, InterruptedByDrain
from ilab_chat_service.rpc.interceptors.layers import LayeredMethods
from ilab_chat_service.rpc.interceptors.log import CallLog
from ilab_chat_service.rpc.interceptors.status import mapped
from ilab_chat_service.server import serving
from ilab_chat_service.settings import Settings
from ilab_chat_service.values import Persisted, Turn
from rpcs import reason
from upstream import Reply, Upstream

HI = chat_pb2.ChatRequest(user_id="alice", message="Hi")
STREAM = chat_pb2.StreamChatRequest(user_id="alice", message="Hi")

#: Repeats even what no policy should repeat.
EAGER = {
    "methodConfig": [
        {
            "name": [{"service": "ilab_chat.v1.ChatService"}],
            "retryPolicy": {
                "maxAttempts": 4,
                "initialBackoff": "0.01s",
                "maxBackoff": "0.01s",
                "backoffMultiplier": 1,
                "retryableStatusCodes": ["UNAVAILABLE", "ABORTED"],
            },
        }
    ]
}


async def read_all(call: Any) -> None:
    async for _ in call:
        pass


async def failure(ending: Awaitable[Any]) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await ending
    return caught.value


@pytest.mark.parametrize("streams", [False, True], ids=["Chat", "StreamChat"])
@pytest.mark.parametrize(
    ("reply", "code", "times"),
    [
        (Reply(status=503), grpc.StatusCode.UNAVAILABLE, 4),
        (Reply(cut_before=1), grpc.StatusCode.ABORTED, 1),
    ],
    ids=["before", "after"],
)
async def test_pitfall_01_what_the_model_has_begun_is_not_repeated(
    address: str,
    upstream: Upstream,
    reply: Reply,
    code: grpc.StatusCode,
    times: int,
    streams: bool,  # noqa: FBT001
) -> None:
    upstream.replies(*[reply] * 4)
    async with grpc.aio.insecure_channel(address, [("grpc.service_config", json.dumps(EAGER))]) as channel:
        stub: Any = chat_pb2_grpc.ChatServiceStub(channel)
        error = await failure(read_all(stub.StreamChat(STREAM)) if streams else stub.Chat(HI))
    assert error.code() is code
    assert len(upstream.requests) == times


def test_pitfall_02_no_failure_after_the_first_word_is_one_that_meshes_repeat() -> None:
    repeated = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}
    for failure in (ModelInterrupted, TurnNotStored, InterruptedByDrain, DeadlineExceeded):
        assert TABLE[failure].code not in repeated


async def test_pitfall_05_stop_waits_for_a_turn_whose_call_has_ended(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    persist, storing, go_on = MemoryAdapter.persist, asyncio.Event(), asyncio.Event()

    async def held(adapter: MemoryAdapter, turn: Turn) -> Persisted:
        storing.set()
        await go_on.wait()
        return await persist(adapter, turn)

    monkeypatch.setattr(MemoryAdapter, "persist", held)
    request = chat_pb2.ChatRequest(user_id="alice", message="Hi", request_id="r-1")
    stack = AsyncExitStack()
    address = await stack.enter_async_context(serving(settings))
    async with grpc.aio.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
        call: Any = chat_pb2_grpc.ChatServiceStub(channel).Chat(request)
        await storing.wait()
        call.cancel()
        leaving = asyncio.create_task(stack.aclose())
        # The connection is closed after the drain and before gRPC's stop.
        while (state := channel.get_state()) is grpc.ChannelConnectivity.READY:
            await channel.wait_for_state_change(state)
        go_on.set()
        await leaving
    async with serving(settings) as address, grpc.aio.insecure_channel(address) as channel:
        assert (await chat_pb2_grpc.ChatServiceStub(channel).Chat(request)).replayed


@asynccontextmanager
async def failing(fail: Callable[[], Awaitable[Any]]) -> AsyncIterator[Any]:
    """A server whose Chat does nothing but *fail*, and a stub for it."""

    class Failing(chat_pb2_grpc.ChatServiceServicer):
        async def Chat(self, _request: Any, _context: Any) -> Any:  # noqa: N802
            await fail()

        async def StreamChat(  # type: ignore[override]  # noqa: N802 - as ours: no generator
            self, _request: Any, _context: Any
        ) -> None:
            await fail()

        async def PreviewPrompt(self, _request: Any, _context: Any) -> Any:  # noqa: N802
            await fail()

    server = grpc.aio.server(interceptors=(LayeredMethods(CallLog("").logged, mapped),))
    chat_pb2_grpc.add_ChatServiceServicer_to_server(Failing(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield chat_pb2_grpc.ChatServiceStub(channel)
    await server.stop(None)


async def test_pitfall_08_a_cancellation_that_is_not_the_callers_has_a_status() -> None:
    async def fail() -> None:
        task = asyncio.create_task(asyncio.Event().wait())
        task.cancel()
        await task

    async with failing(fail) as stub:
        error = await failure(stub.Chat(HI, timeout=30))
    assert (error.code(), reason(error)) == (grpc.StatusCode.INTERNAL, "INTERNAL")


async def test_pitfall_08_a_cancellation_that_is_the_callers_is_raised_on(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    entered, seen = asyncio.Event(), asyncio.Event()

    async def fail() -> None:
        entered.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            seen.set()
            raise

    async with failing(fail) as stub:
        call = stub.Chat(HI)
        await entered.wait()
        # The call of the test before is logged after its answer, and so perhaps after that test.
        caplog.clear()
        call.cancel()
        await asyncio.wait_for(seen.wait(), 10)
    [line] = [vars(record)["fields"] for record in caplog.records if record.message == "call"]
    assert line["rpc.response.status_code"] == "CANCELLED"


async def test_pitfall_09_the_text_of_an_exception_reaches_nobody(caplog: pytest.LogCaptureFixture) -> None:
    async def fail() -> None:
        raise RuntimeError("a SECRET")

    async with failing(fail) as stub:
        error = await failure(stub.Chat(HI, timeout=30))
    assert (error.code(), reason(error)) == (grpc.StatusCode.INTERNAL, "INTERNAL")
    assert "SECRET" not in f"{error.details()} {error.debug_error_string()} {error.trailing_metadata()} {caplog.text}"
    assert "SECRET" not in repr([vars(record) for record in caplog.records])


async def test_pitfall_10_the_largest_details_arrive(address: str) -> None:
    worst = chat_pb2.ChatRequest(
        user_id="u" * 10_000,
        message="m" * 100_000,
        request_id=" " * 1000,
        generation=chat_pb2.GenerationOptions(
            model=" " * 1000, temperature=9, top_p=9, max_output_tokens=-1, stop_sequences=["s" * 1000] * 10
        ),
        memory_mode=99,  # type: ignore[arg-type]
        turn_retention=99,  # type: ignore[arg-type]
    )
    async with grpc.aio.insecure_channel(address) as channel:
        error = await failure(chat_pb2_grpc.ChatServiceStub(channel).Chat(worst))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    packed: Any = dict(error.trailing_metadata())["grpc-status-details-bin"]
    assert len(packed) < 4096
    bad_request = error_details_pb2.BadRequest()
    assert status_pb2.Status.FromString(packed).details[1].Unpack(bad_request)
    assert len(bad_request.field_violations) == 14


async def test_pitfall_11_a_character_that_comes_in_halves_is_whole(address: str, upstream: Upstream) -> None:
    upstream.says("a\ud83d", "\ude00b", "\ud83d")
    async with grpc.aio.insecure_channel(address) as channel:
        events = [event async for event in chat_pb2_grpc.ChatServiceStub(channel).StreamChat(STREAM)]
    reply = events[-1].completed.reply
    assert "".join(event.text_delta.text for event in events[1:-1]) == reply == "a\U0001f600b\ufffd"


async def test_pitfall_20_nothing_is_compressed_although_the_client_would_take_it(address: str) -> None:
    pairs = http2.fields("/ilab_chat.v1.ChatService/Chat", b"application/grpc", (b"grpc-accept-encoding", b"gzip"))

    def received() -> bytes:
        with http2.Connection(address) as connection:
            connection.send([http2.OPENING, http2.request(pairs, http2.message(HI.SerializeToString()))])
            return connection.until(http2.DATA)

    answer = await asyncio.to_thread(received)
    assert b"grpc-encoding" not in answer
    assert b"Hello there." in answer
