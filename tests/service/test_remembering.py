"""Facts that expire, are erased or are private. For other cases of memory see `test_memory_cases_*.py`."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ilab_chat.v1 import chat_pb2, memory_pb2
from ilab_chat_service.memory.executor import open_memory
from ilab_chat_service.memory.expiry import erase_expired
from ilab_chat_service.settings import Settings, SettingsError
from ilab_memory import Config, ILabMemory
from service.talking import Caller


async def test_a_preview_of_forget_that_erases_nothing(alice: Caller) -> None:
    await alice.say("My shoe size is 43.")
    request = chat_pb2.PreviewPromptRequest(user_id=alice.user_id, message="Forget that.")
    preview = await alice.stub.PreviewPrompt(request)
    assert "43" not in str(preview.messages)
    await alice.say("Forget that.", memory_mode=chat_pb2.MEMORY_MODE_READ_ONLY)
    assert await alice.facts() == ["My shoe size is 43."]


async def test_private_text_becomes_no_fact_and_no_statement(alice: Caller) -> None:
    await alice.say("<private>My name is Zebulon.</private> I live in <private>Timbuktu</private>. I work a lot.")
    stored = str(await alice.observations()) + (await alice.prompt()).text
    assert "Zebulon" not in stored
    assert "Timbuktu" not in stored


async def test_deleting_a_turn_deletes_the_fact_that_it_alone_made(alice: Caller) -> None:
    turn = await alice.say("I live in Hamburg.")
    await alice.memory.DeleteObservation(
        memory_pb2.DeleteObservationRequest(user_id=alice.user_id, observation_id=turn.observation_id)
    )
    assert await alice.facts() == []
    assert await alice.observations() == []


async def test_facts_outlive_the_turn_that_latest_only_overwrites(alice: Caller) -> None:
    latest: dict[str, Any] = {"turn_retention": chat_pb2.TURN_RETENTION_LATEST_ONLY}
    said = await alice.say("I live in Hamburg.", **latest)
    assert len(said.remembered) == 1
    await alice.say("Tell me a joke.", **latest)
    assert await alice.facts() == ["I live in Hamburg."]


async def test_a_saved_fact_is_in_every_prompt_until_it_expires(alice: Caller) -> None:
    request = memory_pb2.SaveObservationRequest(
        user_id=alice.user_id, type="profile", title="Diet", content="Allergic to peanuts and shellfish."
    )
    request.expire_time.FromDatetime(alice.clock() + timedelta(days=2))
    await alice.memory.SaveObservation(request)
    alice.clock.go_by(1)
    assert "Allergic to peanuts and shellfish." in (await alice.prompt("Hello!")).system
    assert "Diet [" in (await alice.prompt("Hello!")).system
    alice.clock.go_by(2)
    assert "peanuts" not in (await alice.prompt("Hello!")).text
    assert await alice.facts() == []


async def test_retention_erases_what_is_older(settings: Settings) -> None:
    def save() -> None:
        for days, kind in ((100, "discovery"), (10, "discovery"), (100, "profile")):
            then = datetime.now(UTC) - timedelta(days=days)
            config = Config(clock=lambda then=then: then)  # type: ignore[misc]
            with ILabMemory.from_path(settings.memory_db_path, config) as memory:
                memory.mem_save("alice", f"{kind} of {days} days", type=kind, title="t")

    await asyncio.to_thread(save)
    kept = replace(settings, retention_days="discovery=90, summary=365")
    retention = {kind: timedelta(days=days) for kind, days in kept.retention_by_type.items()}
    async with open_memory(kept) as library:
        await erase_expired(library, retention)
        rows = await library.read("alice", lambda memory: memory.mem_list("alice"))
    assert sorted(row.content for row in rows) == ["discovery of 10 days", "profile of 100 days"]


@pytest.mark.parametrize("retention", ["never", "0", "-1", "discovery=", "discovery=x", "1e9", "nan"])
def test_a_bad_retention_is_refused(settings: Settings, retention: str) -> None:
    with pytest.raises(SettingsError, match="ILAB_MEMORY_RETENTION_DAYS"):
        replace(settings, retention_days=retention).check_memory()


async def test_turns_of_a_named_day_are_found_in_the_time_zone_of_the_call(alice: Caller) -> None:
    await alice.say("Which screws fit an oak door?", conversation_id="c-1")
    for zone in ("", "Pacific/Kiritimati"):
        await alice.say("What did we talk about in the last two days?", conversation_id="c-2", time_zone=zone)
        asked = alice.upstream.requests[-1].messages[-1]["content"]
        assert "Which screws fit an oak door?" in asked
    await alice.say("What did we talk about in May 2019?", conversation_id="c-3", time_zone="Pacific/Kiritimati")
    assert "screws" not in alice.upstream.requests[-1].messages[-1]["content"]
