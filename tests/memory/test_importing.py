"""mem_import is the inverse of mem_export, may be repeated, and redacts again."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from batch import cases
from ilab_memory import ILabMemory, Observation, Session, StorageError
from ilab_memory.import_batches import ImportedSources, batches
from ilab_memory.limits import IMPORT_ITEMS, MAX_SOURCES, MOST_COMPARED, MOST_WAITING_SOURCES
from ilab_memory.stores.sqlite import SQLiteStore, edits, user_erasure
from ilab_memory.stores.sqlite.write_queue import Transaction
from memory.support import EPOCH, Clock, text

USER = "alice"


def filled(mem: ILabMemory, clock: Clock, user_id: str = USER, sessions: int = 4) -> list[Session | Observation]:
    """Save what an export can contain, and return the export."""
    for session in range(sessions):
        for number in range(4):
            clock.forward(minutes=7)
            mem.mem_save(
                user_id,
                f"turn {session} {number} of tea",
                type=("discovery", "profile")[number % 2],
                title=f"t{number}",
                topic_key=f"key {number}" if number == 3 else None,
                conversation_id=("", "a")[session % 2],
            )
        clock.forward(minutes=1)
        mem.mem_session_summary(user_id, f"summary {session}", conversation_id=("", "a")[session % 2])
        if session % 2:
            mem.mem_session_end(user_id, summary=f"end {session}", conversation_id="a")
        clock.forward(days=2)
    mem.mem_session_start(user_id)
    (first, *_) = [item for item in mem.mem_export(user_id) if isinstance(item, Observation)]
    mem.mem_update(user_id, first.id or 0, content="corrected later")
    return list(mem.mem_export(user_id))


def comparable(items: Iterable[Session | Observation]) -> list[dict[str, object]]:
    """The fields that an import keeps: all but ids and user. Sessions are named by their position."""
    places: dict[str, int] = {}
    found = []
    for item in items:
        if isinstance(item, Session):
            places[item.id] = len(places)
            found.append(item.model_dump(exclude={"id", "user_id"}))
        else:
            found.append(item.model_dump(exclude={"id", "user_id"}) | {"session_id": places[item.session_id]})
    return found


def test_an_export_comes_back_as_it_was(mem: ILabMemory, clock: Clock) -> None:
    exported = filled(mem, clock)
    sessions = sum(isinstance(item, Session) for item in exported)
    result = mem.mem_import("bob", exported)
    assert (result.sessions, result.observations) == (sessions, len(exported) - sessions)
    imported = list(mem.mem_export("bob"))
    assert comparable(imported) == comparable(exported)
    assert {item.user_id for item in imported} == {"bob"}
    assert not {item.id for item in imported} & {item.id for item in exported}
    ids = [item.id or 0 for item in imported if isinstance(item, Observation)]
    assert ids == sorted(ids)
    assert mem.mem_stats("bob") == mem.mem_stats(USER)
    assert mem.mem_search("bob", "turn 2 1")[0].snippet == mem.mem_search(USER, "turn 2 1")[0].snippet
    # It goes on as the original would.
    assert mem.mem_save("bob", "more", type="discovery", title="t").id > ids[-1]
    assert mem.mem_save("bob", "new", type="discovery", title="t", topic_key="key 3").outcome == "updated"


def test_repeating_an_import_adds_nothing(mem: ILabMemory, clock: Clock) -> None:
    exported = filled(mem, clock)
    mem.mem_import("bob", exported)
    once = list(mem.mem_export("bob"))
    again = mem.mem_import("bob", exported)
    assert (again.sessions, again.observations) == (0, 0)
    assert list(mem.mem_export("bob")) == once


@pytest.mark.parametrize("differs", ["created_at", "content"])
def test_repeating_an_import_of_many_similar_rows_adds_nothing(mem: ILabMemory, differs: str) -> None:
    items: list[Session | Observation] = [session()]
    for number in range(2 * MOST_COMPARED):
        value = text(EPOCH + timedelta(seconds=number)) if differs == "created_at" else f"note {number}"
        items.append(item(**{differs: value}))
    assert mem.mem_import(USER, items).observations == 2 * MOST_COMPARED
    repeated = mem.mem_import(USER, items)
    assert (repeated.sessions, repeated.observations) == (0, 0)


def test_importing_into_the_user_who_was_exported_adds_what_is_missing(mem: ILabMemory, clock: Clock) -> None:
    exported = filled(mem, clock)
    again = mem.mem_import(USER, exported)
    assert (again.sessions, again.observations) == (0, 0)
    (row, *_) = mem.mem_list(USER, types=["profile"])
    mem.mem_delete(USER, row.id or 0)
    assert mem.mem_import(USER, exported).observations == 1
    assert comparable(mem.mem_export(USER)) == comparable(exported)


def test_a_forgotten_user_can_be_restored_from_an_export(mem: ILabMemory, clock: Clock) -> None:
    exported = filled(mem, clock)
    mem.mem_forget(USER)
    mem.mem_import(USER, exported)
    assert comparable(mem.mem_export(USER)) == comparable(exported)


@pytest.mark.parametrize("store", ["sqlite-file", "sqlite-memory"], indirect=True)
def test_an_export_is_imported_again_while_the_erasure_of_its_user_is_pending(mem: ILabMemory, clock: Clock) -> None:
    exported = filled(mem, clock)
    assert isinstance(mem._store, SQLiteStore)
    for _ in range(2):
        # A process that is killed during mem_forget leaves this state.
        mem._store._writer.run("forget the user", lambda transaction: user_erasure.mark_deleted(transaction, USER))
        mem.mem_import(USER, exported)
    assert comparable(mem.mem_export(USER)) == comparable(exported)
    assert mem.mem_finish_forgetting() == 0
    assert comparable(mem.mem_export(USER)) == comparable(exported)


def test_an_import_is_made_in_batches_and_an_interrupted_one_can_be_repeated(mem: ILabMemory, clock: Clock) -> None:
    exported = filled(mem, clock, sessions=40)
    assert len(exported) > 200

    def broken() -> Iterator[Session | Observation]:
        yield from exported[: 2 * IMPORT_ITEMS + 10]
        raise OSError

    with pytest.raises(OSError):  # noqa: PT011 - the caller's own
        mem.mem_import("bob", broken())
    assert mem.mem_stats("bob")["sessions"] + mem.mem_stats("bob")["observations"] == 2 * IMPORT_ITEMS
    rest = mem.mem_import("bob", iter(exported))
    assert rest.sessions + rest.observations == len(exported) - 2 * IMPORT_ITEMS
    assert comparable(mem.mem_export("bob")) == comparable(exported)


def test_batches_are_bounded_in_bytes() -> None:
    given = [item(content="é" * 100_000) for _ in range(3)]
    assert [len(batch.rows) for batch in batches(given)] == [2, 1]
    ended = [session(id=f"s{place}", summary="é" * 100_000) for place in range(3)]
    assert [len(batch.sessions) for batch in batches(ended)] == [2, 1]


@pytest.mark.parametrize("store", ["sqlite-file"], indirect=True)
def test_a_transaction_contains_few_items_of_imports(mem: ILabMemory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Saves of others wait for the transaction. Without a bound, it has a batch of each import that runs."""
    items: Counter[Transaction] = Counter()
    add_rows = edits.add_rows

    def counted(transaction: Transaction, user: str, sessions: Sequence[Session], rows: Sequence[Any]) -> Any:
        items[transaction] += len(sessions) + len(rows)
        return add_rows(transaction, user, sessions, rows)

    monkeypatch.setattr(edits, "add_rows", counted)
    rows = [item(content=str(number)) for number in range(400)]
    with ThreadPoolExecutor() as threads:
        list(threads.map(lambda user: mem.mem_import(user, [session(), *rows]), ["alice", "bob", "carol"]))
    assert items.total() == 3 * 401
    assert max(items.values()) <= IMPORT_ITEMS


def test_sources_that_never_come_take_bounded_memory_and_time() -> None:
    imported = ImportedSources()
    unknown = range(2, MOST_WAITING_SOURCES + 100)
    assert imported.add([1], [11], [(1, source, False) for source in unknown]) == []
    # Each of these looks at its own sources only.
    for number in range(200_000, 240_000):
        assert imported.add([number], [number], []) == []
    assert imported.add([2, unknown[-1]], [12, 13], []) == [(11, 12, False)]
    assert imported.add([300_000], [14], [(300_000, 1, False), (1, 300_000, True)]) == [(14, 11, False), (11, 14, True)]


def test_a_failure_of_the_storage_tells_how_much_was_added(
    mem: ILabMemory, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    exported = filled(mem, clock, sessions=40)
    add_rows = mem._store.add_rows
    calls: list[int] = []

    def second_fails(*arguments: object) -> object:
        calls.append(1)
        if len(calls) == 2:
            raise StorageError("could not import: SQLITE_FULL")
        return add_rows(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(mem._store, "add_rows", second_fails)
    with pytest.raises(StorageError, match=r"SQLITE_FULL; \d+ sessions and \d+ observations were added; repeat"):
        mem.mem_import("bob", exported)


def item(**fields: object) -> Observation:
    row = {
        "session_id": "s", "user_id": "x", "type": "profile", "title": "t", "content": "c",
        "created_at": text(EPOCH), "updated_at": text(EPOCH),
    }  # fmt: skip
    return Observation.model_validate(row | fields)


def session(**fields: object) -> Session:
    row = {"id": "s", "user_id": "x", "started_at": text(EPOCH), "last_activity_at": text(EPOCH)}
    return Session.model_validate(row | fields)


def test_texts_are_redacted_again(mem: ILabMemory) -> None:
    ended = {"ended_at": text(EPOCH), "summary": "<private>hunter2</private> s", "status": "completed"}
    row = item(title="<private>hunter2</private> t", content="c <private>hunter2", topic_key="<private>hunter2", id=7)
    mem.mem_import("bob", [session(**ended), row])
    found = "".join(stored.model_dump_json() for stored in mem.mem_export("bob"))
    assert "hunter2" not in found
    assert found.count("[REDACTED]") == 4
    assert mem.mem_import("bob", [session(**ended), row]).observations == 0


@pytest.mark.slow
def test_texts_that_redaction_made_longer_than_their_limits_are_imported(mem: ILabMemory) -> None:
    def longest(length: int) -> str:
        return "x" * (length - 8) + "<private"

    most = longest(1024 * 1024)
    mem.mem_save(USER, most, type="profile", title=longest(512), topic_key=longest(256), about=most)
    mem.mem_session_end(USER, summary=most)
    exported = list(mem.mem_export(USER))
    assert isinstance(exported[1], Observation)
    assert (len(exported[1].title), len(exported[1].topic_key or "")) == (514, 258)
    mem.mem_import("bob", exported)
    assert comparable(mem.mem_export("bob")) == comparable(exported)


def test_a_text_may_not_grow_with_each_import(mem: ILabMemory) -> None:
    with pytest.raises(ValueError, match="title must be at most 512 characters"):
        mem.mem_import("bob", [session(), item(title="[REDACTED]" + "x" * 496 + "<private")])


def test_moments_of_other_zones_are_stored_as_ours(mem: ILabMemory) -> None:
    mem.mem_import("bob", [session(), item(created_at="2026-01-01T02:00:00+02:00")])
    (_, row) = mem.mem_export("bob")
    assert isinstance(row, Observation)
    assert row.created_at == text(EPOCH)


def test_import_keeps_the_stored_observation_of_a_topic_key(mem: ILabMemory) -> None:
    mem.mem_save("bob", "mine", type="profile", title="t", topic_key="k")
    assert mem.mem_import("bob", [session(), item(topic_key="k", content="theirs")]).observations == 0
    assert [row.content for row in mem.mem_list("bob")] == ["mine"]


def test_an_active_session_is_imported_as_completed_if_there_is_another(mem: ILabMemory) -> None:
    own = mem.mem_session_start("bob").session_id
    other = mem.mem_session_start("bob", conversation_id="a").session_id
    given = [session(id=f"s{place}", conversation_id=name) for place, name in enumerate(("", "a", "b", "b"))]
    assert mem.mem_import("bob", given).sessions == 4
    assert mem.mem_session_start("bob").session_id == own
    assert mem.mem_session_start("bob", conversation_id="a").session_id == other
    status = [
        (one.conversation_id, one.status, one.ended_at) for one in mem.mem_sessions("bob") if one.id not in {own, other}
    ]
    completed, active = ("completed", text(EPOCH)), ("active", None)
    assert status == [("b", *completed), ("b", *active), ("a", *completed), ("", *completed)]


@cases(
    ("items", "told"),
    [
        ([item()], "session of an observation before"),
        ([session(), item(content="")], "content must"),
        ([session(), item(title="x" * 513)], "title must"),
        ([session(), item(type=" ")], "type must"),
        ([session(), item(created_at="today")], "created_at must"),
        ([session(), item(updated_at="2026-01-01T00:00:00")], "updated_at must"),
        ([session(), item(revision_count=0)], "revision_count must"),
        ([session(started_at="")], "started_at must"),
        ([session(id="")], "session_id must"),
        ([session(), item(source_ids=[1] * (MAX_SOURCES + 1))], "source_ids must have at most 10,000 ids"),
        ([session(conversation_id="x" * 257)], "conversation_id must"),
        ([session(summary=" ")], "summary must"),
        (["no item"], "sessions and observations only"),
    ],
)  # fmt: skip
def test_an_invalid_item_is_refused_and_nothing_of_its_batch_is_stored(
    mem: ILabMemory, items: list[Session | Observation], told: str
) -> None:
    with pytest.raises(ValueError, match=told):
        mem.mem_import("bob", items)
    assert mem.mem_stats("bob") == {"observations": 0, "sessions": 0}


def test_an_import_of_nothing_makes_no_user(mem: ILabMemory) -> None:
    assert mem.mem_import("bob", []).observations == 0
    assert list(mem.mem_export("bob")) == []


def test_imported_rows_leave_the_times_of_their_sessions(mem: ILabMemory) -> None:
    later = text(EPOCH + timedelta(hours=1))
    rows = [item(created_at=later, updated_at=later, content=content) for content in ("1", "2")]
    given: list[Session | Observation] = [session(), *rows]
    mem.mem_import("bob", given)
    assert [found.last_activity_at for found in mem.mem_sessions("bob")] == [text(EPOCH)]


def test_imported_sessions_expire_as_others_do(mem: ILabMemory, clock: Clock) -> None:
    mem.mem_import("bob", [session()])
    clock.now = EPOCH + timedelta(hours=25)
    assert mem.mem_session_start("bob").is_new
