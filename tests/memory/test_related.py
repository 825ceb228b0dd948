"""Statements of the user that are near to a message in meaning, on every store."""

from datetime import timedelta
from typing import Any

import pytest

from ilab_memory import Config, ILabMemory, Store
from memory import support
from memory.concepts import Concepts
from memory.support import Clock


@pytest.fixture
def embedder() -> Concepts:
    return Concepts()


def say(mem: ILabMemory, *messages: str, **more: Any) -> None:
    support.say(mem, *messages, **more)
    mem.mem_embed()


def related(mem: ILabMemory, message: str = "Any meals I should avoid?", **more: Any) -> list[str]:
    return [hit.passage for hit in mem.mem_related("alice", message, **more)]


def test_the_nearest_statements_come_first_without_their_questions(mem: ILabMemory) -> None:
    say(mem, "I painted the fence green.", "I'm allergic to nuts. Is that bad?", "My job is joiner.", "I eat peanuts!")
    found = related(mem)
    assert set(found[:2]) == {"I eat peanuts!", "I'm allergic to nuts."}
    assert set(found[2:]) == {"I painted the fence green.", "My job is joiner."}
    assert related(mem, limit=2) == found[:2]


def test_statements_too_far_for_a_search_are_related(mem: ILabMemory) -> None:
    say(mem, *(f"I painted fence number {number} green today." for number in range(30)), "We have a beagle.")
    message = "Which wedding gift would my neighbour like?"
    assert mem.mem_recall("alice", message) == []
    assert "We have a beagle." in related(mem, message, limit=31)


@pytest.mark.parametrize(
    "message", ["Hello!", "What is the capital of Peru?", "How far away is the moon?", "My meals have no nuts."]
)
def test_nothing_is_related_to_greetings_the_world_and_what_asks_nothing(mem: ILabMemory, message: str) -> None:
    say(mem, "I'm allergic to nuts.", "We have a beagle.")
    assert related(mem, message) == []


def test_what_was_said_twice_comes_once(mem: ILabMemory) -> None:
    say(mem, "I eat nuts.", "We have a beagle.", "i eat  nuts", "I eat nuts!")
    assert [text.casefold().strip("!.") for text in related(mem)].count("i eat nuts") == 1


def test_only_rows_of_the_user_that_may_be_shown_are_related(mem: ILabMemory, clock: Clock) -> None:
    say(mem, "I eat fish food.", user_id="bob")
    say(mem, "I eat nuts.", expire_time=clock() + timedelta(days=1))
    say(mem, "I eat soup meals.")
    mem.mem_save("alice", "I eat cake food.", type="preference", title="cake")
    mem.mem_embed()
    assert set(related(mem)) == {"I eat nuts.", "I eat soup meals.", "I eat cake food."}
    assert related(mem, types=["preference"]) == ["I eat cake food."]
    clock.forward(days=2)
    assert set(related(mem)) == {"I eat soup meals.", "I eat cake food."}


def test_both_searches_for_a_message_read_the_vectors_once(mem: ILabMemory) -> None:
    say(mem, "I eat nuts.")
    meaning = mem.mem_meaning("Any meals I should avoid?")
    assert mem.mem_recall("alice", "Any meals I should avoid?", meaning=meaning)
    say(mem, "I eat peanuts.")
    assert related(mem, meaning=meaning) == ["I eat nuts."]
    assert set(related(mem)) == {"I eat nuts.", "I eat peanuts."}


def test_without_an_embedder_nothing_is_related(store: Store, clock: Clock) -> None:
    mem = ILabMemory(store, Config(clock=clock))
    say(mem, "I eat nuts.")
    assert related(mem) == []
    with pytest.raises(ValueError, match="limit"):
        mem.mem_related("alice", "food?", limit=0)
