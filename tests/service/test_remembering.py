"""Explicit words of users, from the message to the prompts of later calls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc.aio
import pytest

from ilab_chat.v1 import chat_pb2, chat_pb2_grpc, memory_pb2, memory_pb2_grpc
from ilab_chat_service.memory.executor import open_memory
from ilab_chat_service.memory.expiry import erase_expired
from ilab_chat_service.server import serving
from ilab_chat_service.settings import Settings, SettingsError
from ilab_memory import Config, ILabMemory
from upstream import Reply, Upstream


class Caller:
    """One user, who calls a server."""

    def __init__(self, channel: grpc.aio.Channel, upstream: Upstream) -> None:
        self.stub: chat_pb2_grpc.ChatServiceAsyncStub = chat_pb2_grpc.ChatServiceStub(channel)
        self.memory: memory_pb2_grpc.MemoryServiceAsyncStub = memory_pb2_grpc.MemoryServiceStub(channel)
        self.upstream = upstream

    async def say(self, message: str, **fields: Any) -> chat_pb2.ChatResponse:
        return await self.stub.Chat(chat_pb2.ChatRequest(user_id="alice", message=message, **fields))

    async def prompt(self, message: str = "Tell me a joke.") -> str:
        """Return the whole prompt for a message that is not stored."""
        await self.say(message, memory_mode=chat_pb2.MEMORY_MODE_READ_ONLY)
        return "\n".join(each["content"] for each in self.upstream.requests[-1].messages)

    async def facts(self) -> list[str]:
        response = await self.memory.ListFacts(memory_pb2.ListFactsRequest(user_id="alice"))
        return [fact.content for fact in response.facts]

    async def observations(self) -> list[str]:
        response = await self.memory.ListObservations(memory_pb2.ListObservationsRequest(user_id="alice"))
        return [each.content for each in response.observations]


@asynccontextmanager
async def calling(settings: Settings, upstream: Upstream) -> AsyncIterator[Caller]:
    async with (
        serving(settings) as address,
        grpc.aio.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)]) as channel,
    ):
        yield Caller(channel, upstream)


@pytest.fixture
async def alice(settings: Settings, upstream: Upstream) -> AsyncIterator[Caller]:
    async with calling(settings, upstream) as caller:
        yield caller


async def test_an_explicit_statement_becomes_a_fact_that_the_answer_names(alice: Caller) -> None:
    first = await alice.say("Remember that my shoe size is 43.", request_id="r-1")
    [remembered] = first.remembered
    assert "43" in remembered.content
    assert remembered.topic_key.startswith("fact/")
    again = await alice.say("Remember that my shoe size is 43.", request_id="r-1")
    assert again.replayed
    assert list(again.remembered) == [remembered]
    repeated = await alice.say("Remember that my shoe size is 43.")
    assert list(repeated.remembered) == []
    fact = (await alice.memory.ListFacts(memory_pb2.ListFactsRequest(user_id="alice"))).facts[0]
    assert fact.observation_id == remembered.observation_id
    assert first.observation_id in fact.source_observation_ids
    assert "43" in await alice.prompt("Which size should I order?")


async def test_the_newest_value_holds_and_the_older_statement_is_marked(alice: Caller) -> None:
    await alice.say("I live in Hamburg.", conversation_id="c-1")
    await alice.say("I moved to Lisbon last month.", conversation_id="c-2")
    assert await alice.facts() == ["I moved to Lisbon last month."]
    prompt = await alice.prompt("Where do I live?")
    assert "I moved to Lisbon last month." in prompt
    marked = [line for line in prompt.splitlines() if "Hamburg" in line]
    assert all("(earlier, no longer holds)" in line for line in marked)


async def test_standing_instructions_are_pinned_and_in_every_prompt(alice: Caller) -> None:
    await alice.say("I live in Hamburg.")
    said = await alice.say("From now on always answer me in Spanish.")
    assert [fact.pinned for fact in said.remembered] == [True]
    for number in range(20):
        await alice.say(f"Add {number} and {number}. " + "word " * 60)
    lines = (await alice.prompt()).splitlines()
    facts = [line for line in lines if line.startswith("- (")]
    assert "Spanish" in facts[0]
    assert "Hamburg" in facts[1]


@pytest.mark.parametrize(
    "message",
    [
        "Am I allergic to shellfish?",
        "Do you know where I live?",
        'Translate into German: "My name is Bob and I live in Rome."',
        "If I were vegan, what could I eat?",
    ],
)
async def test_questions_and_quotations_become_nothing_that_holds(alice: Caller, message: str) -> None:
    assert list((await alice.say(message)).remembered) == []
    assert await alice.facts() == []


async def test_words_of_the_assistant_become_nothing_that_holds(alice: Caller, upstream: Upstream) -> None:
    upstream.says("Since you are vegetarian and live in Rome, I suggest risotto.")
    await alice.say("What should I cook?")
    assert await alice.facts() == []


async def test_a_message_that_is_not_to_be_remembered_is_not_stored(alice: Caller) -> None:
    answer = await alice.say("Don't remember this: my salary is 58,000.")
    assert answer.observation_id == 0
    assert await alice.observations() == []
    assert "58,000" not in await alice.prompt("What do I earn?")


async def test_forget_that_erases_the_last_turn_and_its_facts_once(alice: Caller) -> None:
    await alice.say("My name is Alice.")
    secret = await alice.say("My shoe size is 43.", request_id="r-1")
    assert "43" in str(await alice.facts())
    answer = await alice.say("Forget that.", request_id="r-2")
    assert answer.forgotten_observation_id == secret.observation_id
    assert answer.observation_id == 0
    again = await alice.say("Forget that.", request_id="r-2")
    assert (again.replayed, again.forgotten_observation_id) == (True, secret.observation_id)
    assert "43" not in str(await alice.observations())
    assert await alice.facts() == ["My name is Alice."]
    # The stored answer of the forgotten turn is gone with it.
    assert not (await alice.say("My shoe size is 43.", request_id="r-1")).replayed


async def test_a_preview_of_forget_that_erases_nothing(alice: Caller) -> None:
    await alice.say("My shoe size is 43.")
    request = chat_pb2.PreviewPromptRequest(user_id="alice", message="Forget that.")
    preview = await alice.stub.PreviewPrompt(request)
    assert "43" not in str(preview.messages)
    await alice.say("Forget that.", memory_mode=chat_pb2.MEMORY_MODE_READ_ONLY)
    assert await alice.facts() == ["My shoe size is 43."]


async def test_private_text_becomes_no_fact_and_no_statement(alice: Caller) -> None:
    await alice.say("<private>My name is Zebulon.</private> I live in <private>Timbuktu</private>. I work a lot.")
    stored = str(await alice.observations()) + await alice.prompt()
    assert "Zebulon" not in stored
    assert "Timbuktu" not in stored


async def test_deleting_a_turn_deletes_the_fact_that_it_alone_made(alice: Caller) -> None:
    turn = await alice.say("I live in Hamburg.")
    await alice.memory.DeleteObservation(
        memory_pb2.DeleteObservationRequest(user_id="alice", observation_id=turn.observation_id)
    )
    assert await alice.facts() == []
    assert await alice.observations() == []


async def test_facts_outlive_the_turn_that_latest_only_overwrites(alice: Caller) -> None:
    latest: dict[str, Any] = {"turn_retention": chat_pb2.TURN_RETENTION_LATEST_ONLY}
    said = await alice.say("I live in Hamburg.", **latest)
    assert len(said.remembered) == 1
    await alice.say("Tell me a joke.", **latest)
    assert await alice.facts() == ["I live in Hamburg."]


async def test_a_saved_fact_is_in_every_prompt_until_it_expires(
    alice: Caller, settings: Settings, upstream: Upstream
) -> None:
    request = memory_pb2.SaveObservationRequest(
        user_id="alice", type="profile", title="Diet", content="Allergic to peanuts and shellfish."
    )
    request.expire_time.FromDatetime(datetime.now(UTC) + timedelta(days=2))
    await alice.memory.SaveObservation(request)
    line = "Diet ["
    assert "Allergic to peanuts and shellfish." in await alice.prompt("Hello!")
    assert line in await alice.prompt("Hello!")
    late = lambda: datetime.now(UTC) + timedelta(days=3)  # noqa: E731 - a clock
    async with (
        serving(settings, clock=late) as address,
        grpc.aio.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)]) as channel,
    ):
        later = Caller(channel, upstream)
        assert "peanuts" not in await later.prompt("Hello!")
        assert await later.facts() == []


async def test_the_end_of_a_long_summary_is_in_the_prompt_and_found_later(alice: Caller) -> None:
    await alice.say("Tell me about the garden.")
    summary = "The garden was discussed at length. " * 9 + "In the end the decision was to plant a quince."
    await alice.memory.EndSession(memory_pb2.EndSessionRequest(user_id="alice", summary=summary))
    assert "plant a quince" in await alice.prompt("Hello!")
    for number in range(6):
        await alice.say(f"Tell me about topic {number}.")
        request = memory_pb2.EndSessionRequest(user_id="alice", summary=f"Talked about topic {number}.")
        await alice.memory.EndSession(request)
    assert "plant a quince" not in await alice.prompt("Hello!")
    assert "plant a quince" in await alice.prompt("Which tree did we decide to plant in the garden, a quince?")


async def test_retention_erases_what_is_older(settings: Settings) -> None:
    def save() -> None:
        for days, kind in ((100, "discovery"), (10, "discovery"), (100, "profile")):
            then = datetime.now(UTC) - timedelta(days=days)
            config = Config(clock=lambda then=then: then)  # type: ignore[misc]
            with ILabMemory.from_path(settings.memory_db_path, config) as memory:
                memory.mem_save("alice", f"{kind} of {days} days", type=kind, title="t")

    await asyncio.to_thread(save)
    kept = replace(settings, retention="discovery=90, summary=365")
    retention = {kind: timedelta(days=days) for kind, days in kept.retention_days.items()}
    async with open_memory(kept) as library:
        await erase_expired(library, retention)
        rows = await library.read("alice", lambda memory: memory.mem_list("alice"))
    assert sorted(row.content for row in rows) == ["discovery of 10 days", "profile of 100 days"]


@pytest.mark.parametrize("retention", ["never", "0", "-1", "discovery=", "discovery=x", "1e9", "nan"])
def test_a_bad_retention_is_refused(settings: Settings, retention: str) -> None:
    with pytest.raises(SettingsError, match="ILAB_MEMORY_RETENTION_DAYS"):
        replace(settings, retention=retention).check_memory()


async def test_a_message_that_is_sent_again_is_in_the_conversation_once(alice: Caller, upstream: Upstream) -> None:
    upstream.replies(*[Reply(pieces=(f"reply {number}",)) for number in range(4)])
    for _ in range(3):
        await alice.say("Write a haiku about rain.")
    await alice.say("Write a haiku about snow.")
    await alice.prompt("Thanks!")
    assert upstream.requests[-1].said == ["Write a haiku about snow.", "reply 3", "Thanks!"]
