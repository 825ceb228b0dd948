"""Conversations of several people: rows that begin with the speaker's name, and questions that name one."""

import pytest

from ilab_memory import ILabMemory
from ilab_memory.core.store import Document
from ilab_memory.recall.message_query import read
from ilab_memory.recall.ranking import length_gain
from ilab_memory.recall.speakers import as_speaker, label, without_label
from memory.concepts import Concepts

QUESTION = "Which food must Leila avoid?"


@pytest.fixture
def embedder() -> Concepts:
    return Concepts()


def say(mem: ILabMemory, *messages: str) -> None:
    for message in messages:
        mem.mem_save("alice", message, type="discovery", title=message[:60])


def talk(mem: ILabMemory, *messages: str) -> None:
    """Save *messages* in a conversation of two people about something else."""
    names = ("Leila", "Tomas")
    say(mem, *(f"{names[day % 2]}: I painted fence number {day} green today." for day in range(20)), *messages)
    mem.mem_embed()


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("Leila: I moved to Porto.", "Leila"),
        ("Anna Maria: We moved.", "Anna Maria"),
        ("leila: I moved.", ""),
        ("The plan: I move.", ""),
        ("User: I moved.", ""),
        ("I moved to: Porto.", ""),
        ("10: I moved.", ""),
        ("https://example.org", ""),
    ],
)
def test_a_label_is_one_or_two_capitalized_words(said: str, name: str) -> None:
    assert label(said) == name


def test_a_topic_before_a_colon_is_kept() -> None:
    assert without_label("Leila: I moved to Porto.") == "I moved to Porto."
    assert without_label("Diet: vegan since May") == "Diet: vegan since May"


@pytest.mark.parametrize(
    ("message", "asked"),
    [
        ("What did Leila buy?", "What did I buy?"),
        ("What's Leila's job?", "What's my job?"),
        ("Where does Tomas live?", "Where does Tomas live?"),
        ("Was hat Leila gekauft?", "Was hat  gekauft?"),
    ],
)
def test_a_question_about_a_speaker_is_asked_as_by_the_speaker(message: str, asked: str) -> None:
    assert as_speaker(message, {"leila"}, read(message).spoken) == asked


def test_what_a_named_speaker_said_is_found_by_its_meaning(mem: ILabMemory, embedder: Concepts) -> None:
    talk(mem, "Leila: Peanuts make me ill.")
    assert "Peanuts make me ill." in embedder.texts
    first = mem.mem_recall("alice", QUESTION, limit=1)
    assert [hit.passage for hit in first] == ["Leila: Peanuts make me ill."]
    assert embedder.texts[-1] == "Which food must I avoid?"


def test_a_name_that_few_rows_have_is_left_in_the_question(mem: ILabMemory, embedder: Concepts) -> None:
    talk(mem, "Tomas: Peanuts make Zoe sick.")
    mem.mem_recall("alice", "Which food must Zoe avoid?")
    assert embedder.texts[-1] == "Which food must Zoe avoid?"


def test_of_equal_messages_that_of_the_named_speaker_comes_first(mem: ILabMemory) -> None:
    talk(mem, "Leila: I repaired the boat with Tomas.", "Tomas: I repaired the boat with Leila.")
    hits = mem.mem_recall("alice", "What did Leila repair?")
    assert hits[0].passage == "Leila: I repaired the boat with Tomas."


def test_a_longer_message_gains_more_than_a_longer_turn() -> None:
    def gain(terms: int, reply: int) -> float:
        return length_gain(Document(1, 1, "discovery", "", 1, 0, terms, reply, 0))

    assert 0 < gain(3, reply=0) < gain(12, reply=0) < gain(60, reply=0) == gain(500, reply=0)
    assert gain(12, reply=9) - gain(3, reply=9) < gain(12, reply=0) - gain(3, reply=0)


def test_a_message_that_says_a_time_comes_first_if_the_question_asks_when(mem: ILabMemory) -> None:
    say(mem, "Leila: The regatta was last Friday.", "Leila: The regatta was such fun.")
    assert mem.mem_recall("alice", "When did Leila race in the regatta?")[0].passage.endswith("last Friday.")
