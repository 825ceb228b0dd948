"""Rate limits of users and callers, against a real server whose clock the test sets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from google.rpc import error_details_pb2, status_pb2

import ilab_chat_service.rate_limits as module
from ilab_chat.v1 import chat_pb2, chat_pb2_grpc
from ilab_chat_service.rate_limits import Window
from ilab_chat_service.server import serving
from ilab_chat_service.settings import Settings, SettingsError, read
from upstream import Reply, Upstream

NOON = datetime(2026, 11, 28, 12, 0, 15, tzinfo=UTC)


class Clock:
    """A clock that stands still."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        return self.now

    def passes(self, **time: float) -> None:
        self.now += timedelta(**time)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@asynccontextmanager
async def chatting(settings: Settings, clock: Clock, **limits: Any) -> AsyncIterator[Any]:
    async with (
        serving(replace(settings, **limits), clock=clock) as address,
        grpc.aio.insecure_channel(address) as channel,
    ):
        yield chat_pb2_grpc.ChatServiceStub(channel)


async def chat(stub: Any, user: str = "alice", *, token: str = "", **fields: Any) -> chat_pb2.ChatResponse:
    pairs = (("authorization", f"Bearer {token}"),) if token else ()
    answer: chat_pb2.ChatResponse = await stub.Chat(
        chat_pb2.ChatRequest(**{"user_id": user, "message": "Hi"} | fields), metadata=pairs
    )
    return answer


class Refused:
    """The details of a refused call."""

    def __init__(self, error: grpc.aio.AioRpcError) -> None:
        trailers = dict(error.trailing_metadata() or ())
        self.code = error.code()
        self.text = str(error.details())
        info, quota, retry = (
            error_details_pb2.ErrorInfo(),
            error_details_pb2.QuotaFailure(),
            error_details_pb2.RetryInfo(),
        )
        for detail in status_pb2.Status.FromString(bytes(trailers["grpc-status-details-bin"])).details:
            for message in (info, quota, retry):
                detail.Unpack(message)
        self.reason = info.reason
        self.limits = [(each.subject, each.description) for each in quota.violations]
        self.wait = retry.retry_delay.ToTimedelta().total_seconds()


async def refused(stub: Any, user: str = "alice", *, token: str = "", **fields: Any) -> Refused:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await chat(stub, user, token=token, **fields)
    return Refused(caught.value)


async def test_turns_of_a_user_are_limited_until_the_minute_ends(
    settings: Settings, clock: Clock, upstream: Upstream
) -> None:
    async with chatting(settings, clock, user_turns_per_minute=2) as stub:
        await chat(stub)
        await chat(stub)
        error = await refused(stub)
        assert (error.code, error.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED")
        assert error.limits == [("user", "2 turns per minute")]
        assert error.wait == 45
        assert "alice" not in error.text
        assert len(upstream.requests) == 2
        await chat(stub, "bob")
        clock.passes(seconds=error.wait)
        await chat(stub)


async def test_turns_of_a_day_are_limited_until_midnight_utc(settings: Settings, clock: Clock) -> None:
    async with chatting(settings, clock, user_turns_per_day=1, user_turns_per_minute=1) as stub:
        await chat(stub)
        error = await refused(stub)
        assert error.limits == [("user", "1 turn per minute"), ("user", "1 turn per day")]
        assert error.wait == 12 * 3600 - 15
        clock.passes(minutes=1)
        assert (await refused(stub)).limits == [("user", "1 turn per day")]
        clock.passes(hours=12)
        await chat(stub)


async def test_tokens_are_counted_as_the_api_reports_them(settings: Settings, clock: Clock) -> None:
    # Each answer of the upstream reports 25.
    async with chatting(settings, clock, user_tokens_per_minute=50) as stub:
        await chat(stub)
        await chat(stub)
        assert (await refused(stub)).limits == [("user", "50 tokens per minute")]
        await chat(stub, "bob")


async def test_tokens_of_a_cancelled_answer_are_estimated(settings: Settings, clock: Clock, upstream: Upstream) -> None:
    upstream.replies(Reply(pieces=("Hello", "more"), hold_before=1))
    async with chatting(settings, clock, user_tokens_per_minute=5) as stub:
        stream = stub.StreamChat(chat_pb2.StreamChatRequest(user_id="alice", message="Hi"))
        await stream.read()
        await stream.read()
        stream.cancel()
        assert await asyncio.to_thread(upstream.requests[0].gone.wait, 10)
        assert (await refused(stub)).reason == "RATE_LIMITED"


async def test_callers_are_limited_apart_from_their_users(settings: Settings, clock: Clock, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text("first-token-0123456789\nsecond-token-0123456789\n")
    authenticated = replace(settings, auth="tokens", auth_tokens_file=str(tokens))
    async with chatting(authenticated, clock, caller_turns_per_day=2) as stub:
        await chat(stub, "alice", token="first-token-0123456789")
        await chat(stub, "bob", token="first-token-0123456789")
        error = await refused(stub, "carol", token="first-token-0123456789")
        assert error.limits == [("caller", "2 turns per day")]
        await chat(stub, "carol", token="second-token-0123456789")


async def test_replay_costs_nothing_and_is_never_refused(settings: Settings, clock: Clock) -> None:
    async with chatting(settings, clock, user_turns_per_minute=1) as stub:
        await chat(stub, request_id="r-1")
        for _ in range(3):
            assert (await chat(stub, request_id="r-1")).replayed
        assert (await refused(stub, request_id="r-2")).reason == "RATE_LIMITED"
        clock.passes(minutes=1)
        assert not (await chat(stub, request_id="r-2")).replayed


async def test_turn_that_the_model_did_not_begin_costs_nothing(
    settings: Settings, clock: Clock, upstream: Upstream
) -> None:
    upstream.replies(Reply(status=503), Reply(status=400))
    async with chatting(settings, clock, user_turns_per_minute=1) as stub:
        for _ in range(2):
            assert (await refused(stub)).reason.startswith("MODEL_")
        await chat(stub)
        assert (await refused(stub)).reason == "RATE_LIMITED"


@pytest.mark.parametrize("mode", ["MEMORY_MODE_READ_ONLY", "MEMORY_MODE_OFF"])
async def test_turns_without_memory_are_limited_too(settings: Settings, clock: Clock, mode: str) -> None:
    async with chatting(settings, clock, user_turns_per_minute=1) as stub:
        await chat(stub, memory_mode=mode)
        assert (await refused(stub, memory_mode=mode)).reason == "RATE_LIMITED"


async def test_preview_is_not_limited(settings: Settings, clock: Clock) -> None:
    async with chatting(settings, clock, user_turns_per_minute=1) as stub:
        await chat(stub)
        assert (await stub.PreviewPrompt(chat_pb2.PreviewPromptRequest(user_id="alice", message="Hi"))).messages


async def test_running_turns_count(settings: Settings, clock: Clock, upstream: Upstream) -> None:
    upstream.replies(Reply(hold_before=0))
    async with chatting(settings, clock, user_turns_per_minute=1) as stub:
        running = asyncio.ensure_future(chat(stub))
        await asyncio.to_thread(upstream.wait_for, 1)
        assert (await refused(stub)).reason == "RATE_LIMITED"
        upstream.release()
        await running


async def test_clock_that_jumps_ahead_and_back_locks_nobody_out(settings: Settings, clock: Clock) -> None:
    async with chatting(settings, clock, user_turns_per_day=1) as stub:
        clock.passes(days=400)
        await chat(stub)
        clock.passes(days=-400)
        await chat(stub)
        assert (await refused(stub)).wait == 12 * 3600 - 15


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_SUBJECTS", 3)
    window = Window(60)
    for number in range(1000):
        window.used("busy", 0)["turns"] += 1
        window.used(f"user-{number}", 0)["turns"] += 1
    assert len(window._used) == 3
    assert window.used("busy", 0)["turns"] == 1000


def test_limit_may_be_large_but_not_negative() -> None:
    assert read({"ILAB_CHAT_CALLER_TOKENS_PER_DAY": "5000000000"}).caller_tokens_per_day == 5_000_000_000
    with pytest.raises(SettingsError, match="ILAB_CHAT_USER_TURNS_PER_DAY: must be 0 to 1e"):
        read({"ILAB_CHAT_USER_TURNS_PER_DAY": "-1"})
