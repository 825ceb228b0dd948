"""Every statement touches one partition, and the tables can be distributed by user."""

import re
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from batch import cases
from ilab_memory import ILabMemory
from ilab_memory.limits import MOST_COMPARED
from ilab_memory.stores.postgres import (
    PostgresStore,
    exports,
    fact_statements,
    schema,
    search_statements,
    statements,
    vectors,
)
from memory.support import EPOCH
from postgres import Cluster

PARTITIONS = 16
TABLES = [name for name, _, _ in schema.TABLES]
ALL = {
    name: text
    for module in (statements, search_statements, fact_statements, exports, vectors)
    for name, text in vars(module).items()
    if name.isupper() and not name.startswith("_") and not name.endswith("_COLUMNS")
}
#: These read all users.
OF_ALL = {"WAITING_USERS", "COUNT_WAITING"}
NAMED = {name: text for name, text in ALL.items() if isinstance(text, str) and "user_id" in text and name not in OF_ALL}
#: The value of each parameter in these plans, with a type where PostgreSQL cannot infer it.
VALUES = {
    "user_id": ("text", "'user1'"),
    "terms": ("text[]", "'{tea,milk}'"),
    "numbers": ("bigint[]", "'{1,2,3}'"),
    "session_timeout": ("interval", "'24 hours'"),
    "normalized_hash": ("bytea", "'x'"),
    "index_key": ("bytea", "'x'"),
    "is_auto_generated": ("boolean", "false"),
    "characters": ("integer", "401"),
    "prefixes": ("text[]", "'{k/,l/}'"),
    "types": ("text[]", "'{discovery,profile}'"),
    "session_ids": ("text[]", "'{s}'"),
    "topic_keys": ("text[]", "'{k}'"),
    "hashes": ("bytea[]", "'{x}'"),
    "pinned": ("boolean", "false"),
    "blocks": ("bigint[]", "'{0,1}'"),
    "data": ("bytea", "'x'"),
    "ids": ("bigint[]", "'{1,2}'"),
    "known": ("bigint[]", "'{1,2}'"),
    "label": ("text", "':B'"),
    "kept": ("bigint[]", "'{1,2}'"),
    "facts": ("bigint[]", "'{1,2}'"),
    "sources": ("bigint[]", "'{1,2}'"),
    "earlier": ("boolean[]", "'{t,f}'"),
    "moments": ("timestamptz[]", "'{2026-01-01}'"),
    "titles": ("text[]", "'{t}'"),
}
MOMENTS = {"now", "ended_at", "moment", "started_at", "last_activity_at", "created_at", "updated_at", "expire_at"}
TEXTS = {"session_id", "conversation_id", "summary", "title", "type", "topic_key", "content", "text", "about", "model"}


def value(name: str, statement: str) -> tuple[str, str]:
    if name == "terms" and "::tsvector" in statement:
        return "text", "'''x'':1'"
    if name in MOMENTS:
        return "timestamptz", "'2026-01-01'"
    return VALUES.get(name) or (("text", "'x'") if name in TEXTS else ("bigint", "1"))


@pytest.fixture(scope="module")
def connection(postgres: Cluster) -> Iterator[psycopg.Connection]:
    url = postgres.create_database()
    with ILabMemory(PostgresStore(url, partitions=PARTITIONS)) as mem:
        for user in range(40):
            mem.mem_session_start(f"user{user}")
            for number in range(10):
                mem.mem_save(f"user{user}", f"green tea {number}", type="discovery", title="t")
    with psycopg.connect(url, autocommit=True) as opened:
        opened.execute("ANALYZE")
        yield opened


def plan(connection: psycopg.Connection, statement: str, mode: str) -> dict[str, Any]:
    """Return the plan of a prepared statement: made for its values, or once for all and pruned when it is run."""
    names = list(dict.fromkeys(re.findall(r"%\((\w+)\)s", statement)))
    types, values = zip(*(value(name, statement) for name in names), strict=True)
    numbered = re.sub(r"%\((\w+)\)s", lambda found: f"${names.index(found[1]) + 1}", statement)
    with connection.transaction(force_rollback=True):
        connection.execute(f"SET LOCAL plan_cache_mode = force_{mode}_plan".encode())
        connection.execute(f"PREPARE asked ({', '.join(types)}) AS {numbered}".encode())
        try:
            explained = connection.execute(f"EXPLAIN (FORMAT JSON) EXECUTE asked ({', '.join(values)})".encode())
            ((plans,),) = explained.fetchall()
        finally:
            connection.execute("DEALLOCATE asked")
    made: dict[str, Any] = plans[0]["Plan"]
    return made


def nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for below in node.get("Plans", []):
        yield from nodes(below)


def read(made: dict[str, Any]) -> list[str]:
    """The partitions that are read."""
    return [node["Relation Name"] for node in nodes(made) if "Relation Name" in node and "Scan" in node["Node Type"]]


def test_every_statement_is_covered() -> None:
    assert len(NAMED) >= 25
    assert ALL.keys() - NAMED.keys() == {
        "NOT_SYNCED", "SCHEMA", "HASH", "PREFIX", "MOST_COMPARED", "MOST_RECENT", "MOST_REBUILT", "FACTS",
        "LONG_CHARACTERS", "PREVIEW_CHARACTERS", "BLOCK", "WALKED_ROWS", "EXPORT_PAGE", "EXPORT_BYTES",
        *OF_ALL,
    }  # fmt: skip


@cases("mode", ["custom", "generic"])
@cases("name", sorted(NAMED))
def test_every_statement_touches_one_partition_of_each_table(
    connection: psycopg.Connection, name: str, mode: str
) -> None:
    touched = read(plan(connection, NAMED[name], mode))
    partitions = set(touched)
    tables = {re.sub(r"_\d+$", "", partition) for partition in partitions}
    assert len(partitions) == len(tables)
    assert tables <= set(TABLES)
    # All in the same partition: on one machine, when they are distributed.
    assert len({partition.rpartition("_")[2] for partition in partitions}) <= 1
    if not NAMED[name].strip().startswith("INSERT"):
        assert partitions


@cases("name", sorted(NAMED))
def test_no_statement_reads_rows_of_other_users(connection: psycopg.Connection, name: str) -> None:
    """Each reading begins at an index: with the user, or with words that only the user has."""
    with connection.transaction(force_rollback=True):
        connection.execute("SET LOCAL enable_seqscan = off")
        made = plan(connection, NAMED[name], "custom")
    for node in nodes(made):
        assert node["Node Type"] != "Seq Scan", node
        if "Index Cond" in node:
            assert "user_id" in node["Index Cond"] or "terms @@" in node["Index Cond"], node


def test_recent_rows_of_a_session_are_read_in_index_order(connection: psycopg.Connection) -> None:
    with connection.transaction(force_rollback=True):
        connection.execute("SET LOCAL enable_seqscan = off")
        connection.execute("SET LOCAL enable_bitmapscan = off")
        made = list(nodes(plan(connection, NAMED["RECENT"], "custom")))
    read = [node for node in made if node.get("Relation Name", "").startswith("observations")]
    assert [node["Index Name"].endswith("_user_id_session_updated_at_id_idx") for node in read] == [True]
    assert read[0]["Scan Direction"] == "Backward"


def test_enough_new_rows_with_a_term_are_found_without_the_index(connection: psycopg.Connection) -> None:
    """A common term is in every row of a user: the index would find all of them."""
    asked = {"user_id": "user1", "terms": ["tea"], "label": ":B", "most": 3}
    explained = connection.execute(f"EXPLAIN (ANALYZE, COSTS OFF) {search_statements.NEWEST_WITH}".encode(), asked)
    scans = [line for (line,) in explained.fetchall() if "Scan" in line and " on observations" in line]
    assert ["never executed" in line for line in scans] == [False, True, True]


def test_few_of_the_rows_with_the_same_content_are_compared(connection: psycopg.Connection) -> None:
    columns = (
        "user_id, number, session, conversation_id, type, title, normalized_hash, revision_count, created_at,"
        " updated_at, title_terms, said_terms, reply_terms, tail_terms, terms, content"
    )
    of_row = columns.replace("number", "number + n").replace("title,", "'t' || n,", 1).replace("created_at", "made", 1)
    (content, kind) = (
        connection.execute(
            "SELECT normalized_hash, type FROM ilab_memory.observations WHERE user_id = 'user1' AND topic_key IS NULL"
        ).fetchone()
        or ()
    )
    asked = {
        "user_id": "user1", "hashes": [content], "types": [kind], "titles": ["none of these"], "moments": [EPOCH],
    }  # fmt: skip
    with connection.transaction(force_rollback=True):
        connection.execute(
            f"INSERT INTO ilab_memory.observations (id, {columns}) SELECT id + n, {of_row} FROM ("
            "SELECT * FROM ilab_memory.observations WHERE user_id = 'user1' AND normalized_hash = %s LIMIT 1"
            ") o, generate_series(1000, %s) n, (VALUES (%s::timestamptz)) made (made)".encode(),
            [content, 1000 + 4 * MOST_COMPARED, EPOCH],
        )
        explained = connection.execute(
            f"EXPLAIN (ANALYZE, FORMAT JSON) {statements.UNKEYED}".encode(), asked
        ).fetchone()
    assert explained
    read = [node for node in nodes(explained[0][0]["Plan"]) if node.get("Relation Name", "").startswith("observations")]
    assert read
    assert sum(node["Actual Rows"] + node.get("Rows Removed by Filter", 0) for node in read) <= 2 * MOST_COMPARED


def rows(connection: psycopg.Connection, statement: str) -> list[Any]:
    return [row[0] for row in connection.execute(statement.encode())]


def test_the_tables_can_be_distributed_by_user(connection: psycopg.Connection) -> None:
    """Citus requires user_id in every unique index, and no foreign keys, sequences or triggers."""
    of_ours = "relnamespace = 'ilab_memory'::regnamespace"
    unique = rows(
        connection,
        "SELECT (SELECT array_agg(attname::text) FROM pg_attribute WHERE attrelid = i.indexrelid) FROM pg_index i"
        f" JOIN pg_class c ON c.oid = i.indexrelid WHERE i.indisunique AND {of_ours}",
    )
    assert len(unique) == (PARTITIONS + 1) * 11
    assert all("user_id" in columns for columns in unique)
    keys = rows(
        connection,
        "SELECT pg_get_constraintdef(k.oid) FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid"
        f" WHERE k.contype = 'p' AND {of_ours}",
    )
    assert all(key.startswith("PRIMARY KEY (user_id") for key in keys)
    assert rows(connection, f"SELECT relname FROM pg_class WHERE relkind = 'S' AND {of_ours}") == []
    assert rows(connection, f"SELECT tgname FROM pg_trigger t JOIN pg_class c ON c.oid = tgrelid WHERE {of_ours}") == []
    foreign = f"SELECT k.oid FROM pg_constraint k JOIN pg_class c ON c.oid = conrelid WHERE contype = 'f' AND {of_ours}"
    assert rows(connection, foreign) == []
    partitioned = "SELECT partrelid::regclass::text FROM pg_partitioned_table WHERE partstrat = 'h' ORDER BY 1"
    assert rows(connection, partitioned) == sorted(f"ilab_memory.{name}" for name in TABLES)
    for name in TABLES:
        count = f"SELECT count(*) FROM pg_inherits WHERE inhparent = 'ilab_memory.{name}'::regclass"
        assert rows(connection, count) == [PARTITIONS]


def test_a_statement_without_the_user_is_detected(connection: psycopg.Connection) -> None:
    everything = "SELECT id FROM ilab_memory.observations WHERE number = %(number)s"
    for mode in ("custom", "generic"):
        assert len(set(read(plan(connection, everything, mode)))) == PARTITIONS
