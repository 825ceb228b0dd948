"""Repetitions of a call, by request_id: over a real channel, and the log itself."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from google.rpc import error_details_pb2, status_pb2
from hypothesis import given
from hypothesis import strategies as st

from ilab_chat.v1 import chat_pb2, chat_pb2_grpc, memory_pb2, memory_pb2_grpc
from ilab_chat_service.adapters import answer_record
from ilab_chat_service.adapters.library import open_library
from ilab_chat_service.adapters.memory import MemoryAdapter
from ilab_chat_service.adapters.replay import MIGRATIONS, SWEPT_AT_ONCE, open_replay_log
from ilab_chat_service.ports import (
    Answered,
    FinishReason,
    MemorySource,
    MemoryUnavailable,
    Recalled,
    Turn,
    TurnRequest,
    TurnRetention,
    Usage,
)
from ilab_chat_service.server import serving
from ilab_chat_service.settings import Settings
from upstream import Reply, Upstream

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


@asynccontextmanager
async def channel_of(settings: Settings) -> AsyncIterator[grpc.aio.Channel]:
    async with serving(settings) as address, grpc.aio.insecure_channel(address) as channel:
        yield channel


def chat(message: str = "Hi", **more: Any) -> chat_pb2.ChatRequest:
    return chat_pb2.ChatRequest(**{"user_id": "alice", "message": message, "request_id": "r-1", **more})


def stream(message: str = "Hi", **more: Any) -> chat_pb2.StreamChatRequest:
    return chat_pb2.StreamChatRequest(**{"user_id": "alice", "message": message, "request_id": "r-1", **more})


async def turns(channel: grpc.aio.Channel) -> int:
    stub: Any = memory_pb2_grpc.MemoryServiceStub(channel)
    return int((await stub.GetStats(memory_pb2.GetStatsRequest(user_id="alice"))).observations)


async def test_a_repetition_gets_the_same_answer_also_after_a_restart(settings: Settings, upstream: Upstream) -> None:
    async with channel_of(settings) as channel:
        first = await chat_pb2_grpc.ChatServiceStub(channel).Chat(chat())
        second = await chat_pb2_grpc.ChatServiceStub(channel).Chat(chat())
        assert (first.replayed, second.replayed) == (False, True)
        second.replayed = False
        assert second == first
        assert await turns(channel) == 1
    async with channel_of(settings) as channel:
        call = chat_pb2_grpc.ChatServiceStub(channel).StreamChat(stream())
        started, delta, completed = [event async for event in call]
        assert started.started.session_id == first.session_id
        assert delta.text_delta.text == first.reply
        assert completed.completed.replayed
        completed.completed.replayed = False
        assert completed.completed == first
        assert await turns(channel) == 1
    assert len(upstream.requests) == 1


async def test_a_repetition_that_overlaps_waits_and_shares_the_answer(settings: Settings, upstream: Upstream) -> None:
    upstream.replies(Reply(hold_before=1))
    async with channel_of(settings) as channel:
        stub = chat_pb2_grpc.ChatServiceStub(channel)
        calls = [asyncio.ensure_future(stub.Chat(chat())) for _ in range(5)]
        request = await asyncio.to_thread(upstream.wait_for, 1)
        assert await asyncio.to_thread(request.held.wait, 10)
        upstream.release()
        answers = await asyncio.gather(*calls)
        assert sorted(answer.replayed for answer in answers) == [False, True, True, True, True]
        assert {answer.reply for answer in answers} == {"Hello there."}
        assert await turns(channel) == 1
    assert len(upstream.requests) == 1


async def test_the_one_who_waits_goes_on_when_the_first_leaves(settings: Settings, upstream: Upstream) -> None:
    upstream.replies(Reply(hold_before=1), Reply(pieces=["the whole answer"]))
    async with channel_of(settings) as channel:
        stub = chat_pb2_grpc.ChatServiceStub(channel)
        first: Any = stub.StreamChat(stream())
        assert [(await first.read()).WhichOneof("event") for _ in range(2)] == ["started", "text_delta"]
        second = asyncio.ensure_future(stub.Chat(chat()))
        first.cancel()
        answer = await second
        assert (answer.reply, answer.replayed) == ("the whole answer", False)
        assert await turns(channel) == 1
    assert len(upstream.requests) == 2


async def test_a_failed_call_may_be_repeated(settings: Settings, upstream: Upstream) -> None:
    upstream.replies(Reply(status=500))
    async with channel_of(settings) as channel:
        stub = chat_pb2_grpc.ChatServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError):
            await stub.Chat(chat())
        assert not (await stub.Chat(chat())).replayed


@pytest.mark.parametrize(
    "other",
    [
        {"message": "Ho"},
        {"generation": chat_pb2.GenerationOptions(temperature=1)},
        {"turn_retention": chat_pb2.TURN_RETENTION_LATEST_ONLY},
    ],
)
async def test_a_request_id_belongs_to_one_request(
    settings: Settings, upstream: Upstream, other: dict[str, Any]
) -> None:
    async with channel_of(settings) as channel:
        stub = chat_pb2_grpc.ChatServiceStub(channel)
        await stub.Chat(chat())
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Chat(chat(**other))
        assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
        trailers = dict(caught.value.trailing_metadata() or ())
        status = status_pb2.Status.FromString(trailers["grpc-status-details-bin"])
        info = error_details_pb2.ErrorInfo()
        assert status.details[0].Unpack(info)
        assert info.reason == "REQUEST_ID_REUSED"
        assert await turns(channel) == 1
    assert len(upstream.requests) == 1


async def test_users_do_not_share_request_ids(settings: Settings, upstream: Upstream) -> None:
    async with channel_of(settings) as channel:
        stub = chat_pb2_grpc.ChatServiceStub(channel)
        await stub.Chat(chat())
        assert not (await stub.Chat(chat(user_id="bob", message="other"))).replayed


@pytest.mark.parametrize("mode", [chat_pb2.MEMORY_MODE_READ_ONLY, chat_pb2.MEMORY_MODE_OFF])
async def test_without_writing_there_is_no_record(settings: Settings, mode: Any) -> None:
    async with channel_of(settings) as channel:
        stub = chat_pb2_grpc.ChatServiceStub(channel)
        for _ in range(2):
            assert not (await stub.Chat(chat(memory_mode=mode))).replayed
        assert await turns(channel) == 0


async def test_private_text_is_not_in_the_record(settings: Settings, upstream: Upstream) -> None:
    upstream.says("Your code is TANGERINE-77.")
    message = "My code is <private>TANGERINE-77</private>."
    async with channel_of(settings) as channel:
        stub = chat_pb2_grpc.ChatServiceStub(channel)
        assert (await stub.Chat(chat(message))).reply == "Your code is TANGERINE-77."
        assert (await stub.Chat(chat(message))).reply == "Your code is [REDACTED]."
        assert b"tangerine" not in files(settings).lower()


async def test_a_forgotten_user_leaves_no_record(settings: Settings, upstream: Upstream) -> None:
    upstream.says("About MARZIPAN.")
    async with channel_of(settings) as channel:
        stub: Any = chat_pb2_grpc.ChatServiceStub(channel)
        await stub.Chat(chat("QUINCE?"))
        assert b"MARZIPAN" in files(settings)
        memory: Any = memory_pb2_grpc.MemoryServiceStub(channel)
        await memory.ForgetUser(memory_pb2.ForgetUserRequest(user_id="alice"))
        left = files(settings)
        assert not any(word in left for word in (b"MARZIPAN", b"QUINCE", b"alice"))
        assert not (await stub.Chat(chat("QUINCE?"))).replayed


def files(settings: Settings) -> bytes:
    return b"".join(file.read_bytes() for file in Path(settings.memory_db_path).parent.glob("memory.db*"))


async def test_an_interrupted_turn_overwrites_no_answered_one(settings: Settings) -> None:
    """What another replica has answered meanwhile, no claim in this process can tell."""
    turn = {"user_id": "alice", "request_id": "r-1", "message": "Hi", "retention": TurnRetention.EVERY_TURN}
    async with open_library(settings) as library:
        memory = MemoryAdapter(library, history_turns=6, search_limit=5)
        answered = await memory.persist(Turn(**turn, reply="whole"))  # type: ignore[arg-type]
        assert await memory.persist(Turn(**turn, reply="par", interrupted=True)) == answered  # type: ignore[arg-type]
        row = await library.call(lambda library: library.mem_get_observation("alice", answered))
    assert row
    assert row.content == "User: Hi\nAssistant: whole"


ANSWERED = Answered(
    session_id="s",
    is_new_session=True,
    model="m",
    memories=(
        Recalled(
            observation_id=1, type="t", title="x", updated_at=NOW, source=MemorySource.SEARCH, snippet="y", score=0.5
        ),
    ),
    reply="reply",
    observation_id=7,
    finish_reason=FinishReason.LENGTH,
    usage=Usage(input_tokens=1, output_tokens=2, cached_input_tokens=3, reasoning_tokens=4),
    create_time=NOW,
)
REQUEST = TurnRequest(user_id="alice", message="Hi", request_id="r-1")


@given(st.text(st.characters(exclude_categories=["Cs"])), st.none() | st.sampled_from(FinishReason), st.booleans())
def test_what_is_recorded_comes_back(text: str, reason: FinishReason | None, counted: bool) -> None:  # noqa: FBT001
    usage = ANSWERED.usage if counted else None
    clean = text.replace("<", "")
    answered = Answered(
        **{field: getattr(ANSWERED, field) for field in ("is_new_session", "model", "memories", "observation_id")},
        session_id=clean,
        reply=clean,
        finish_reason=reason,
        usage=usage,
        create_time=NOW,
    )
    assert answer_record.answered(answer_record.record(answered, "Hi")) == answered


async def test_answers_are_kept_for_24_hours_and_then_swept(tmp_path: Path) -> None:
    now = [NOW]
    path = str(tmp_path / "replay.db")
    async with open_replay_log(path, lambda: now[0]) as log:
        for number in range(SWEPT_AT_ONCE + 5):
            await log.put(TurnRequest(user_id="alice", message="Hi", request_id=f"r-{number}"), ANSWERED)
        now[0] += timedelta(hours=24) - timedelta(microseconds=1)
        assert await log.find(REQUEST) == ANSWERED
        now[0] += timedelta(microseconds=1)
        assert await log.find(REQUEST) is None
        await log.put(TurnRequest(user_id="bob", message="Hi", request_id="r-1"), ANSWERED)
    assert count(path) == 6


def count(path: str) -> int:
    with closing(sqlite3.connect(path)) as connection:
        [rows] = connection.execute("SELECT count(*) FROM replay").fetchone()
        return int(rows)


async def test_a_log_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    path = str(tmp_path / "replay.db")
    async with open_replay_log(path, lambda: NOW):
        pass
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE replay_schema SET version = ?", [len(MIGRATIONS) + 1])
        connection.commit()
    with pytest.raises(MemoryUnavailable, match="newer version"):
        async with open_replay_log(path, lambda: NOW):
            pass


async def test_a_released_request_leaves_nothing_behind(tmp_path: Path) -> None:
    async with open_replay_log(str(tmp_path / "replay.db"), lambda: NOW) as log:
        first = await log.claim(REQUEST)
        waiting = asyncio.ensure_future(log.claim(REQUEST))
        leaving = asyncio.ensure_future(log.claim(REQUEST))
        await asyncio.sleep(0)
        leaving.cancel()
        first.release()
        first.release()
        (await waiting).release()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        assert log._turnstiles == {}
