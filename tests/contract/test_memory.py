"""The memory of a running service: through both clients, and through the command line."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import grpc
import pytest

from contract.process import Served
from ilab_chat import (
    NEVER,
    AsyncChatClient,
    ChatClient,
    InvalidArgument,
    NotFound,
    Observation,
    RequestIdReused,
    SaveOutcome,
    Session,
    SessionState,
)
from ilab_chat.v1.memory_pb2 import ListFactsRequest
from ilab_chat.v1.memory_pb2_grpc import MemoryServiceStub
from processes import run_forked


def cli(served: Served, name: str, user: str, *arguments: str, stdin: str = "") -> CompletedProcess[str]:
    command = ("memory", name, "--address", served.address, "--user", user, *arguments)
    return run_forked("ilab-chat", *command, stdin=stdin.encode())


def answer(served: Served, name: str, user: str, *arguments: str) -> Any:
    ended = cli(served, name, user, *arguments)
    assert (ended.returncode, ended.stderr) == (0, "")
    return json.loads(ended.stdout)


def test_a_life_of_a_memory(served: Served) -> None:
    with ChatClient(served.address) as client:
        memory = client.memory
        session = memory.start_session("life")
        assert session.new_session
        saved = memory.save("life", "Prefers trains.", type="preference", title="Travel", topic_key="travel")
        assert (saved.outcome, saved.session_id) == (SaveOutcome.SAVE_OUTCOME_CREATED, session.session_id)
        again = memory.save(
            "life", "Prefers <private>night</private> boats.", type="preference", title="Travel", topic_key="travel"
        )
        assert (again.outcome, again.id) == (SaveOutcome.SAVE_OUTCOME_UPDATED, saved.id)
        assert memory.get("life", saved.id).content == "Prefers [REDACTED] boats."

        found = memory.search("life", "Which boats?", types=["preference"])
        assert [each.id for each in found] == [saved.id]
        assert memory.search("life", "Which boats?", types_exclude=["preference"]) == ()

        summary = memory.summarize_session("life", "Spoke about boats.")
        assert [each.id for each in memory.timeline("life", saved.id)] == [saved.id, summary.id]
        ended = memory.end_session("life", "Boats it is.")
        assert (ended.id, ended.state) == (session.session_id, SessionState.SESSION_STATE_COMPLETED)
        assert [each.summary for each in memory.start_session("life").recent_sessions] == ["Boats it is."]

        held = memory.stats("life")
        by_type = memory.stats("life", by_type=True)
        assert (by_type.observations, by_type.sessions) == (held.observations, held.sessions)
        assert sum(each.observations for each in by_type.types) == held.observations
        assert by_type.first_time.ToDatetime() <= by_type.last_time.ToDatetime()
        items = list(memory.export("life"))
        for place, item in enumerate(items):
            if isinstance(item, Observation):
                assert item.session_id in [before.id for before in items[:place] if isinstance(before, Session)]
        assert sum(isinstance(item, Session) for item in items) == held.sessions == 2
        assert sum(isinstance(item, Observation) for item in items) == held.observations
        assert memory.forget("life") == held.observations
        assert list(memory.export("life")) == []


async def test_a_turn_is_remembered_for_its_user_only(served: Served) -> None:
    async with AsyncChatClient(served.address) as client:
        turn = await client.chat("turn-alice", "I love hiking.")
        [fact] = turn.remembered
        assert (fact.type, fact.content) == ("preference", "I love hiking.")
        stored = {turn.observation_id, fact.observation_id}
        assert {each.id for each in await client.memory.search("turn-alice", "hiking")} == stored
        items = [item async for item in client.memory.export("turn-alice")]
        assert {item.id for item in items if isinstance(item, Observation)} == stored
        [listed] = [each async for each in client.memory.list_facts("turn-alice")]
        assert (listed.observation_id, listed.content) == (fact.observation_id, fact.content)
        assert listed.source_observation_ids == [turn.observation_id]
        assert [each async for each in client.memory.list_facts("turn-bob")] == []
        assert await client.memory.search("turn-bob", "hiking") == ()
        assert await client.memory.timeline("turn-bob", turn.observation_id) == ()
        with pytest.raises(NotFound):
            await client.memory.get("turn-bob", turn.observation_id)
        with pytest.raises(NotFound):
            await client.memory.end_session("turn-bob", "nothing")


async def test_bad_input_names_its_fields(served: Served) -> None:
    async with AsyncChatClient(served.address) as client:
        memory = client.memory
        for call, field in [
            (memory.save("bad", "hikes", type="hobby", title="t"), "type"),
            (memory.save("bad", " ", type="profile", title="t"), "content"),
            (memory.search("bad", "q", limit=101), "page_size"),
            (memory.search("bad", "q", types=["profile"], types_exclude=["summary"]), "types"),
            (memory.get("bad", 0), "observation_id"),
            (memory.stats(" "), "user_id"),
            (anext(memory.export(" ")), "user_id"),
        ]:
            with pytest.raises(InvalidArgument) as caught:
                await call
            assert caught.value.reason == "INVALID_FIELD"
            assert field in [violation.field for violation in caught.value.field_violations]


async def test_leaving_an_export_leaves_the_service_free(served: Served) -> None:
    async with AsyncChatClient(served.address) as client:
        for number in range(3):
            await client.memory.save("leave", f"hikes {number}", type="profile", title=f"t{number}")
        async with client.memory.export("leave") as export:
            assert isinstance(await anext(export), Session)
        assert await client.memory.forget("leave") == 3


def test_the_commands(served: Served, tmp_path: Path) -> None:
    with ChatClient(served.address) as client:
        ids = [
            client.memory.save("cli", f"hikes in valley {number}", type=kind, title=f"Hike {number}").id
            for number, kind in enumerate(["profile", "preference", "preference"])
        ]
    found = answer(served, "search", "cli", "--type", "preference", "--limit", "5", "Which", "valley?")
    assert {int(each["id"]) for each in found["observations"]} == set(ids[1:])
    seen = answer(served, "timeline", "cli", str(ids[1]))
    assert [int(each["id"]) for each in seen["observations"]] == ids
    stats = answer(served, "stats", "cli")
    assert (stats["observations"], stats["sessions"]) == ("3", "1")
    assert {each["type"]: each["observations"] for each in stats["types"]} == {"preference": "2", "profile": "1"}

    file = tmp_path / "cli.jsonl"
    assert cli(served, "export", "cli", "--output", str(file)).returncode == 0
    lines = file.read_text()
    assert lines == cli(served, "export", "cli").stdout
    assert [next(iter(json.loads(line))) for line in lines.splitlines()] == ["session", *["observation"] * 3]

    refused = cli(served, "forget", "cli", stdin="cli\n")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert answer(served, "stats", "cli")["observations"] == "3"
    assert answer(served, "forget", "cli", "--yes") == {"observations": "3"}
    stats = answer(served, "stats", "cli")
    assert (stats["observations"], stats["sessions"], stats["types"]) == ("0", "0", [])
    assert cli(served, "export", "cli").stdout == ""


async def test_lists_edits_and_imports(served: Served) -> None:
    async with AsyncChatClient(served.address) as client:
        memory = client.memory
        saved = [await memory.save("edit", f"fact {number}", type="profile", title=f"t{number}") for number in range(5)]
        ids = [each.id for each in saved]
        listed = [each.id async for each in memory.list_observations("edit", types=["profile"], page_size=2)]
        assert listed == ids[::-1]
        again = await memory.save("edit", "fact 0", type="profile", title="t0", request_id="r-1")
        assert again.outcome == SaveOutcome.SAVE_OUTCOME_DEDUPED
        with pytest.raises(RequestIdReused):
            await memory.save("edit", "fact 1", type="profile", title="t1", request_id="r-1")
        await memory.update("edit", ids[0], content="a newer fact")
        assert (await memory.get("edit", ids[0])).content == "a newer fact"
        await memory.delete("edit", ids[1])
        with pytest.raises(NotFound):
            await memory.get("edit", ids[1])
        added = await memory.import_items("moved", memory.export("edit"))
        assert (added.sessions, added.observations) == (1, 4)
        [session] = [each async for each in memory.list_sessions("moved")]
        assert session.state == SessionState.SESSION_STATE_ACTIVE
        other = await memory.start_session("edit", conversation_id="c-1")
        assert other.new_session
        assert [each.id async for each in memory.list_sessions("edit", conversation_id="c-1")] == [other.session_id]


async def test_facts_are_listed_pinned_first_until_they_expire(served: Served) -> None:
    async with AsyncChatClient(served.address) as client:
        memory = client.memory

        async def listed(**options: Any) -> list[int]:
            return [each.observation_id async for each in memory.list_facts("facts", **options)]

        kinds = ["profile", "preference", "decision", "pattern"]
        ids = [(await memory.save("facts", f"about {kind}", type=kind, title=kind)).id for kind in kinds]
        await memory.save("facts", "learned", type="discovery", title="no fact")
        soon, past = datetime.now(UTC) + timedelta(days=1), datetime.now(UTC) - timedelta(days=1)
        await memory.update("facts", ids[1], pinned=True)
        assert await listed() == [ids[1], ids[3], ids[2], ids[0]]
        assert await listed(page_size=1) == [ids[1], ids[3], ids[2], ids[0]]
        assert await listed(types=["profile", "preference"]) == [ids[1], ids[0]]
        await memory.update("facts", ids[0], expire_time=soon)
        [fact] = [each async for each in memory.list_facts("facts", types=["profile"])]
        assert abs(fact.expire_time.ToDatetime(UTC) - soon) < timedelta(milliseconds=1)
        await memory.update("facts", ids[0], expire_time=NEVER)
        [fact] = [each async for each in memory.list_facts("facts", types=["profile"])]
        assert not fact.HasField("expire_time")
        await memory.update("facts", ids[1], pinned=False, expire_time=past)
        assert ids[1] not in await listed()


def test_a_page_token_of_another_list_of_facts_is_refused(served: Served) -> None:
    with ChatClient(served.address) as client:
        for number in range(2):
            client.memory.save("facts-page", f"fact {number}", type="profile", title=f"t{number}")
    with grpc.insecure_channel(served.address) as channel:
        stub = MemoryServiceStub(channel)
        token = stub.ListFacts(ListFactsRequest(user_id="facts-page", page_size=1)).next_page_token
        assert token
        for other in (
            ListFactsRequest(user_id="facts-page", types=["profile"], page_token=token),
            ListFactsRequest(user_id="facts-other", page_token=token),
        ):
            with pytest.raises(grpc.RpcError) as caught:
                stub.ListFacts(other)
            assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
            assert "page_token" in str(caught.value.details())
        with pytest.raises(grpc.RpcError) as caught:
            stub.ListFacts(ListFactsRequest(user_id="facts-page", types=["discovery"]))
        assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT


def test_an_export_is_imported_by_the_commands(served: Served, tmp_path: Path) -> None:
    with ChatClient(served.address) as client:
        saved = client.memory.save("cli-move", "hikes", type="profile", title="Hobby")
    file = str(tmp_path / "export.jsonl")
    assert cli(served, "export", "cli-move", "--output", file).returncode == 0
    assert answer(served, "import", "cli-moved", file) == {"sessions": "1", "observations": "1"}
    assert answer(served, "import", "cli-moved", file) == {"sessions": "0", "observations": "0"}
    listed = answer(served, "list", "cli-moved")["observations"]
    assert [each["title"] for each in listed] == ["Hobby"]
    assert len(answer(served, "sessions", "cli-moved")["sessions"]) == 1
    changed = answer(served, "edit", "cli-move", str(saved.id), "--title", "Sport")
    assert changed["result"]["outcome"] == "SAVE_OUTCOME_UPDATED"
    assert answer(served, "delete", "cli-move", str(saved.id), "--yes") == {}
    assert answer(served, "list", "cli-move")["observations"] == []


def test_a_failing_command_is_one_line(served: Served) -> None:
    ended = cli(served, "search", " ", "hiking")
    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (1, "", 1)
    assert ended.stderr.startswith("ilab-chat: INVALID_ARGUMENT INVALID_FIELD: ")
    assert "user_id" in ended.stderr
    missing = cli(served, "timeline", "cli-nobody", "7")
    assert (missing.returncode, missing.stderr) == (1, "ilab-chat: the user has no observation 7\n")


async def test_a_long_export_has_each_item_once(served: Served) -> None:
    async with AsyncChatClient(served.address) as client:
        memory = client.memory
        ids = set()
        for first in range(0, 300, 6):
            numbers = range(first, first + 6)
            saves = [memory.save("long", f"fact {number}", type="profile", title=f"t{number}") for number in numbers]
            ids |= {saved.id for saved in await asyncio.gather(*saves)}
        exported = [item.id async for item in memory.export("long") if isinstance(item, Observation)]
        assert len(exported) == len(ids) == 300
        assert set(exported) == ids
        assert await memory.forget("long") == 300
