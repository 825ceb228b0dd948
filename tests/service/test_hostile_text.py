"""Text that is made to cost much, at every limit of size, through every method: bounded work.

Nothing here measures time: the work that once was quadratic is counted, and texts have sizes that a quadratic algorithm
does not finish before pytest's timeout. `bench/hostile_text.py` measures the CPU time of a text and of twice that text.
"""

from __future__ import annotations

import os
import sys
import unicodedata
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from hostile import SHAPES, filled
from ilab_chat.v1 import chat_pb2, chat_pb2_grpc, memory_pb2, memory_pb2_grpc
from ilab_chat_service.limits import (
    CONTENT_BYTES,
    DOCUMENT_BYTES,
    INSTRUCTIONS_CHARACTERS,
    MESSAGE_CHARACTERS,
    TITLE_CHARACTERS,
    TOPIC_KEY_CHARACTERS,
    USER_ID_CHARACTERS,
)
from ilab_chat_service.server import serving
from ilab_chat_service.settings import Settings
from ilab_memory.recall import analysis, normalization
from rpcs import METHODS
from upstream import Reply, Request, Upstream

#: How often a text of full size is analysed in `Caller.call_all`, at most: as a query and a summary, and when it is
#: saved, changed and erased. Each time at most INDEXED_CHARACTERS are normalized, before folding and after it.
ANALYSES = 24
#: The function that `Work` counts the calls of.
STEM = analysis.stem
#: Characters that folding makes of one.
FOLDED = 18

#: Valid statuses. Any other is a bug of the service.
EXPECTED = {
    grpc.StatusCode.OK,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.FAILED_PRECONDITION,
}


@cache
def marks() -> frozenset[str]:
    """Return all combining characters."""
    return frozenset(filter(unicodedata.combining, map(chr, range(sys.maxunicode + 1))))


@dataclass
class Work:
    """The work done since the start of the test."""

    normalized: int = 0
    longest_run: int = 0
    stemmed: int = 0

    def normalize(self, form: Any, text: str) -> str:
        self.normalized += len(text)
        # Most texts have no marks, and this is ten times faster than to look at their characters in a loop.
        if not marks().isdisjoint(text):
            runs = ("".join(run) for is_marks, run in groupby(text, marks().__contains__) if is_marks)
            self.longest_run = max(self.longest_run, *map(len, runs))
        return unicodedata.normalize(form, text)

    combining = staticmethod(unicodedata.combining)

    def stem(self, word: str) -> str:
        self.stemmed += 1
        return STEM(word)


class Caller:
    """Calls every method with a text, as long as the method takes it."""

    def __init__(self, channel: grpc.aio.Channel, shape: str) -> None:
        self._chat: Any = chat_pb2_grpc.ChatServiceStub(channel)
        self._memory: Any = memory_pb2_grpc.MemoryServiceStub(channel)
        self._shape = shape
        self.user = filled(shape, characters=USER_ID_CHARACTERS)
        self.called: set[str] = set()

    async def call_all(self) -> None:
        content = filled(self._shape, size=CONTENT_BYTES)
        title = filled(self._shape, characters=TITLE_CHARACTERS)
        key = filled(self._shape, characters=TOPIC_KEY_CHARACTERS)
        await self.chat("Chat", chat_pb2.ChatRequest())
        await self.chat("StreamChat", chat_pb2.StreamChatRequest(**self.added()))
        await self.chat("PreviewPrompt", chat_pb2.PreviewPromptRequest(**self.added()))
        await self.memory("StartSession", memory_pb2.StartSessionRequest())
        saved = 0
        for text in (content, content[1:]):
            observation = memory_pb2.SaveObservationRequest(content=text, title=title, type="profile", topic_key=key)
            answer = await self.memory("SaveObservation", observation)
            saved = answer.result.id if answer else saved
        await self.memory("SummarizeSession", memory_pb2.SummarizeSessionRequest(summary=content))
        await self.memory("SearchObservations", memory_pb2.SearchObservationsRequest(query=content))
        # Found by no word, so looked for as it stands.
        absent = memory_pb2.SearchObservationsRequest(query=f"{self._shape[:200]}\U0001f9a5", types=["profile"])
        await self.memory("SearchObservations", absent)
        await self.memory("GetObservation", memory_pb2.GetObservationRequest(observation_id=saved or 1))
        await self.memory("GetTimeline", memory_pb2.GetTimelineRequest(observation_id=saved or 1))
        await self.memory("GetStats", memory_pb2.GetStatsRequest())
        await self.memory("ListObservations", memory_pb2.ListObservationsRequest(types=[title]))
        await self.memory("ListFacts", memory_pb2.ListFactsRequest(types=[title]))
        await self.memory("ListSessions", memory_pb2.ListSessionsRequest(conversation_id=title))
        changed = memory_pb2.UpdateObservationRequest(observation_id=saved or 1, content=content[2:], title=title)
        await self.memory("UpdateObservation", changed)
        await self.memory("DeleteObservation", memory_pb2.DeleteObservationRequest(observation_id=saved or 1))
        await self.memory("EndSession", memory_pb2.EndSessionRequest(summary=content))
        await self.chat("Chat", chat_pb2.ChatRequest())
        await self.import_text(title, content)
        await self.memory("ExportUser", memory_pb2.ExportUserRequest())
        await self.memory("ForgetUser", memory_pb2.ForgetUserRequest())

    async def chat(self, name: str, request: Any) -> None:
        request.message = filled(self._shape, characters=MESSAGE_CHARACTERS)
        await self._call(self._chat, name, request)

    def added(self) -> dict[str, Any]:
        """Return what a caller may add to the prompt."""
        return {
            "instructions": filled(self._shape, characters=INSTRUCTIONS_CHARACTERS),
            "context": [chat_pb2.ContextDocument(text=filled(self._shape, size=DOCUMENT_BYTES))],
        }

    async def import_text(self, title: str, content: str) -> None:
        at = Timestamp(seconds=1_700_000_000)
        active = memory_pb2.SESSION_STATE_ACTIVE
        session = memory_pb2.Session(id="s-1", start_time=at, last_activity_time=at, summary=content, state=active)
        observation = memory_pb2.Observation(
            session_id="s-1", type="t", title=title, content=content, revision_count=1, create_time=at, update_time=at
        )
        self.called.add("ImportUser")
        messages = [
            memory_pb2.ImportUserRequest(user_id=self.user, session=session),
            memory_pb2.ImportUserRequest(observation=observation),
        ]
        try:
            await self._memory.ImportUser(iter(messages))
        except grpc.aio.AioRpcError as error:
            if error.code() not in EXPECTED:
                raise

    async def memory(self, name: str, request: Any) -> Any:
        return await self._call(self._memory, name, request)

    async def _call(self, stub: Any, name: str, request: Any) -> Any:
        request.user_id = self.user
        self.called.add(name)
        call = getattr(stub, name)(request)
        try:
            if name in {"StreamChat", "ExportUser"}:
                return [each async for each in call]
            return await call
        except grpc.aio.AioRpcError as error:
            if error.code() not in EXPECTED:
                raise
            return None


@asynccontextmanager
async def counted(settings: Settings, upstream: Upstream) -> AsyncIterator[tuple[grpc.aio.Channel, Work]]:
    """A server whose model repeats what it is told, and the work that it does."""
    upstream.otherwise = repeated
    work = Work()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(normalization, "unicodedata", work)
        patched.setattr(analysis, "stem", work.stem)
        options = [("grpc.max_receive_message_length", 16 * 1024 * 1024)]
        async with serving(settings) as address, grpc.aio.insecure_channel(address, options) as channel:
            yield channel, work


def repeated(request: Request) -> Reply:
    return Reply(pieces=(request.messages[-1]["content"],))


async def check(settings: Settings, upstream: Upstream, shape: str) -> None:
    async with counted(settings, upstream) as (channel, work):
        caller = Caller(channel, shape)
        await caller.call_all()
    assert caller.called == {method.name for method in METHODS}
    assert work.longest_run <= 2 * normalization.MAX_MARKS
    assert work.normalized <= ANALYSES * (1 + FOLDED) * analysis.INDEXED_CHARACTERS
    # Two letters with a hyphen are two terms at most.
    assert work.stemmed <= ANALYSES * analysis.INDEXED_CHARACTERS


@pytest.mark.slow
@pytest.mark.parametrize("name", SHAPES)
async def test_hostile_text_of_every_limit_costs_bounded_work(
    settings: Settings, upstream: Upstream, name: str
) -> None:
    await check(settings, upstream, SHAPES[name])


# An example takes seconds, so that shrinking one would take minutes.
@pytest.mark.slow
@hypothesis_settings(
    max_examples=50 if os.environ.get("ILAB_SOAK") else 2,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.reuse, Phase.generate],
)
@given(shape=st.lists(st.sampled_from(sorted(SHAPES.values())), min_size=2, max_size=4).map("".join))
async def test_any_mixture_of_hostile_texts_costs_bounded_work(
    settings: Settings, upstream: Upstream, shape: str
) -> None:
    await check(settings, upstream, shape)
