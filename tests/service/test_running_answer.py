"""Callers who join a running answer: each gets every event once, and the model is asked once."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack, aclosing
from dataclasses import replace
from functools import partial
from typing import Any

import grpc
import grpc.aio
import pytest
from google.rpc import error_details_pb2, status_pb2

from faults.network import Fault, forwarding
from ilab_chat.v1 import chat_pb2, chat_pb2_grpc, memory_pb2, memory_pb2_grpc
from ilab_chat_service import running_answer
from ilab_chat_service.running_answer import JOIN_CHARACTERS, RunningAnswer
from ilab_chat_service.server import serving
from ilab_chat_service.settings import Settings
from ilab_chat_service.turn_events import Completed, Delta, Event, ReasoningDelta, Started
from ilab_chat_service.values import Answered
from processes import running_server
from service.leases import ANSWERED, REQUEST
from upstream import Reply, Upstream

SECONDS = 20.0


class Pieces:
    """The pieces of a model's reply, each sent when the test allows it."""

    def __init__(self, *pieces: str) -> None:
        self._pieces = pieces
        self._allowed = threading.Semaphore(0)

    def __iter__(self) -> Iterator[str]:
        for piece in self._pieces:
            self._allowed.acquire()
            yield piece

    def send(self, count: int = 1) -> None:
        self._allowed.release(count)


class Stream:
    """One caller's stream, and what it has received."""

    def __init__(self, channel: grpc.aio.Channel, message: str = "Hi", **more: Any) -> None:
        request = chat_pb2.StreamChatRequest(**{"user_id": "alice", "message": message, "request_id": "r-1", **more})
        self.call: Any = chat_pb2_grpc.ChatServiceStub(channel).StreamChat(request, timeout=SECONDS)
        self.events: list[chat_pb2.StreamChatResponse] = []

    @property
    def text(self) -> str:
        return "".join(event.text_delta.text for event in self.events)

    @property
    def reasoning(self) -> str:
        return "".join(event.reasoning_delta.text for event in self.events)

    @property
    def kinds(self) -> list[str]:
        return [event.WhichOneof("event") or "" for event in self.events]

    async def until_text(self, text: str) -> None:
        """Read until *text* is what has come."""
        while self.text != text:
            assert text.startswith(self.text), self.text
            await self._read()

    async def until_started(self) -> None:
        while not self.events:
            await self._read()

    async def rest(self) -> chat_pb2.ChatResponse:
        """Read to the end; check that the whole is a whole answer, and return it."""
        await self._read_all()
        first, *deltas, last = self.kinds
        assert (first, last) == ("started", "completed")
        assert set(deltas) <= {"text_delta", "reasoning_delta"}
        completed = self.events[-1].completed
        assert completed.reply == self.text
        return completed

    async def reason(self) -> tuple[grpc.StatusCode, str]:
        """Read to the failure that ends the stream; return its code and reason."""
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await self._read_all()
        trailers = dict(caught.value.trailing_metadata() or ())
        info = error_details_pb2.ErrorInfo()
        assert status_pb2.Status.FromString(trailers["grpc-status-details-bin"]).details[0].Unpack(info)
        return caught.value.code(), info.reason

    async def _read(self) -> None:
        assert await self._more(), self.kinds

    async def _read_all(self) -> None:
        while await self._more():
            pass

    async def _more(self) -> bool:
        """Read one event; return False at the end. Raises if the call failed."""
        event = await self.call.read()
        if event is grpc.aio.EOF:
            return False
        if event.WhichOneof("event") != "heartbeat":
            self.events.append(event)
        return True


@pytest.fixture
async def channel(address: str) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(address) as channel:
        yield channel


async def turns(channel: grpc.aio.Channel) -> list[str]:
    """The stored turns."""
    stub: Any = memory_pb2_grpc.MemoryServiceStub(channel)
    listed = await stub.ListObservations(memory_pb2.ListObservationsRequest(user_id="alice", types=["discovery"]))
    return [each.content for each in listed.observations]


async def test_joiner_gets_the_deltas_so_far_and_those_to_come(channel: grpc.aio.Channel, upstream: Upstream) -> None:
    pieces = Pieces("one ", "two ", "three ", "four")
    upstream.replies(Reply(pieces=pieces))
    first = Stream(channel)
    pieces.send(2)
    await first.until_text("one two ")
    second = Stream(channel)
    await second.until_text("one two ")
    assert second.kinds == ["started", "text_delta"]
    pieces.send()
    for stream in (first, second):
        await stream.until_text("one two three ")
    pieces.send()
    answers = [await stream.rest() for stream in (first, second)]
    assert [answer.replayed for answer in answers] == [False, True]
    assert len({answer.correlation_id for answer in answers}) == 2
    assert len({answer.observation_id for answer in answers}) == 1
    assert len(upstream.requests) == 1
    assert await turns(channel) == ["User: Hi\nAssistant: one two three four"]
    assert (await Stream(channel).rest()).replayed


async def test_stream_joins_a_chat_that_has_not_begun(channel: grpc.aio.Channel, upstream: Upstream) -> None:
    pieces = Pieces("one ", "two")
    upstream.replies(Reply(pieces=pieces))
    chat = asyncio.ensure_future(
        chat_pb2_grpc.ChatServiceStub(channel).Chat(
            chat_pb2.ChatRequest(user_id="alice", message="Hi", request_id="r-1")
        )
    )
    await asyncio.to_thread(upstream.wait_for, 1)
    stream = Stream(channel)
    pieces.send()
    await stream.until_text("one ")
    assert not chat.done()
    pieces.send()
    assert (await stream.rest()).replayed
    assert not (await chat).replayed
    assert len(upstream.requests) == 1


async def test_answer_goes_on_for_the_joiner_when_the_first_leaves(
    channel: grpc.aio.Channel, upstream: Upstream
) -> None:
    pieces = Pieces("one ", "two ", "three")
    upstream.replies(Reply(pieces=pieces))
    first = Stream(channel)
    pieces.send()
    await first.until_text("one ")
    second = Stream(channel)
    await second.until_text("one ")
    first.call.cancel()
    pieces.send()
    # The one who joins now was not there when the first left.
    third = Stream(channel)
    await third.until_text("one two ")
    pieces.send()
    assert [(await stream.rest()).reply for stream in (second, third)] == ["one two three"] * 2
    assert len(upstream.requests) == 1
    assert await turns(channel) == ["User: Hi\nAssistant: one two three"]


async def test_model_is_stopped_when_the_last_one_leaves(channel: grpc.aio.Channel, upstream: Upstream) -> None:
    upstream.replies(Reply(pieces=("one ", "two"), hold_before=1), Reply(pieces=["again"]))
    streams = [Stream(channel) for _ in range(3)]
    for stream in streams:
        await stream.until_text("one ")
    request = upstream.wait_for(1)
    for stream in streams:
        assert not request.gone.is_set()
        stream.call.cancel()
    assert await asyncio.to_thread(request.gone.wait, SECONDS)
    again = await Stream(channel).rest()
    assert (again.reply, again.replayed) == ("again", False)
    assert len(upstream.requests) == 2
    assert await turns(channel) == ["User: Hi\nAssistant: again"]


async def test_stream_that_stalls_is_taken_up_on_another_connection(
    address: str, channel: grpc.aio.Channel, upstream: Upstream
) -> None:
    """The connection breaks, and the server does not know it yet: the usual case in mobile networks."""
    pieces = Pieces("one ", "two ", "three")
    upstream.replies(Reply(pieces=pieces))
    host, _, port = address.rpartition(":")
    connect = partial(asyncio.open_connection, host, int(port))
    async with forwarding(connect) as network, grpc.aio.insecure_channel(f"127.0.0.1:{network.port}") as bad:
        stalled = Stream(bad)
        pieces.send()
        await stalled.until_text("one ")
        await network.strike(Fault.ONE_WAY)
        pieces.send()
        taken_up = Stream(channel)
        await taken_up.until_text("one two ")
        network.cut()
        pieces.send()
        assert (await taken_up.rest()).reply == "one two three"
        with pytest.raises(grpc.aio.AioRpcError):
            await stalled.rest()
    assert len(upstream.requests) == 1
    assert await turns(channel) == ["User: Hi\nAssistant: one two three"]


@pytest.mark.parametrize("seed", range(8))
async def test_callers_that_join_and_leave_a_stream_miss_no_event(
    channel: grpc.aio.Channel, upstream: Upstream, seed: int
) -> None:
    rng = random.Random(seed)
    said = [f"{number} " for number in range(30)]
    pieces = Pieces(*said)
    upstream.replies(Reply(pieces=pieces))
    streams = [Stream(channel)]
    for count in range(1, len(said) + 1):
        pieces.send()
        # At least one reads on: else the model would be stopped.
        await streams[0].until_text("".join(said[:count]))
        if rng.random() < 0.4:
            joining = Stream(channel)
            await joining.until_started()
            streams.append(joining)
            rng.shuffle(streams)
            await streams[0].until_text("".join(said[:count]))
        if len(streams) > 1 and rng.random() < 0.3:
            streams.pop().call.cancel()
    answers = await asyncio.gather(*(stream.rest() for stream in streams))
    assert {answer.reply for answer in answers} == {"".join(said)}
    assert len(upstream.requests) == 1
    assert len(await turns(channel)) == 1


async def test_reasoning_is_joined_too(channel: grpc.aio.Channel, upstream: Upstream) -> None:
    pieces = Pieces(
        '{"choices":[{"index":0,"delta":{"reasoning_content":"Let me "}}]}',
        '{"choices":[{"index":0,"delta":{"reasoning_content":"think."}}]}',
        '{"choices":[{"index":0,"delta":{"content":"Yes."},"finish_reason":"stop"}]}',
    )
    upstream.replies(Reply(events=pieces))
    first = Stream(channel)
    pieces.send(2)
    while first.reasoning != "Let me think.":
        await first._read()
    second = Stream(channel)
    while second.reasoning != "Let me think.":
        await second._read()
    pieces.send()
    for stream in (first, second):
        assert (await stream.rest()).reply == "Yes."
        assert stream.kinds.index("text_delta") > stream.kinds.index("reasoning_delta")


async def test_another_request_of_the_id_is_refused_while_it_is_joined(
    channel: grpc.aio.Channel, upstream: Upstream
) -> None:
    pieces = Pieces("one ", "two")
    upstream.replies(Reply(pieces=pieces))
    first = Stream(channel)
    pieces.send()
    await first.until_text("one ")
    refused = (grpc.StatusCode.FAILED_PRECONDITION, "REQUEST_ID_REUSED")
    assert await Stream(channel, "Ho").reason() == refused
    assert await Stream(channel, time_zone="Europe/Berlin").reason() == refused
    pieces.send()
    await first.rest()


async def test_users_do_not_join_each_other(channel: grpc.aio.Channel, upstream: Upstream) -> None:
    pieces = Pieces("for alice ", "only")
    upstream.replies(Reply(pieces=pieces), Reply(pieces=["for bob"]))
    alice = Stream(channel)
    pieces.send()
    await alice.until_text("for alice ")
    assert (await Stream(channel, user_id="bob").rest()).reply == "for bob"
    pieces.send()
    await alice.rest()


async def test_request_with_other_private_text_waits_for_the_redacted_answer(
    channel: grpc.aio.Channel, upstream: Upstream
) -> None:
    pieces = Pieces("Your code ", "is TANGERINE-77.")
    upstream.replies(Reply(pieces=pieces))
    first = Stream(channel, "My code is <private>TANGERINE-77</private>.")
    pieces.send()
    await first.until_text("Your code ")
    other = Stream(channel, "My code is <private>QUINCE-12</private>.")
    same = Stream(channel, "My code is <private>TANGERINE-77</private>.")
    await same.until_text("Your code ")
    assert other.events == []
    pieces.send()
    assert (await same.rest()).reply == "Your code is TANGERINE-77."
    assert (await other.rest()).reply == "Your code is [REDACTED]."
    assert len(upstream.requests) == 1


async def test_failure_after_the_start_is_that_of_every_caller(channel: grpc.aio.Channel, upstream: Upstream) -> None:
    pieces = Pieces("one ", "two")
    upstream.replies(Reply(pieces=pieces, cut_before=1))
    streams = [Stream(channel) for _ in range(3)]
    pieces.send()
    for stream in streams:
        await stream.until_text("one ")
    pieces.send()
    for stream in streams:
        assert await stream.reason() == (grpc.StatusCode.ABORTED, "MODEL_INTERRUPTED")
    assert len(upstream.requests) == 1


async def test_joiner_asks_the_model_itself_if_the_first_failed_before_the_start(
    channel: grpc.aio.Channel, upstream: Upstream
) -> None:
    refused = threading.Event()

    def otherwise(_: object) -> Reply:
        if len(upstream.requests):
            return Reply(pieces=["from the second"])
        refused.wait(SECONDS)
        return Reply(status=500)

    upstream.otherwise = otherwise
    first = Stream(channel)
    # It has no event yet, so that it cannot be seen from here that the second has joined.
    second = Stream(channel)
    refused.set()
    outcomes = await asyncio.gather(first.rest(), second.rest(), return_exceptions=True)
    failed = [outcome for outcome in outcomes if isinstance(outcome, grpc.aio.AioRpcError)]
    assert [failure.code() for failure in failed] == [grpc.StatusCode.UNAVAILABLE]
    [answer] = [outcome for outcome in outcomes if isinstance(outcome, chat_pb2.ChatResponse)]
    assert (answer.reply, answer.replayed) == ("from the second", False)


async def test_joiner_of_a_long_answer_gets_the_rest_at_the_end(channel: grpc.aio.Channel, upstream: Upstream) -> None:
    long = "word " * (JOIN_CHARACTERS // 5 + 1)
    pieces = Pieces(long, "and ", "the end")
    upstream.replies(Reply(pieces=pieces))
    first = Stream(channel)
    pieces.send(2)
    await first.until_text(f"{long}and ")
    second = Stream(channel)
    await second.until_started()
    pieces.send()
    assert (await first.rest()).reply == (await second.rest()).reply == f"{long}and the end"
    assert second.kinds == ["started", "text_delta", "completed"]
    assert len(upstream.requests) == 1


async def test_slow_reader_delays_no_other_caller(address: str, upstream: Upstream) -> None:
    # More than the flow control of the one who does not read lets through.
    said = [f"{number:05} " * 2000 for number in range(60)]
    pieces = Pieces(*said)
    upstream.replies(Reply(pieces=pieces))
    small = [("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 65_536)]
    async with (
        grpc.aio.insecure_channel(address, [*small, ("grpc.use_local_subchannel_pool", 1)]) as idle,
        grpc.aio.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)]) as channel,
    ):
        lazy = Stream(idle)
        pieces.send()
        await lazy.until_text(said[0])
        eager = Stream(channel)
        await eager.until_started()
        pieces.send(len(said))
        assert (await eager.rest()).reply == "".join(said)
        answer = await lazy.rest()
        assert (answer.reply, answer.replayed) == ("".join(said), False)
    assert len(upstream.requests) == 1


async def test_drain_ends_all_callers_and_stores_what_was_written(settings: Settings, upstream: Upstream) -> None:
    upstream.replies(Reply(pieces=("one ", "two"), hold_before=1))
    async with serving(replace(settings, drain_seconds=0.1)) as address:
        channel = grpc.aio.insecure_channel(address)
        streams = [Stream(channel) for _ in range(2)]
        for stream in streams:
            await stream.until_text("one ")
    for stream in streams:
        assert await stream.reason() == (grpc.StatusCode.ABORTED, "SERVER_DRAINING")
    await channel.close()
    async with serving(settings) as address, grpc.aio.insecure_channel(address) as channel:
        assert await turns(channel) == ["User: Hi\nAssistant: one  [interrupted]"]


async def test_drain_aborts_a_stored_answer_that_has_begun(settings: Settings, upstream: Upstream) -> None:
    # More than the flow control of a caller who does not read lets through.
    upstream.replies(Reply(pieces=("word " * 120_000,)))
    small = [("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 65_536)]
    async with AsyncExitStack() as stack:
        address = await stack.enter_async_context(serving(replace(settings, drain_seconds=0)))
        async with grpc.aio.insecure_channel(address, small) as channel:
            await Stream(channel).rest()
            repeat = Stream(channel)
            await repeat.until_started()
            draining = asyncio.create_task(stack.aclose())
            await asyncio.sleep(0.2)
            assert await repeat.reason() == (grpc.StatusCode.ABORTED, "SERVER_DRAINING")
            await draining
    assert len(upstream.requests) == 1


async def test_stream_on_another_server_waits_for_the_end(settings: Settings, upstream: Upstream) -> None:
    pieces = Pieces("one ", "two")
    upstream.replies(Reply(pieces=pieces))
    variables = {"ILAB_MEMORY_DB_PATH": settings.memory_db_path, "OPENAI_BASE_URL": upstream.base_url}
    with ExitStack() as servers:
        # Processes of their own: POSIX locks do not keep two servers of one process apart.
        here, there = [
            (await asyncio.to_thread(servers.enter_context, running_server(**variables))).address for _ in range(2)
        ]
        async with grpc.aio.insecure_channel(here) as near, grpc.aio.insecure_channel(there) as far:
            first = Stream(near)
            pieces.send()
            await first.until_text("one ")
            waiting = Stream(far)
            joined = Stream(near)
            await joined.until_text("one ")
            assert waiting.events == []
            pieces.send()
            answers = [await stream.rest() for stream in (first, joined, waiting)]
        await asyncio.to_thread(servers.close)
    assert [answer.replayed for answer in answers] == [False, True, True]
    assert waiting.kinds == ["started", "text_delta", "completed"]
    assert len(upstream.requests) == 1


STARTED = Started(
    session_id="s", is_new_session=True, model="m", model_response_id="", memories=(), included_documents=0
)


async def test_any_order_of_steps_gives_each_caller_the_same_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without sockets, so that each step of each caller can come at any time, and small enough to fall behind."""
    monkeypatch.setattr(running_answer, "JOIN_CHARACTERS", 300)
    for seed in range(300):
        rng = random.Random(seed)
        said: list[Event] = [
            Delta(f"<{number}>") if rng.random() < 0.8 else ReasoningDelta(f"<{number}>")
            for number in range(rng.randrange(40))
        ]
        reply = "".join(event.text for event in said if isinstance(event, Delta))
        await run_in_any_order(rng, said, replace(ANSWERED, reply=reply))


async def run_in_any_order(rng: random.Random, said: list[Event], answered: Answered) -> None:
    running = RunningAnswer(REQUEST)
    callers = [asyncio.ensure_future(listen(running, rng, 1000))]
    await asyncio.sleep(0)
    task = running.start(slowly(rng, [STARTED, *said, Completed(answered)]))
    while not task.done():
        await asyncio.sleep(0)
        if rng.random() < 0.1:
            callers.append(asyncio.ensure_future(listen(running, rng, rng.choice([1, 3, 1000]))))
    for got in filter(None, await asyncio.gather(*callers)):
        check(got, joined_text(said, ReasoningDelta), answered.reply)


async def slowly(rng: random.Random, events: list[Event]) -> AsyncGenerator[Event, None]:
    for event in events:
        for _ in range(rng.randrange(3)):
            await asyncio.sleep(0)
        yield event


async def listen(running: RunningAnswer, rng: random.Random, most: int) -> list[Event]:
    """Return the first events that a caller gets, who may be slow. Nothing: it came too late."""
    got: list[Event] = []
    if not running.is_open:
        return got
    async with aclosing(running.listen()) as listening:
        async for event in listening:
            got.append(event)
            for _ in range(rng.choice([0, 0, 1, 9])):
                await asyncio.sleep(0)
            if len(got) == most:
                break
    return got


def check(got: list[Event], reasoning: str, reply: str) -> None:
    assert got[0] is STARTED
    text = joined_text(got, Delta)
    assert reply.startswith(text)
    assert reasoning.startswith(joined_text(got, ReasoningDelta))
    if isinstance(got[-1], Completed):
        assert text == reply
        assert sum(isinstance(event, Started | Completed) for event in got) == 2


def joined_text(events: list[Event], kind: type[Delta | ReasoningDelta]) -> str:
    return "".join(event.text for event in events if isinstance(event, kind))
