"""Consolidation end to end: real calls, a real memory, and a scripted model on a real socket."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import grpc.aio
import pytest

from ilab_chat.v1 import chat_pb2, chat_pb2_grpc, memory_pb2, memory_pb2_grpc
from ilab_chat_service import consolidation_setup
from ilab_chat_service.consolidation.consolidator import Limits
from ilab_chat_service.server import serving
from ilab_chat_service.settings import Settings, SettingsError
from ilab_memory import ILabMemory, Observation, WorkStats
from upstream import Reply, Request, Upstream

#: As in production, but a thousand times as fast.
FAST = Limits(
    turns=2, idle=3600, lease=3, call=2, poll=0.01, backoff=0.05, most_backoff=0.2, dead_rest=3600, pause=0.01,
    most_pause=0.05,
)  # fmt: skip


def is_consolidation(request: Request) -> bool:
    return "long-term memory" in request.system


@dataclass
class Script:
    """How the model answers: chat with "Noted.", consolidations with what *answer* makes of their input."""

    answer: Callable[[dict[str, Any]], Reply | dict[str, Any]]
    seen: list[dict[str, Any]] = field(default_factory=list)
    """The inputs of the consolidations."""
    raw: list[Request] = field(default_factory=list)

    def __call__(self, request: Request) -> Reply:
        if not is_consolidation(request):
            return Reply(pieces=("Noted.",))
        given = json.loads(request.messages[-1]["content"])
        self.seen.append(given)
        self.raw.append(request)
        made = self.answer(given)
        return made if isinstance(made, Reply) else Reply(pieces=(json.dumps(EMPTY | made),))

    @property
    def users_words(self) -> list[str]:
        return [turn["user"] for given in self.seen for each in given["sessions"] for turn in each["turns"]]


EMPTY: dict[str, Any] = {"set": [], "retire": [], "summaries": []}


def echo(given: dict[str, Any]) -> dict[str, Any]:
    """Make a fact of each turn and a summary of each session."""
    turns = [turn for each in given["sessions"] for turn in each["turns"]]
    return {
        "set": [
            {
                "type": "profile",
                "topic_key": f"said/{turn['user']}",
                "content": f"Said: {turn['user']}",
                "evidence": turn["user"],
                "expire_date": None,
            }
            for turn in turns
        ],
        "summaries": [
            {
                "session": each["session"],
                "summary": " ".join([each["summary"], *(turn["user"] for turn in each["turns"])]).strip(),
            }
            for each in given["sessions"]
        ],
    }


@dataclass
class Stage:
    """A running server with consolidation, and the memory below it."""

    chat: chat_pb2_grpc.ChatServiceAsyncStub
    memory: memory_pb2_grpc.MemoryServiceAsyncStub
    library: ILabMemory
    script: Script

    async def say(self, *messages: str, user: str = "ann", **more: Any) -> None:
        for message in messages:
            request = chat_pb2.ChatRequest(user_id=user, message=message, **more)
            assert (await self.chat.Chat(request, timeout=30)).reply == "Noted."

    async def settled(self) -> None:
        """Wait until nobody has work that is due."""
        await until(lambda: self.library.mem_work_stats().pending == 0)

    def facts_now(self, user: str = "ann") -> dict[str | None, str]:
        return {each.topic_key: each.content for each in self.library.mem_facts(user)}

    async def facts(self, user: str = "ann") -> dict[str | None, str]:
        return await asyncio.to_thread(self.facts_now, user)

    async def summaries(self, user: str = "ann") -> list[str]:
        return [each.content for each in await self.rows(user, "summary")]

    async def rows(self, user: str = "ann", *types: str) -> list[Observation]:
        return await asyncio.to_thread(lambda: self.library.mem_list(user, types=types))

    async def stats(self) -> WorkStats:
        return await asyncio.to_thread(self.library.mem_work_stats)

    async def everything(self, user: str = "ann") -> list[object]:
        return await asyncio.to_thread(lambda: list(self.library.mem_export(user)))


async def until(is_reached: Callable[[], bool], seconds: float = 20) -> None:
    """Wait until *is_reached* returns True."""
    async with asyncio.timeout(seconds):
        while not await asyncio.to_thread(is_reached):  # noqa: ASYNC110 - the state of other processes
            await asyncio.sleep(0.01)


Staging = Callable[..., Any]


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.process)])
def stored(request: pytest.FixtureRequest, settings: Settings) -> Settings:
    if request.param == "sqlite":
        return settings
    return replace(settings, memory_db_path="./memory.db", memory_url=request.getfixturevalue("memory_database"))


@pytest.fixture
def staged(stored: Settings, upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> Staging:
    @asynccontextmanager
    async def opened(
        answer: Callable[[dict[str, Any]], Reply | dict[str, Any]] = echo,
        limits: Limits = FAST,
        **changes: Any,
    ) -> AsyncIterator[Stage]:
        monkeypatch.setattr(consolidation_setup, "limits_of", lambda _settings: limits)
        upstream.otherwise = script = Script(answer)
        settings = replace(stored, consolidation="on", **changes)
        async with serving(settings) as address, grpc.aio.insecure_channel(address) as channel:
            library = await asyncio.to_thread(
                lambda: (
                    ILabMemory.from_url(settings.memory_url)
                    if settings.memory_url
                    else ILabMemory.from_path(settings.memory_db_path)
                )
            )
            try:
                yield Stage(
                    chat_pb2_grpc.ChatServiceStub(channel), memory_pb2_grpc.MemoryServiceStub(channel), library, script
                )
            finally:
                await asyncio.to_thread(library.close)

    return opened


async def test_turns_become_facts_and_a_summary(staged: Staging) -> None:
    async with staged() as stage:
        await stage.say("I live in Hamburg", "My cat is called Mo")
        await stage.settled()
        assert (await stage.facts()) == {
            "fact/home": "I live in Hamburg",
            "fact/pet/cat": "My cat is called Mo",
            "fact/said/i-live-in-hamburg": "Said: I live in Hamburg",
            "fact/said/my-cat-is-called-mo": "Said: My cat is called Mo",
        }
        assert (await stage.summaries()) == ["I live in Hamburg My cat is called Mo"]
        assert len(stage.script.seen) == 1
        turns = {row.content: row.id for row in await stage.rows("ann", "discovery")}
        sources = {fact.content: fact.source_ids for fact in await asyncio.to_thread(stage.library.mem_facts, "ann")}
        assert sources == {
            f"{prefix}{said}": [turns[f"User: {said}\nAssistant: Noted."]]
            for prefix in ("", "Said: ")
            for said in ("I live in Hamburg", "My cat is called Mo")
        }


async def test_a_long_session_is_summed_up_in_steps(staged: Staging) -> None:
    async with staged() as stage:
        await stage.say("first", "second")
        await stage.settled()
        await stage.say("third", "fourth")
        await stage.settled()
        assert [each["summary"] for given in stage.script.seen for each in given["sessions"]] == ["", "first second"]
        assert stage.script.users_words == ["first", "second", "third", "fourth"]
        assert (await stage.summaries()) == ["first second third fourth"]
        assert set(stage.script.seen[1]["facts"].values()) == {"Said: first", "Said: second"}


async def test_a_call_asks_for_the_schema_and_nothing_that_was_recalled(staged: Staging) -> None:
    async with staged() as stage:
        await stage.say("I live in Hamburg", "Where do I live?")
        await stage.settled()
        [request] = stage.script.raw
        assert request.body["response_format"]["type"] == "json_schema"
        assert request.body["temperature"] == 0
        [session] = stage.script.seen[0]["sessions"]
        assert [(turn["user"], turn["assistant"]) for turn in session["turns"]] == [
            ("I live in Hamburg", "Noted."),
            ("Where do I live?", "Noted."),
        ]


async def test_each_conversation_is_summed_up_for_itself(staged: Staging) -> None:
    async with staged() as stage:
        await stage.say("about work", conversation_id="work")
        await stage.say("about home", conversation_id="home")
        await stage.settled()
        assert sorted(await stage.summaries()) == ["about home", "about work"]


async def test_private_text_reaches_no_consolidation(staged: Staging) -> None:
    async with staged() as stage:
        await stage.say("My code is <private>quokka</private>", "Remember <private>quokka</private> for me")
        await stage.settled()
        assert stage.script.raw
        assert "quokka" not in json.dumps([request.body for request in stage.script.raw])
        assert "quokka" not in str(await stage.facts()) + str(await stage.summaries())


async def test_the_assistants_words_do_not_prove_a_fact(staged: Staging) -> None:
    def invented(given: dict[str, Any]) -> dict[str, Any]:
        return {
            "set": [
                {
                    "type": "profile",
                    "topic_key": "mood",
                    "content": "Likes notes.",
                    "evidence": "Noted.",
                    "expire_date": None,
                }
            ]
        }

    async with staged(invented) as stage:
        await stage.say("first", "second")
        await stage.settled()
        assert len(stage.script.seen) == 1
        assert (await stage.facts()) == {}


async def test_ending_a_session_makes_its_turns_due(staged: Staging) -> None:
    async with staged() as stage:
        await stage.say("only one")
        await stage.memory.EndSession(memory_pb2.EndSessionRequest(user_id="ann", summary="Done."), timeout=10)
        await stage.settled()
        assert stage.script.users_words == ["only one"]


async def test_calls_without_memory_are_not_consolidated(staged: Staging) -> None:
    async with staged() as stage:
        await stage.say("a", "b", memory_mode=chat_pb2.MEMORY_MODE_READ_ONLY)
        await stage.say("c", "d", memory_mode=chat_pb2.MEMORY_MODE_OFF)
        await stage.say("first", "second", user="bob")
        await stage.settled()
        assert stage.script.users_words == ["first", "second"]


REFUSED = json.dumps({"error": {"message": "no", "param": "response_format", "type": "invalid_request_error"}}).encode()


async def test_an_api_that_knows_no_schema_is_asked_for_text(staged: Staging) -> None:
    script: list[Script] = []

    def picky(given: dict[str, Any]) -> Reply | dict[str, Any]:
        if "response_format" in script[0].raw[-1].body:
            return Reply(status=400, body=REFUSED)
        return Reply(pieces=("```json\n", json.dumps(EMPTY | echo(given)), "\n```"))

    async with staged(picky) as stage:
        script.append(stage.script)
        await stage.say("first", "second")
        await stage.settled()
        assert len(await stage.facts()) == 2


async def test_garbage_costs_rests_and_the_chat_goes_on(staged: Staging, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    async with staged(lambda _given: Reply(pieces=("I changed nothing.",))) as stage:
        await stage.say("first", "second")
        await until(lambda: stage.library.mem_work_stats().dead == 1)
        assert len(stage.script.seen) == FAST.attempts
        await stage.say("third", "fourth", "fifth")
        assert (await stage.facts()) == {}
        assert (await stage.stats()).tokens_used == 25 * FAST.attempts
        # With each failed attempt fewer turns, in case one of them is the cause.
        assert [len(each["sessions"][0]["turns"]) for each in stage.script.seen] == [2, 2, *[1] * (FAST.attempts - 2)]
    given_up = [record.getMessage() for record in caplog.records if "given up" in record.getMessage()]
    assert len(given_up) == 1
    assert "ann" not in caplog.text.replace("channel", "")


@pytest.mark.parametrize(
    "broken",
    [
        Reply(status=503, body=b"{}"),
        Reply(status=429, body=b"{}"),
        Reply(status=401, body=b"{}"),
        Reply(events=["{"]),
        Reply(cut_before=0),
        Reply(pieces=('{"set": [',), cut_before=1),
    ],
)
async def test_work_is_done_when_the_model_is_back(staged: Staging, broken: Reply) -> None:
    failed = 0

    def failing(given: dict[str, Any]) -> Reply | dict[str, Any]:
        nonlocal failed
        failed += 1
        return broken if failed <= 3 else echo(given)

    async with staged(failing, limits=replace(FAST, idle=0.5)) as stage:
        await stage.say("first", "second")
        await stage.settled()
        assert sorted((await stage.facts()).values()) == ["Said: first", "Said: second"]
        assert failed >= 4


async def test_an_outage_does_not_give_work_up(staged: Staging) -> None:
    # Fewer requests than open the model's breaker, which takes seconds to close.
    limits = replace(FAST, attempts=1)
    async with staged(lambda _given: Reply(status=503, body=b"{}"), limits=limits) as stage:
        await stage.say("first", "second")
        await until(lambda: len(stage.script.seen) > limits.attempts + 2)
        assert (await stage.stats()).dead == 0


async def test_a_model_that_says_nothing_is_left_at_the_deadline(staged: Staging) -> None:
    held = 0

    def slow(given: dict[str, Any]) -> Reply | dict[str, Any]:
        nonlocal held
        held += 1
        return Reply(hold_before=0) if held == 1 else echo(given)

    async with staged(slow, limits=replace(FAST, call=0.2, idle=0.5)) as stage:
        await stage.say("first", "second")
        await stage.settled()
        assert len(await stage.facts()) == 2
        assert await asyncio.to_thread(stage.script.raw[0].gone.wait, 10)


async def test_forgetting_a_user_ends_a_running_consolidation(staged: Staging) -> None:
    def held(given: dict[str, Any]) -> Reply:
        return Reply(pieces=(json.dumps(EMPTY | echo(given)),), hold_before=0)

    async with staged(held, limits=replace(FAST, call=60, lease=1)) as stage:
        await stage.say("first", "second")
        await until(lambda: bool(stage.script.raw) and stage.script.raw[0].held.is_set())
        await stage.memory.ForgetUser(memory_pb2.ForgetUserRequest(user_id="ann"), timeout=30)
        # Nobody lets the model go on: the worker notices and leaves.
        assert await asyncio.to_thread(stage.script.raw[0].gone.wait, 20)
        stats = await stage.stats()
        assert (stats.pending, stats.dead) == (0, 0)
        assert await stage.everything() == []


async def test_an_answer_that_comes_after_the_user_was_forgotten_is_not_stored(
    staged: Staging, upstream: Upstream
) -> None:
    def held(given: dict[str, Any]) -> Reply:
        return Reply(pieces=(json.dumps(EMPTY | echo(given)),), hold_before=0)

    async with staged(held, limits=replace(FAST, call=60, lease=60)) as stage:
        await stage.say("first", "second")
        await until(lambda: bool(stage.script.raw) and stage.script.raw[0].held.is_set())
        await stage.memory.ForgetUser(memory_pb2.ForgetUserRequest(user_id="ann"), timeout=30)
        upstream.release()
        await stage.say("third", "fourth", user="bob")
        await until(lambda: len(stage.facts_now("bob")) == 2)
        assert await stage.everything() == []


async def test_a_deleted_turn_leaves_nothing_in_facts_and_summaries(staged: Staging, upstream: Upstream) -> None:
    def held(given: dict[str, Any]) -> Reply:
        return Reply(pieces=(json.dumps(EMPTY | echo(given)),), hold_before=0)

    async with staged(held, limits=replace(FAST, call=60, idle=0.5)) as stage:
        await stage.say("first", "the secret")
        await until(lambda: bool(stage.script.raw) and stage.script.raw[0].held.is_set())
        [secret] = [row.id for row in await stage.rows() if "secret" in row.content]
        request = memory_pb2.DeleteObservationRequest(user_id="ann", observation_id=secret)
        await stage.memory.DeleteObservation(request, timeout=30)
        upstream.release()
        await stage.settled()
        assert list((await stage.facts()).values()) == ["Said: first"]
        assert (await stage.summaries()) == ["first"]


async def test_the_budget_of_a_user_bounds_the_calls_of_the_user_alone(staged: Staging) -> None:
    # Each call costs 25 tokens.
    async with staged(limits=replace(FAST, daily_tokens=50)) as stage:
        for number in range(3):
            await stage.say(f"{number} first", f"{number} second")
            if number < 2:
                await stage.settled()
        await stage.say("first", "second", user="bob")
        await until(lambda: len(stage.facts_now("bob")) == 2)
        assert (await stage.stats()).pending == 1
        assert len(await stage.facts()) == 4
        assert len(stage.script.seen) == 3


async def test_the_budget_of_all_bounds_all_calls(staged: Staging, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    async with staged(limits=replace(FAST, total_daily_tokens=50)) as stage:
        for user in ("ann", "bob", "cid", "dan"):
            await stage.say("first", "second", user=user)
        await until(lambda: "budget of all users is used up" in caplog.text)
        assert len(stage.script.seen) == 2
        assert (await stage.stats()).pending == 2


async def test_a_server_that_stops_lets_the_running_call_finish(staged: Staging, upstream: Upstream) -> None:
    def held(given: dict[str, Any]) -> Reply:
        return Reply(pieces=(json.dumps(EMPTY | echo(given)),), hold_before=0)

    stage: Stage
    async with staged(held, limits=replace(FAST, call=60), drain_seconds=60) as stage:
        await stage.say("first", "second")
        await until(lambda: bool(stage.script.raw) and stage.script.raw[0].held.is_set())
        asyncio.get_running_loop().call_later(0.1, upstream.release)
    async with staged(echo) as stage:
        assert len(await stage.facts()) == 2
        assert stage.script.seen == []


async def test_a_server_that_stops_releases_what_does_not_finish(staged: Staging) -> None:
    async with staged(
        lambda _given: Reply(hold_before=0), limits=replace(FAST, call=60, lease=600), drain_seconds=0.1
    ) as stage:
        await stage.say("first", "second")
        await until(lambda: bool(stage.script.raw) and stage.script.raw[0].held.is_set())
    async with staged(echo) as stage:
        await stage.settled()
        assert len(await stage.facts()) == 2


async def test_a_newer_statement_is_not_replaced_by_an_older_turn(staged: Staging, upstream: Upstream) -> None:
    def held(given: dict[str, Any]) -> Reply:
        made = echo(given)
        made["set"] = [made["set"][0] | {"topic_key": "home"}]
        return Reply(pieces=(json.dumps(EMPTY | made),), hold_before=0)

    async with staged(held, limits=replace(FAST, call=60)) as stage:
        await stage.say("I live in Hamburg", "second")
        await until(lambda: bool(stage.script.raw) and stage.script.raw[0].held.is_set())
        await asyncio.to_thread(
            lambda: stage.library.mem_save(
                "ann", "Lives in Lisbon.", type="profile", title="home", topic_key="fact/home"
            )
        )
        upstream.release()
        await stage.settled()
        assert (await stage.facts()) == {"fact/home": "Lives in Lisbon."}


async def test_turns_are_only_queued_when_consolidation_is_on(
    stub: chat_pb2_grpc.ChatServiceAsyncStub, settings: Settings
) -> None:
    await stub.Chat(chat_pb2.ChatRequest(user_id="ann", message="hi"), timeout=10)

    def stored() -> tuple[int, int]:
        with ILabMemory.from_path(settings.memory_db_path) as library:
            return len(library.mem_list("ann")), library.mem_work_stats().pending

    assert await asyncio.to_thread(stored) == (1, 0)


async def test_a_model_that_is_not_offered_is_refused_at_the_start(
    settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> None:
    models = tmp_path_factory.mktemp("models") / "models.toml"
    models.write_text(f'[models.small]\nbase_url = "{settings.openai_base_url}"\n')
    wrong = replace(
        settings,
        consolidation="on",
        consolidation_model="unknown",
        models_file=str(models),
        openai_base_url="",
        openai_model="",
    )
    with pytest.raises(SettingsError, match="ILAB_CHAT_CONSOLIDATION_MODEL"):
        async with serving(wrong):
            pass
