"""No statement reads rows of a user other than the one it was given."""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from batch import cases
from ilab_memory import ILabMemory
from ilab_memory.limits import MOST_COMPARED
from ilab_memory.stores.sqlite import (
    exports,
    fact_statements,
    search_statements,
    statements,
    user_erasure,
    vectors,
)
from ilab_memory.stores.sqlite.numbered_parameters import Connection

ALL = (
    vars(statements)
    | vars(user_erasure)
    | vars(exports)
    | vars(fact_statements)
    | vars(search_statements)
    | vars(vectors)
)
NAMED = {
    name: text
    for name, text in ALL.items()
    if isinstance(text, str) and name.isupper() and not name.startswith("_") and not name.endswith("_COLUMNS")
    if name not in {"FACTS", "OF_USER", "WAITING_USERS", "COUNT_WAITING"}
}
#: Not about rows of users: they add a row, or touch the index, the WAL or the few erasures that are not finished.
NO_LOOKUP = {
    "ADD_SOURCE",
    "SET_STATE", "PUT_BLOCK",
    "NEW_USER", "NEW_SESSION", "NEW_OBSERVATION", "ADD_OBSERVATION", "ADD_TO_INDEX", "TAKE_FROM_INDEX", "EMPTY_WAL",
    "HAS_ERASURES", "ERASURES", "COUNT_ERASURES", "TOMBSTONES", "ADD_ERASURE", "ROWS_ERASED", "END_ERASED",
    "ERASED", "MOVE_WAL", "LAST_REWRITE", "CLEAR_LAST_REWRITE", "SET_LAST_REWRITE", "ERASURES_IN_INDEX", "MERGE_INDEX",
    "INDEX_SEGMENTS",
}  # fmt: skip


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    path = tmp_path / "memory.db"
    with ILabMemory.from_path(path) as mem:
        for user in range(5):
            for number in range(5):
                mem.mem_save(f"user{user}", f"content {number}", type="discovery", title="t")
    with closing(sqlite3.connect(path, factory=Connection)) as opened:
        yield opened


def plan(connection: sqlite3.Connection, statement: str) -> list[str]:
    named = dict.fromkeys(re.findall(r":(\w+)", statement), 1)
    # A numbered parameter may occur several times.
    places = statement.count("?") if "?1" not in statement else max(map(int, re.findall(r"\?(\d+)", statement)))
    bound = named or (1,) * places
    return [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", bound)]


@cases("name", sorted(NAMED.keys() - NO_LOOKUP))
def test_every_statement_uses_an_index(connection: sqlite3.Connection, name: str) -> None:
    steps = plan(connection, NAMED[name])
    assert steps
    for step in steps:
        if "VIRTUAL TABLE" in step:
            # json_each reads what is given; the index is asked for one word of one user.
            assert "json_each" in step or name in {"TERM_PLACES", "NEWEST_WITH", "MATCHES", "READY", "TOUCH_ACTIVE"}
        else:
            # The rows of a subquery are scanned; the steps that find them are listed too.
            # sqlite_sequence has a row for each table.
            assert not step.startswith("SCAN") or step.startswith(
                (
                    "SCAN (subquery",
                    "SCAN newest",
                    "SCAN prefixes",
                    "SCAN found",
                    "SCAN walk",
                    "SCAN CONSTANT ROW",
                    "SCAN touched",
                    "SCAN sqlite_sequence",
                    "SCAN kinds",
                    "SCAN asked",
                    "SCAN page",
                    "SCAN same",
                )
            ), step


#: They merge a page of each type, which come from an index in order.
MERGED = {"LIST_OBSERVATIONS", "LIST_OF_CONVERSATION"}


def test_lists_are_read_in_index_order(connection: sqlite3.Connection) -> None:
    for name, statement in NAMED.items():
        if name not in NO_LOOKUP | MERGED:
            assert not any("TEMP B-TREE" in step for step in plan(connection, statement)), name


@pytest.mark.parametrize(
    "name", ["DOCUMENTS", "MATCHES", "PREVIEWS", "RECENT_SESSIONS", "TIMELINE", "EXPORT_OBSERVATIONS", "BY_KEY"]
)
def test_an_index_that_starts_with_the_user_or_a_session_of_the_user_is_used(
    connection: sqlite3.Connection, name: str
) -> None:
    steps = [step for step in plan(connection, NAMED[name]) if step.startswith("SEARCH o")]
    assert steps
    assert all("(user=?" in step or "(session=?" in step for step in steps), steps


def test_a_lookup_in_the_full_text_index_names_the_term(connection: sqlite3.Connection) -> None:
    # The number is internal to FTS5; it differs if all terms are read.
    everything = [
        step for table in ("search_places", "search_terms") for step in plan(connection, f"SELECT * FROM {table} found")
    ]
    assert len(everything) == 2
    for name, times in (("TERM_PLACES", 1), ("MATCHES", 2)):
        looked_up = [
            step for step in plan(connection, NAMED[name]) if step.startswith("SCAN found VIRTUAL TABLE INDEX")
        ]
        assert len(looked_up) == times
        assert not set(looked_up) & set(everything)


#: Work of SQLite for one row beyond what it does for none, in virtual machine steps: a few columns are compared.
STEPS_OF_ROW = 30


@pytest.mark.parametrize("name", ["SAME_UNKEYED", "HAS_ROW"])
def test_few_of_the_rows_with_the_same_content_are_compared(connection: sqlite3.Connection, name: str) -> None:
    columns = "session, user, conversation_id, type, topic_key, normalized_hash, title_terms, said_terms, reply_terms"
    connection.execute(
        "WITH RECURSIVE counted (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM counted WHERE n < ?)"
        f" INSERT INTO observations ({columns}, tail_terms, number, title, created_at, updated_at, content)"
        f" SELECT {columns}, tail_terms, n + 100, 't' || n, created_at, updated_at, content"
        " FROM (SELECT * FROM observations LIMIT 1), counted",
        [50 * MOST_COMPARED],
    )
    user, session, content, kind, title, at = connection.execute(
        "SELECT user, session, normalized_hash, type, 'none of these', created_at FROM observations LIMIT 1"
    ).fetchone()
    bound = {
        "SAME_UNKEYED": (session, content, user, kind, title, False, None, None),
        "HAS_ROW": (user, session, content, kind, title, at),
    }[name]
    steps = 0

    def step() -> None:
        nonlocal steps
        steps += 1

    connection.set_progress_handler(step, 1)
    found = connection.execute(NAMED[name], bound).fetchone()
    connection.set_progress_handler(None, 1)
    assert found is None
    assert steps < 2 * MOST_COMPARED * STEPS_OF_ROW


def test_a_substring_search_reads_rows_from_the_newest(connection: sqlite3.Connection) -> None:
    read = [step for step in plan(connection, NAMED["CONTAINING"]) if step.startswith(("SEARCH o", "SEARCH before"))]
    assert len(read) == 2
    assert all("(user=? AND number" in step for step in read), read


def test_recent_rows_of_a_session_are_read_in_index_order(connection: sqlite3.Connection) -> None:
    read = [step for step in plan(connection, NAMED["RECENT"]) if "observations" in step]
    assert read == ["SEARCH observations USING INDEX observations_newest (session=?)"]


@pytest.mark.parametrize(
    ("name", "index", "columns"),
    [
        ("LIST_OBSERVATIONS", "observations_by_type", "user=? AND type=? AND updated_at<?"),
        (
            "LIST_OF_CONVERSATION",
            "observations_of_conversation",
            "user=? AND conversation_id=? AND type=? AND updated_at<?",
        ),
    ],
)
def test_a_list_page_reads_each_type_in_index_order(
    connection: sqlite3.Connection, name: str, index: str, columns: str
) -> None:
    steps = plan(connection, NAMED[name])
    assert f"SEARCH o USING COVERING INDEX {index} ({columns})" in steps
    # One sort, of the rows that the types contribute.
    assert [step for step in steps if "TEMP B-TREE" in step] == ["USE TEMP B-TREE FOR ORDER BY"]


def test_ranking_reads_documents_from_a_covering_index(connection: sqlite3.Connection) -> None:
    assert any("COVERING INDEX observations_ranked" in step for step in plan(connection, NAMED["DOCUMENTS"]))
