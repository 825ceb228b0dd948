"""Writes of MemoryService that are repeated with the same request_id, on both databases."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc.aio
import psycopg
import pytest

from ilab_chat.v1 import chat_pb2, chat_pb2_grpc, memory_pb2, memory_pb2_grpc
from ilab_chat_service.server import serving
from ilab_chat_service.settings import Settings
from rpcs import reason


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.process)])
def settings(request: pytest.FixtureRequest, settings: Settings) -> Settings:
    if request.param == "sqlite":
        return settings
    return replace(settings, memory_url=request.getfixturevalue("memory_database"))


@asynccontextmanager
async def served(settings: Settings) -> AsyncIterator[tuple[Any, Any]]:
    """Yield the stubs of MemoryService and ChatService."""
    async with serving(settings) as address, grpc.aio.insecure_channel(address) as channel:
        yield memory_pb2_grpc.MemoryServiceStub(channel), chat_pb2_grpc.ChatServiceStub(channel)


def save(content: str = "Alice drinks tea.", **more: Any) -> memory_pb2.SaveObservationRequest:
    fields = {"user_id": "alice", "type": "preference", "title": "Tea", "request_id": "r-1"}
    return memory_pb2.SaveObservationRequest(content=content, **fields | more)


def end(summary: str = "Done.", request_id: str = "r-1") -> memory_pb2.EndSessionRequest:
    return memory_pb2.EndSessionRequest(user_id="alice", summary=summary, request_id=request_id)


async def observations(memory: Any) -> int:
    return int((await memory.GetStats(memory_pb2.GetStatsRequest(user_id="alice"))).observations)


async def refused(call: Any) -> tuple[str, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code().name, reason(caught.value)


async def test_a_repeated_save_returns_the_stored_response_even_after_a_restart(settings: Settings) -> None:
    async with served(settings) as (memory, _):
        first = await memory.SaveObservation(save())
        assert first.result.outcome == memory_pb2.SAVE_OUTCOME_CREATED
        # Without the stored response this would be DEDUPED.
        assert await memory.SaveObservation(save()) == first
    async with served(settings) as (memory, _):
        assert await memory.SaveObservation(save()) == first
        assert await observations(memory) == 1


async def test_a_repeated_summary_is_stored_once(settings: Settings) -> None:
    async with served(settings) as (memory, _):
        request = memory_pb2.SummarizeSessionRequest(user_id="alice", summary="So far.", request_id="r-1")
        first = await memory.SummarizeSession(request)
        assert await memory.SummarizeSession(request) == first
        assert await observations(memory) == 1


async def test_a_repeated_end_returns_the_session_that_the_first_call_ended(settings: Settings) -> None:
    start = memory_pb2.StartSessionRequest(user_id="alice")
    async with served(settings) as (memory, _):
        assert await refused(memory.EndSession(end())) == ("NOT_FOUND", "NOT_FOUND")
        session_id = (await memory.StartSession(start)).session_id
        # The failed call above was not stored.
        first = await memory.EndSession(end())
        assert first.session.id == session_id
        await memory.StartSession(start)
        assert await memory.EndSession(end()) == first
        assert (await memory.EndSession(end(request_id="r-2"))).session.id != session_id


async def test_overlapping_repetitions_share_one_response(settings: Settings) -> None:
    async with served(settings) as (memory, _):
        responses = await asyncio.gather(*(memory.SaveObservation(save()) for _ in range(5)))
        assert [each.result.outcome for each in responses] == [memory_pb2.SAVE_OUTCOME_CREATED] * 5
        assert await observations(memory) == 1


@pytest.mark.parametrize(
    "other", [{"content": "Alice drinks coffee."}, {"title": "Coffee"}, {"type": "decision"}, {"topic_key": "drink"}]
)
async def test_another_body_with_the_same_request_id_is_refused(settings: Settings, other: dict[str, Any]) -> None:
    async with served(settings) as (memory, _):
        await memory.SaveObservation(save())
        expected = ("FAILED_PRECONDITION", "REQUEST_ID_REUSED")
        assert await refused(memory.SaveObservation(save(**other))) == expected
        assert await observations(memory) == 1


async def test_methods_and_users_do_not_share_request_ids(settings: Settings) -> None:
    async with served(settings) as (memory, chat):
        await chat.Chat(chat_pb2.ChatRequest(user_id="alice", message="Hi", request_id="r-1"))
        await memory.SaveObservation(save())
        await memory.SaveObservation(save("Bob drinks coffee.", user_id="bob"))
        await memory.EndSession(end())
        # The turn, the observation and the summary.
        assert await observations(memory) == 3
        answer = await chat.Chat(chat_pb2.ChatRequest(user_id="alice", message="Hi", request_id="r-1"))
        assert answer.replayed


async def test_without_a_request_id_nothing_is_recognized(settings: Settings) -> None:
    async with served(settings) as (memory, _):
        await memory.SaveObservation(save(request_id=""))
        repeated = await memory.SaveObservation(save(request_id=""))
        assert repeated.result.outcome == memory_pb2.SAVE_OUTCOME_DEDUPED


async def test_private_text_is_not_stored_with_a_response_and_makes_no_other_body(settings: Settings) -> None:
    async with served(settings) as (memory, _):
        await memory.StartSession(memory_pb2.StartSessionRequest(user_id="alice"))
        first = await memory.EndSession(end("The code is <private>TANGERINE</private>."))
        assert first.session.summary == "The code is [REDACTED]."
        assert await memory.EndSession(end("The code is <private>MARZIPAN</private>.")) == first
        left = stored(settings)
        assert b"The code is [REDACTED]." in left
        assert b"TANGERINE" not in left


async def test_forgetting_a_user_erases_stored_responses(settings: Settings) -> None:
    async with served(settings) as (memory, _):
        await memory.StartSession(memory_pb2.StartSessionRequest(user_id="alice"))
        await memory.EndSession(end("About QUINCE."))
        await memory.ForgetUser(memory_pb2.ForgetUserRequest(user_id="alice"))
        left = stored(settings)
        assert b"QUINCE" not in left
        assert b"alice" not in left
        assert await refused(memory.EndSession(end("About QUINCE."))) == ("NOT_FOUND", "NOT_FOUND")


@pytest.mark.parametrize("bad", ["x" * 65, "a b", "\u00e9"])
async def test_a_bad_request_id_is_refused(settings: Settings, bad: str) -> None:
    async with served(settings) as (memory, _):
        expected = ("INVALID_ARGUMENT", "INVALID_FIELD")
        assert await refused(memory.SaveObservation(save(request_id=bad))) == expected
        assert await refused(memory.SaveObservation(save(user_id="a\0"))) == expected


async def test_a_user_id_that_cannot_be_stored_is_refused_before_anything_is_erased(settings: Settings) -> None:
    async with served(settings) as (memory, _):
        request = memory_pb2.ForgetUserRequest(user_id="a\0")
        assert await refused(memory.ForgetUser(request)) == ("INVALID_ARGUMENT", "INVALID_FIELD")


def stored(settings: Settings) -> bytes:
    """Return every byte that is stored: the files of SQLite, or the rows of PostgreSQL."""
    if not settings.memory_url:
        return b"".join(file.read_bytes() for file in Path(settings.memory_db_path).parent.glob("memory.db*"))
    tables = "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables WHERE schemaname LIKE 'ilab\\_%'"
    with psycopg.connect(settings.memory_url) as connection:
        rows = [
            connection.execute(f"SELECT row_to_json(t)::text FROM {table} t".encode()).fetchall()
            for (table,) in connection.execute(tables.encode()).fetchall()
        ]
    return repr(rows).encode()
