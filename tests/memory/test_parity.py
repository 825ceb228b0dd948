"""SQLite and PostgreSQL answer alike: the same questions to both, on the same conversations."""

import hashlib
import importlib.util
import os
import random
import re
import sys
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ilab_memory import Config, ILabMemory
from ilab_memory.core.store import EXACT_POSITIONS
from ilab_memory.recall.analysis import fields
from ilab_memory.recall.bm25f import NEIGHBOUR_TERMS
from ilab_memory.recall.coverage import MOST_EXACT
from ilab_memory.stores.postgres import PostgresStore
from ilab_memory.stores.postgres.blind_index import IndexEntry, places, token
from ilab_memory.stores.sqlite import SQLiteStore
from memory.concepts import DIMENSIONS, Concepts
from memory.support import Clock
from postgres import Cluster

#: Thousands of queries to two stores take minutes on a busy machine.
pytestmark = pytest.mark.timeout(900)

#: Questions to both stores, in each test.
QUERIES = 1_000 if os.environ.get("ILAB_SOAK") else 200
UNSPACED = (
    "我们下周去京都旅行 预订了靠近车站的旅馆 妹妹喜欢绿茶 不喝咖啡 周末搬家",
    "来週は京都に旅行します 駅の近くのホテルを予約しました 妹は緑茶が好きです コーヒーは飲みません",
    "สัปดาห์หน้าเราจะไปเที่ยวเกียวโต จองโรงแรมใกล้สถานีแล้ว น้องสาวชอบชาเขียว ไม่ดื่มกาแฟ",
)


class Words(Concepts):
    """Texts that share words are near each other, so that most messages have rows near them."""

    def embed(self, text: str) -> Collection[float]:
        found = np.zeros(DIMENSIONS)
        for word in {"", *re.findall(r"\w+", text.lower())}:
            found[hashlib.sha256(word.encode()).digest()[0] % DIMENSIONS] += 1
        values: list[float] = found.tolist()
        return values


class Both(NamedTuple):
    sqlite: ILabMemory
    postgres: ILabMemory
    clock: Clock

    def save(self, user_id: str, content: str, topic_key: str | None = None) -> None:
        self.clock.forward(minutes=10)
        for mem in (self.sqlite, self.postgres):
            mem.mem_save(user_id, content, type="discovery", title=content[:60], topic_key=topic_key)

    def end(self, user_id: str) -> None:
        for mem in (self.sqlite, self.postgres):
            mem.mem_session_end(user_id, summary="ended")


@pytest.fixture(scope="module")
def both(postgres: Cluster) -> Iterator[Both]:
    clock = Clock()
    config = Config(clock=clock, embedder=Words())
    with (
        ILabMemory(SQLiteStore(":memory:"), config) as sqlite,
        ILabMemory(PostgresStore(postgres.create_database(), partitions=2), config) as other,
    ):
        yield Both(sqlite, other, clock)


class Conversed(NamedTuple):
    """The texts that a user said, as words or characters, and questions about them."""

    user_id: str
    questions: list[str]
    texts: Sequence[Sequence[str]] = ()
    blank: str = ""


def bench(name: str) -> ModuleType:
    """Import a module of bench/, where conversations are made up."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).parents[2] / f"bench/{name}.py")
    assert spec
    assert spec.loader
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def conversed(both: Both) -> list[Conversed]:
    """Save conversations of every kind."""
    dice = random.Random(6)
    bench("recall_material")
    bench("recall_unshared")
    inflected = bench("recall_inflected")
    recall = bench("recall")
    saved = []
    for kind in (recall.people, recall.assistant):
        for seed in range(2):
            conversation, user_id = kind(seed), f"{kind.__name__} {seed}"
            for session in conversation.sessions:
                for number, text in enumerate(session):
                    # Some are saved again under their key, and so move to the end.
                    both.save(user_id, text, f"key {number}" if dice.random() < 0.05 else None)
                both.end(user_id)
            texts = [text.split() for session in conversation.sessions for text in session]
            saved.append(Conversed(user_id, [question.text for question in conversation.questions], texts, " "))
    for language, pairs in inflected.PAIRS.items():
        for said, _ in pairs:
            both.save(language, said)
        saved.append(Conversed(language, [question for _, question in pairs]))
    sentences = [sentence for text in UNSPACED for sentence in text.split()]
    for _ in range(60):
        both.save("unspaced", f"{dice.choice(sentences)}, {dice.choice(sentences)} tea")
    saved.append(Conversed("unspaced", [], sentences))
    return saved


def asked(dice: random.Random, conversed: list[Conversed]) -> Iterator[tuple[str, str]]:
    """Yield users and what to ask about their conversations: questions, and pieces of what was said."""
    for each in conversed:
        yield from ((each.user_id, question) for question in each.questions)
        for _ in range(QUERIES // 5 if each.texts else 0):
            parts = dice.choice(each.texts)
            begin = dice.randrange(len(parts))
            yield each.user_id, each.blank.join(parts[begin : begin + dice.randint(1, 6)])


def answer(mem: ILabMemory, user_id: str, query: str) -> list[tuple[str, str, float]]:
    return [(row.title, row.snippet, row.score) for row in mem.mem_search(user_id, query)]


def relevant(mem: ILabMemory, user_id: str, message: str) -> list[tuple[str, str, float]]:
    hits = mem.mem_recall(user_id, message, limit=10, previous="Where is my red kettle?")
    return [(hit.title, hit.passage, hit.score) for hit in hits]


def test_both_stores_return_the_same_first_ten(both: Both, conversed: list[Conversed]) -> None:
    queries = list(asked(random.Random(6), conversed))
    assert len(queries) >= QUERIES
    assert len({query for _, query in queries}) > QUERIES // 2
    found = 0
    for user_id, query in queries:
        of_sqlite = answer(both.sqlite, user_id, query)
        assert answer(both.postgres, user_id, query) == of_sqlite
        found += bool(of_sqlite)
    assert found > 0.9 * len(queries)


@pytest.fixture(scope="module")
def embedded(both: Both, conversed: list[Conversed]) -> list[Conversed]:
    assert both.sqlite.mem_embed() == both.postgres.mem_embed() > 500
    return conversed


@pytest.mark.parametrize("most_exact", [MOST_EXACT, 20])
def test_both_stores_recall_the_same_by_words_and_by_meaning(
    both: Both, embedded: list[Conversed], monkeypatch: pytest.MonkeyPatch, most_exact: int
) -> None:
    monkeypatch.setattr("ilab_memory.recall.coverage.MOST_EXACT", most_exact)
    queries = list(asked(random.Random(most_exact), embedded))
    found = 0
    for user_id, query in queries:
        of_sqlite = relevant(both.sqlite, user_id, query)
        assert relevant(both.postgres, user_id, query) == of_sqlite
        found += bool(of_sqlite)
    assert found > 0.5 * len(queries)


@pytest.mark.parametrize(
    "content",
    [
        "tea " * 300 + "coffee",
        " ".join(f"w{number}" for number in range(20_000)) + " tea",
        "User: tea " + "tea coffee " * 9_000 + "\nAssistant: " + "tea " * 500,
        "it's 1,000.50 naïve 'quoted' back\\slash \"double\" tab\t _under_score_ #tea é",
    ],
)
def test_both_stores_score_unusual_contents_the_same(both: Both, content: str) -> None:
    both.save("odd", content)
    both.save("odd", "green tea, and coffee")
    for query in ("tea", "coffee", "tea coffee w7", "w19999", "quoted naive", "back slash", "1000.50"):
        assert answer(both.postgres, "odd", query) == answer(both.sqlite, "odd", query)


@settings(max_examples=200, deadline=None)
@given(
    said=st.lists(st.sampled_from("tea milk cup".split()), min_size=1, max_size=300),
    reply=st.lists(st.sampled_from("tea milk pot".split()), max_size=300),
)
def test_postings_have_the_documented_positions(said: list[str], reply: list[str]) -> None:
    content = f"User: {' '.join(said)}\nAssistant: {' '.join(reply)}"
    secret = b"0123456789abcdef"
    expected = sorted(
        (term, field, min(place, EXACT_POSITIONS))
        for field, terms in fields("milk", content)._asdict().items()
        for place, term in enumerate(terms)
    )
    tokens = {token(secret, term): term for term, _, _ in expected}
    kept = places(7, IndexEntry("milk", content).vector(secret), tokens)
    assert sorted((term, field, place) for term, (_, field, place) in kept) == expected


def test_ranking_uses_only_exact_positions() -> None:
    assert NEIGHBOUR_TERMS <= EXACT_POSITIONS
