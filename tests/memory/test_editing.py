"""Lists, changes and deletions of single observations, on every store."""

import errno
import importlib
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import psycopg
import pytest

from batch import cases
from ilab_memory import Config, ILabMemory, NewFact, Observation, StorageError, Store
from ilab_memory.core.models import Session
from ilab_memory.limits import MOST_REBUILT
from ilab_memory.recall.analysis import terms
from ilab_memory.stores.sqlite import SQLiteStore, user_erasure
from ilab_memory.stores.sqlite.blind_index import tokens
from ilab_memory.stores.sqlite.check import check
from memory.support import Clock

USER = "alice"


def save(
    mem: ILabMemory,
    content: str,
    *,
    kind: str = "discovery",
    title: str = "t",
    key: str | None = None,
    within: str = "",
) -> int:
    return mem.mem_save(USER, content, type=kind, title=title, topic_key=key, conversation_id=within).id


def pages(mem: ILabMemory, limit: int, **asked: object) -> Iterator[list[Observation]]:
    before = None
    while page := mem.mem_list(USER, limit=limit, before=before, **asked):  # type: ignore[arg-type]
        yield page
        before = (page[-1].updated_at, page[-1].id or 0)


def test_list_is_newest_first_and_pages_join_to_the_whole(mem: ILabMemory, clock: Clock) -> None:
    kinds = ("profile", "discovery", "decision")
    for number in range(30):
        # Three rows each at the same moment.
        clock.forward(minutes=number % 3 == 0)
        save(mem, f"content {number}", kind=kinds[number % 3], key="k" if number == 4 else None)
    clock.forward(minutes=1)
    save(mem, "changed", key="k")
    whole = mem.mem_list(USER)
    assert len(whole) == 30
    assert whole[0].content == "changed"
    assert all(
        (newer.updated_at, newer.id or 0) > (older.updated_at, older.id or 0) for newer, older in pairwise(whole)
    )
    for limit in (1, 4, 30, 31):
        assert [row for page in pages(mem, limit) for row in page] == whole
    assert mem.mem_list("bob") == []
    assert whole[3] == mem.mem_get_observation(USER, whole[3].id or 0)


def test_list_filters_by_type_and_conversation(mem: ILabMemory, clock: Clock) -> None:
    for number in range(24):
        clock.forward(minutes=1)
        save(mem, f"{number}", kind=("profile", "decision", "pattern")[number % 3], within=("", "a")[number % 2])
    whole = mem.mem_list(USER)

    def numbers(rows: list[Observation]) -> list[int]:
        return [int(row.content) for row in rows]

    assert numbers(whole) == list(range(23, -1, -1))
    assert numbers(mem.mem_list(USER, types=["profile"])) == list(range(21, -1, -3))
    assert numbers(mem.mem_list(USER, types=["profile", "decision", "profile", "none"])) == [
        number for number in range(23, -1, -1) if number % 3 < 2
    ]
    assert numbers(mem.mem_list(USER, conversation_id="a")) == list(range(23, -1, -2))
    assert numbers(mem.mem_list(USER, conversation_id="")) == list(range(22, -1, -2))
    of_both = [number for number in range(23, -1, -1) if number % 2 and number % 3 == 2]
    assert numbers(mem.mem_list(USER, types=["pattern"], conversation_id="a")) == of_both
    joined = [row for page in pages(mem, 3, types=["pattern"], conversation_id="a") for row in page]
    assert numbers(joined) == of_both
    assert mem.mem_list(USER, types=["none"]) == mem.mem_list(USER, conversation_id="none") == []


def test_rows_that_are_saved_or_changed_between_pages_shift_nothing(mem: ILabMemory, clock: Clock) -> None:
    for number in range(20):
        clock.forward(minutes=1)
        save(mem, f"old {number}", key=f"k{number}")
    read = []
    for page in pages(mem, 4):
        read += [row.content for row in page]
        clock.forward(minutes=1)
        save(mem, f"new {len(read)}")
        save(mem, "changed", key="k19")
    assert read == [f"old {number}" for number in range(19, -1, -1)]


@cases(
    "bad",
    ["x", ("x", 1), ("2026-01-01", 1), ("2026-01-01T00:00:00+00:00", 0), ("2026-01-01T00:00:00+00:00", "1"), (1, 1)],
)
def test_an_invalid_cursor_is_refused(mem: ILabMemory, bad: tuple[str, int]) -> None:
    with pytest.raises(ValueError, match=r"before must|observation_id must"):
        mem.mem_list(USER, before=bad)
    for arguments in ({"limit": 0}, {"types": "profile"}, {"types": [1]}):
        with pytest.raises(ValueError, match=r"limit|types"):
            mem.mem_list(USER, **arguments)


def test_sessions_are_listed_newest_first_in_pages(mem: ILabMemory, clock: Clock) -> None:
    for number in range(9):
        clock.forward(minutes=number % 2)
        mem.mem_session_start(USER, conversation_id=("", "a")[number % 2])
        mem.mem_session_end(USER, summary=str(number), conversation_id=("", "a")[number % 2])
    mem.mem_session_start(USER)
    whole = mem.mem_sessions(USER)
    assert [session.summary for session in whole] == [None, *map(str, range(8, -1, -1))]
    assert [session.conversation_id for session in whole[:3]] == ["", "", "a"]
    assert list(mem.mem_export(USER)) == whole[::-1]
    for conversation, limit in ((None, 3), (None, 10), ("a", 3), ("", 1)):
        read: list[Session] = []
        before = None
        while page := mem.mem_sessions(USER, conversation_id=conversation, limit=limit, before=before):
            read += page
            before = (page[-1].started_at, page[-1].id)
        assert read == [session for session in whole if conversation in {None, session.conversation_id}]
    with pytest.raises(ValueError, match="before must"):
        mem.mem_sessions(USER, before=("yesterday", whole[0].id))


def test_update_replaces_what_is_given_and_is_found_by_the_new_words(mem: ILabMemory, clock: Clock) -> None:
    saved = save(mem, "green tea", key="drink", within="a")
    other = save(mem, "a quiet afternoon")
    before = mem.mem_get_observation(USER, saved)
    assert before
    session = mem.mem_sessions(USER, conversation_id="a")
    clock.forward(hours=3)
    result = mem.mem_update(USER, saved, content="coffee for <private>Bob</private>")
    assert result
    assert (result.id, result.outcome, result.topic_key) == (saved, "updated", "drink")
    assert result.session_id == before.session_id
    after = mem.mem_get_observation(USER, saved)
    assert after
    assert after == before.model_copy(
        update={
            "content": "coffee for [REDACTED]",
            "normalized_hash": after.normalized_hash,
            "revision_count": 2,
            "updated_at": after.updated_at,
        }
    )
    assert after.normalized_hash != before.normalized_hash
    assert after.updated_at > before.updated_at
    assert mem.mem_search(USER, "tea") == []
    assert [row.id for row in mem.mem_search(USER, "coffee")] == [saved]
    assert [row.id for row in mem.mem_list(USER)] == [saved, other]
    assert mem.mem_sessions(USER, conversation_id="a") == session, "a change does not count as activity"
    assert mem.mem_update(USER, saved, title="Drink", type="preference")
    changed = mem.mem_get_observation(USER, saved)
    assert changed
    assert (changed.title, changed.type, changed.content) == ("Drink", "preference", "coffee for [REDACTED]")
    assert changed.normalized_hash == after.normalized_hash
    again = mem.mem_update(USER, saved, title="Drink", type="preference", content="coffee for [REDACTED]")
    assert again
    assert again.outcome == "deduped"
    assert mem.mem_get_observation(USER, saved) == changed
    assert mem.mem_stats(USER) == {"observations": 2, "sessions": 2}
    assert mem.mem_save(USER, "water", type="discovery", title="t", topic_key="drink").outcome == "updated"
    assert mem.mem_search(USER, "coffee") == []


def test_update_of_a_missing_observation_changes_nothing(mem: ILabMemory) -> None:
    saved = save(mem, "tea")
    assert mem.mem_update("bob", saved, content="x") is None
    assert mem.mem_update(USER, saved + 1, content="x") is None
    assert mem.mem_update(USER, 2**80, content="x") is None
    assert [row.content for row in mem.mem_list(USER)] == ["tea"]
    assert mem.mem_stats("bob") == {"observations": 0, "sessions": 0}


@cases(
    ("arguments", "told"),
    [
        ({}, "title, content, type, pinned or expire_time must be given"),
        ({"title": " "}, "title must"),
        ({"content": "<private>x"}, None),
        ({"content": ""}, "content must"),
        ({"type": "summary"}, "type must be one of"),
        ({"title": "x" * 513}, "title must"),
    ],
)
def test_update_refuses_what_a_save_refuses(mem: ILabMemory, arguments: dict[str, Any], told: str | None) -> None:
    saved = save(mem, "tea")
    if told is None:
        assert mem.mem_update(USER, saved, **arguments)
        return
    with pytest.raises(ValueError, match=told):
        mem.mem_update(USER, saved, **arguments)
    with pytest.raises(ValueError, match="observation_id"):
        mem.mem_update(USER, 0, title="x")


def test_a_page_of_a_list_ends_after_four_mebibytes(mem: ILabMemory, clock: Clock) -> None:
    # Two bytes each, so that characters and bytes differ.
    megabyte = "é" * (512 * 1024)
    for number in range(6):
        clock.forward(minutes=1)
        save(mem, megabyte, title=f"t{number}")
        mem.mem_session_end(USER, summary=megabyte)
    titles = [[row.title for row in page] for page in pages(mem, 100, types=["discovery"])]
    assert titles == [["t5", "t4", "t3", "t2"], ["t1", "t0"]]
    assert [len(page) for page in pages(mem, 100, conversation_id="")] == [4, 2]
    first = mem.mem_sessions(USER, limit=100)
    rest = mem.mem_sessions(USER, limit=100, before=(first[-1].started_at, first[-1].id))
    assert (len(first), len(rest)) == (4, 2)
    assert len({session.id for session in (*first, *rest)}) == 6


def test_a_page_of_a_list_counts_statements_too(mem: ILabMemory, clock: Clock) -> None:
    for number in range(6):
        clock.forward(minutes=1)
        mem.mem_save(USER, "c", type="discovery", title=f"t{number}", about="é" * (512 * 1024))
    titles = [[row.title for row in page] for page in pages(mem, 100)]
    assert titles == [["t5", "t4", "t3", "t2"], ["t1", "t0"]]
    assert len(list(mem.mem_export(USER))) == 7


def test_delete_removes_the_observation_from_every_answer(mem: ILabMemory, clock: Clock) -> None:
    deleted = save(mem, "green tea", title="gone", key="k")
    kept = save(mem, "black tea", title="kept")
    clock.forward(days=2)
    response = mem.mem_session_start(USER)
    assert "gone" in response.sessions_context[0].summary
    assert not mem.mem_delete("bob", deleted)
    assert not mem.mem_delete(USER, 2**80)
    assert mem.mem_delete(USER, deleted)
    assert not mem.mem_delete(USER, deleted)
    assert mem.mem_get_observation(USER, deleted) is None
    assert mem.mem_search(USER, "green") == []
    assert [row.id for row in mem.mem_search(USER, "tea")] == [kept]
    assert [row.id for row in mem.mem_list(USER)] == [kept]
    assert [row.id for row in mem.mem_timeline(USER, kept)] == [kept]
    assert mem.mem_stats(USER) == {"observations": 1, "sessions": 2}
    (shown,) = mem.mem_session_peek(USER).sessions_context
    assert shown.summary == "Closed after inactivity. 1 observation; last: kept"
    assert all("gone" not in item.model_dump_json() for item in mem.mem_export(USER))
    again = mem.mem_save(USER, "green tea", type="discovery", title="gone", topic_key="k")
    assert again.outcome == "created"
    assert again.id > kept
    assert mem.mem_pending_erasures() == 0


def test_a_changed_title_leaves_the_summary_of_an_expired_session(mem: ILabMemory, clock: Clock) -> None:
    saved = save(mem, "c", title="old title")
    clock.forward(days=2)
    mem.mem_session_start(USER)
    assert mem.mem_update(USER, saved, title="new title")
    (shown,) = mem.mem_session_peek(USER).sessions_context
    assert shown.summary == "Closed after inactivity. 1 observation; last: new title"


def test_a_title_replaced_under_a_key_leaves_the_summary_of_an_expired_session(mem: ILabMemory, clock: Clock) -> None:
    save(mem, "c", title="kept")
    save(mem, "c", title="old title", key="k")
    for title in ("second title", "third title"):
        clock.forward(days=2)
        saved = save(mem, "c", title=title, key="k")
    clock.forward(days=2)
    mem.mem_session_start(USER)
    assert mem.mem_delete(USER, saved)
    assert [session.summary for session in mem.mem_session_peek(USER).sessions_context] == [
        "Closed after inactivity. No observations.",
        "Closed after inactivity. No observations.",
        "Closed after inactivity. 1 observation; last: kept",
    ]


def test_a_replaced_title_of_a_fact_leaves_the_summary_of_an_expired_session(mem: ILabMemory, clock: Clock) -> None:
    for title in ("old title", "new title"):
        fact = NewFact(type="profile", title=title, content="c", topic_key="fact")
        mem.mem_save(USER, "c", type="discovery", title=f"said {title}", facts=[fact])
        clock.forward(days=2)
    mem.mem_session_start(USER)
    assert [session.summary for session in mem.mem_session_peek(USER).sessions_context] == [
        "Closed after inactivity. 2 observations; last: new title; said new title",
        "Closed after inactivity. 1 observation; last: said old title",
    ]


def test_a_changed_title_rebuilds_the_newest_summaries_and_clears_older_ones(mem: ILabMemory, clock: Clock) -> None:
    expired = MOST_REBUILT + 2
    for number in range(expired):
        save(mem, f"c{number}", title="old title")
        clock.forward(days=2)
    mem.mem_session_start(USER)
    (last, *_) = mem.mem_list(USER)
    assert mem.mem_delete(USER, last.id or 0)
    summaries = [session.summary for session in mem.mem_sessions(USER, limit=expired + 1)][1:]
    quoting = "Closed after inactivity. 1 observation; last: old title"
    assert summaries == [
        "Closed after inactivity. No observations.",
        *[quoting] * (MOST_REBUILT - 1),
        *["Closed after inactivity."] * 2,
    ]


def test_concurrent_deletes_and_changes_of_one_observation_agree(mem: ILabMemory) -> None:
    saved = [save(mem, f"content {number}") for number in range(6)]
    begin = threading.Barrier(6)

    def work(caller: int) -> int:
        begin.wait()
        if caller % 2:
            return sum(mem.mem_update(USER, one, content=f"changed by {caller}") is not None for one in saved)
        return sum(mem.mem_delete(USER, one) for one in saved)

    with ThreadPoolExecutor(6) as pool:
        done = list(pool.map(work, range(6)))
    assert sum(done[::2]) == 6, "each was deleted once"
    assert mem.mem_stats(USER)["observations"] == 0
    assert mem.mem_search(USER, "content") == mem.mem_search(USER, "changed") == []


def with_facts(mem: ILabMemory, key: str) -> int:
    facts = [
        NewFact(type="profile", title=f"fact {number}", content=f"{key} is {number}", topic_key=f"{key}/{number}")
        for number in range(2)
    ]
    return mem.mem_save(USER, f"one two {key}", type="discovery", title="t", topic_key=key, facts=facts).id


def test_text_is_analyzed_before_the_writer_or_the_lock_is_taken(
    mem: ILabMemory, store: Store, clock: Clock, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = "sqlite" if isinstance(store, SQLiteStore) else "postgres"
    blind_index = importlib.import_module(f"ilab_memory.stores.{module}.blind_index")
    analyze, seen = blind_index.fields, []

    def watched(*arguments: object, **options: object) -> object:
        seen.append(threading.current_thread() is threading.main_thread())
        if module == "postgres":
            with psycopg.connect(request.getfixturevalue("database").url) as other:
                other.execute("SELECT FROM ilab_memory.users FOR UPDATE NOWAIT")
        return analyze(*arguments, **options)

    saved, deleted = (with_facts(mem, key) for key in ("k", "l"))
    exported = list(mem.mem_export(USER))
    mem.mem_save(USER, "expires", type="discovery", title="t", expire_time=clock.now)
    monkeypatch.setattr(blind_index, "fields", watched)
    assert mem.mem_update(USER, saved, content="three")
    assert mem.mem_update(USER, saved, title="four")
    assert mem.mem_delete(USER, saved)
    assert len(mem.mem_forget_observation(USER, deleted)) == 3
    assert mem.mem_expire() == 1
    assert mem.mem_list(USER) == []
    before = len(seen)
    assert mem.mem_import(USER, exported).observations == 6
    assert len(seen) == before + 6
    assert all(seen)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "memory.db"


def opened(path: Path, before_rewrite: Callable[[], None] = lambda: None) -> ILabMemory:
    store = SQLiteStore(path, busy_timeout_seconds=0.1)
    rewrite = store._forgetting._rewriter.rewrite

    def stepped() -> None:
        before_rewrite()
        rewrite()

    store._forgetting._rewriter.rewrite = stepped  # type: ignore[method-assign]
    return ILabMemory(store, Config())


def bytes_of(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in sorted(folder.iterdir()))


def test_delete_leaves_no_byte_in_the_files(path: Path) -> None:
    with opened(path) as mem:
        for number in range(200):
            save(mem, f"kept {number} " * 20)
        deleted = save(mem, "content marker " * 400, title="title marker", key="key marker")
        for number in range(200):
            save(mem, f"later {number} " * 20)
        assert b"marker" in bytes_of(path.parent)
        assert mem.mem_delete(USER, deleted)
        assert b"marker" not in bytes_of(path.parent)
        assert mem.mem_stats(USER)["observations"] == 400
    assert check(path).damage == []


def hashes_of(path: Path, text: str) -> list[bytes]:
    """The ends of the hashes of the user's words: a page of the index omits the prefix shared with the one before."""
    with closing(sqlite3.connect(path)) as connection:
        user, index_key = connection.execute("SELECT key, index_key FROM users").fetchone()
    return [token[-7:].encode() for token in tokens(user, index_key, terms(text))]


@pytest.mark.parametrize("pages", [1, user_erasure.MERGED_PAGES])
def test_delete_leaves_no_hash_of_its_words_in_the_index(
    path: Path, monkeypatch: pytest.MonkeyPatch, pages: int
) -> None:
    monkeypatch.setattr(user_erasure, "MERGED_PAGES", pages)
    with opened(path) as mem:
        for number in range(200):
            save(mem, f"kept {number} {number % 7}")
        deleted = save(mem, "zebra quagga okapi")
        hashes = hashes_of(path, "zebra quagga okapi")
        for number in range(200):
            save(mem, f"later {number}")
        assert mem.mem_update(USER, deleted, content="giraffe")
        assert all(one in bytes_of(path.parent) for one in hashes)
        assert mem.mem_delete(USER, deleted)
        assert not any(one in bytes_of(path.parent) for one in (*hashes, *hashes_of(path, "giraffe")))
        assert sum("kept" in row.snippet for row in mem.mem_search(USER, "kept", limit=500)) == 200
        assert mem.mem_pending_erasures() == 0
        last = save(mem, "okapi alone")
        assert mem.mem_delete(USER, last)
        assert not any(one in bytes_of(path.parent) for one in hashes)
    assert check(path).damage == []


def test_erasing_facts_and_expired_rows_leaves_no_hash_of_their_words_in_the_index(path: Path) -> None:
    texts = ("zebra quagga okapi", "walrus narwhal beluga")
    with opened(path) as mem:
        for number in range(200):
            save(mem, f"kept {number} {number % 7}")
        fact = NewFact(type="profile", title="t", content=texts[0], topic_key="fact")
        source = mem.mem_save(USER, "said", type="discovery", title="t", topic_key="said", facts=[fact]).id
        mem.mem_save(USER, texts[1], type="discovery", title="t", expire_time=datetime(2020, 1, 1, tzinfo=UTC))
        for number in range(200):
            save(mem, f"later {number}")
        of_fact, of_expired = (hashes_of(path, text) for text in texts)
        assert all(one in bytes_of(path.parent) for one in (*of_fact, *of_expired))
        assert mem.mem_expire() == 1
        assert not any(one in bytes_of(path.parent) for one in of_expired)
        assert len(mem.mem_forget_observation(USER, source)) == 2
        assert not any(one in bytes_of(path.parent) for one in of_fact)
    assert check(path).damage == []


def test_saves_between_the_steps_of_a_merge_do_not_prolong_it(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    merge_index = user_erasure.merge_index
    steps: list[int] = []

    def and_save(*arguments: object, **named: object) -> object:
        steps.append(1)
        transaction = arguments[0]
        transaction.execute("INSERT INTO search (rowid, title) VALUES (?, 'x')", (2**60 + len(steps),))  # type: ignore[attr-defined]
        return merge_index(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(user_erasure, "MERGED_PAGES", 1)
    monkeypatch.setattr(user_erasure, "merge_index", and_save)
    with opened(path) as mem:
        for number in range(100):
            save(mem, f"kept {number} " + " ".join(f"w{number}x{place}" for place in range(50)))
        deleted = save(mem, "zebra quagga okapi")
        hashes = hashes_of(path, "zebra quagga okapi")
        assert mem.mem_delete(USER, deleted)
        assert not any(one in bytes_of(path.parent) for one in hashes)
    assert 2 < len(steps) < 200


def test_a_delete_that_failed_is_finished_by_calling_again(path: Path) -> None:
    is_full = True

    def write() -> None:
        if is_full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with opened(path, write) as mem:
        deleted = save(mem, "marker")
        kept = save(mem, "kept")
        with pytest.raises(StorageError, match="No space left"):
            mem.mem_delete(USER, deleted)
        assert [row.id for row in mem.mem_list(USER)] == [kept]
        assert mem.mem_pending_erasures() == 1
        assert not mem.mem_delete("bob", deleted), "the pending erasure is of another user"
        is_full = False
        assert not mem.mem_delete(USER, deleted)
        assert mem.mem_pending_erasures() == 0
        assert b"marker" not in bytes_of(path.parent)


def test_deletes_that_wait_share_a_rewrite(path: Path) -> None:
    has_begun, may_go_on = threading.Event(), threading.Event()

    def wait() -> None:
        has_begun.set()
        may_go_on.wait()

    with opened(path, wait) as mem, ThreadPoolExecutor(8) as pool:
        first, *others = (save(mem, f"marker {number}") for number in range(8))
        assert isinstance(mem._store, SQLiteStore)
        forgetting = mem._store._forgetting
        calls = [pool.submit(mem.mem_delete, USER, first)]
        assert has_begun.wait(60)
        calls += [pool.submit(mem.mem_delete, USER, one) for one in others]
        while len(forgetting._changed._waiters) < 7:  # type: ignore[attr-defined]
            may_go_on.wait(0.001)
        may_go_on.set()
        assert all(call.result() for call in calls)
        # The first had begun when the others came.
        assert forgetting._rewriter.rewrites == 2
        assert b"marker" not in bytes_of(path.parent)


def test_index_and_counts_agree_after_changes_and_deletes(path: Path) -> None:
    with opened(path) as mem:
        saved = [save(mem, f"content number {number}") for number in range(20)]
        for one in saved[::2]:
            mem.mem_update(USER, one, title="new", content=f"changed {one}")
        assert mem.mem_delete(USER, saved[0])
        assert mem.mem_delete(USER, saved[1])
    assert check(path).damage == []
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT observations FROM users").fetchone() == (18,)
