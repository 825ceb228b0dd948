"""`ilab-memory copy`: a SQLite file to PostgreSQL, unchanged."""

from __future__ import annotations

import hashlib
import json
import os
import pty
import random
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from ilab_memory import Config, ILabMemory, NewFact
from ilab_memory.core.models import Observation
from ilab_memory.stores.postgres import PostgresStore
from memory.support import Clock
from postgres import Cluster, commits_wait, running_cluster, waiting
from processes import run_forked

COMMAND: list[str | Path] = [sys.executable, "-m", "ilab_memory", "copy"]
USERS = 40
WORDS = "tea coffee hiking norway cabin e-mail running ran train rome müller 北京 緑茶 secret garden".split()
QUERIES = ("tea in rome", "what did she say about hiking?", "email", "緑茶", "北", "no such word", "gardens and trains")


@pytest.fixture(scope="module")
def url(postgres: Cluster) -> str:
    return postgres.create_database()


@pytest.fixture
def target(url: str) -> str:
    """An empty database that reuses the tables of the previous test."""
    with ILabMemory.from_url(url), psycopg.connect(url) as connection:
        for table in ("observations", "sources", "sessions", "users"):
            connection.execute(f"DELETE FROM ilab_memory.{table}")
    return url


def fill(path: Path, rows: int) -> Path:
    """Create a file with *rows* saves: new, changed, repeated and private ones, in ended and expired sessions."""
    clock, rng = Clock(), random.Random(6)
    with ILabMemory.from_path(path, Config(clock=clock, durability="normal")) as mem, ThreadPoolExecutor(USERS) as pool:

        def save(number: int) -> None:
            text = f"User: {' '.join(rng.choices(WORDS, k=12))} {number} <private>hidden</private>\nAssistant: Fine."
            key = f"key {rng.randrange(20)}" if rng.random() < 0.1 else None
            user = f"user {number % USERS}"
            about = f"Said {number}" if rng.random() < 0.2 else None
            facts = []
            if rng.random() < 0.1:
                facts = [NewFact(type="profile", title="t", content=text[6:20], topic_key=f"fact {rng.randrange(3)}")]
            mem.mem_save(
                user,
                text,
                type="discovery",
                title=f"Turn: {text[6:40]}",
                topic_key=key,
                about=about,
                facts=facts,
                pinned=rng.random() < 0.1,
                expire_time=clock.now + timedelta(days=rng.randrange(100)) if rng.random() < 0.1 else None,
            )

        for first in range(0, rows, USERS):
            # At once, for they then share one transaction; and many rows have one moment.
            list(pool.map(save, range(first, first + USERS)))
            clock.forward(seconds=rng.randrange(1000))
            if rng.random() < 0.2:
                mem.mem_session_end(f"user {rng.randrange(USERS)}", summary=f"Said {first}")
            if rng.random() < 0.02:
                clock.forward(hours=25)
    return path


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fill(tmp_path_factory.mktemp("filled") / "memory.db", 800)


@pytest.fixture
def source(filled: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(filled, tmp_path / "memory.db"))


def copy(source: Path, target: str, *options: str, code: int = 0) -> dict[str, Any]:
    """Run the command and return its output."""
    ended = run_forked("ilab-memory", "copy", "--from", source, "--to", target, *options)
    assert ended.returncode == code, ended.stderr
    found: dict[str, Any] = json.loads(ended.stdout)
    return found


def users(path: Path) -> list[str]:
    connection = sqlite3.connect(path)
    try:
        return [user for (user,) in connection.execute("SELECT user_id FROM users")]
    finally:
        connection.close()


def both(source: Path, target: str) -> Iterator[ILabMemory]:
    config = Config(clock=Clock())
    return iter((ILabMemory.from_path(source, config), ILabMemory.from_url(target, config)))


def test_an_interrupted_copy_of_thousands_of_rows_resumes_and_ends_equal(target: str, tmp_path: Path) -> None:
    source = fill(tmp_path / "memory.db", 3_000)
    before = hashlib.sha256(source.read_bytes()).digest()
    with subprocess.Popen([*COMMAND, "--from", source, "--to", target], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        for line in process.stderr:
            if "copying: 4" in line:
                process.kill()
                break
    with psycopg.connect(target) as connection:
        held = connection.execute("SELECT user_id, observations FROM ilab_memory.users").fetchall()
    assert 0 < len(held) < USERS

    copied = copy(source, target)
    assert hashlib.sha256(source.read_bytes()).digest() == before
    assert copied["users"] == USERS
    assert copied["written"] == USERS - len(held)
    assert copied["observations"] > 2_700
    assert copied["sessions"] > USERS
    assert copied["different"] == copied["only_in_target"] == 0
    assert copied["source_sha256"] == copied["target_sha256"]

    here, there = both(source, target)
    with here, there:
        assert all(here.mem_stats(user)["observations"] == observations for user, observations in held)
        for user in users(source):
            assert list(there.mem_export(user)) == list(here.mem_export(user))
            assert there.mem_stats(user) == here.mem_stats(user)
            assert there.mem_session_peek(user) == here.mem_session_peek(user)
        for user in users(source)[::8]:
            for query in QUERIES:
                assert there.mem_search(user, query) == here.mem_search(user, query), query


def test_a_copied_user_continues_as_before(source: Path, target: str) -> None:
    copy(source, target)
    with ILabMemory.from_url(target) as there:
        [user, *_] = users(source)
        held = there.mem_stats(user)
        rows = [item for item in there.mem_export(user) if isinstance(item, Observation)]
        keyed = next(row for row in rows if row.topic_key)
        again = there.mem_save(user, "other", type="decision", title="Other", topic_key=keyed.topic_key)
        assert (again.id, again.outcome) == (keyed.id, "updated")
        new = there.mem_save(user, "new", type="decision", title="New")
        assert new.id > max(row.id or 0 for row in rows)
        assert [row.id for row in there.mem_timeline(user, new.id)][-1] == new.id
        assert there.mem_stats(user)["observations"] == held["observations"] + 1
        assert [found.id for found in there.mem_search(user, "new")][:1] == [new.id]
        assert there.mem_forget(user) == held["observations"] + 1


def test_users_changed_after_the_copy_are_reported_and_replaced_on_request(source: Path, target: str) -> None:
    copy(source, target)
    with ILabMemory.from_path(source) as here:
        here.mem_save("user 1", "changed", type="decision", title="Changed")
        here.mem_save("somebody new", "new", type="decision", title="New")
        here.mem_forget("user 2")
    seen = copy(source, target, code=1)
    assert (seen["written"], seen["different"], seen["only_in_target"]) == (1, 1, 1)
    assert seen["source_sha256"] != seen["target_sha256"]
    with ILabMemory.from_url(target) as there:
        there.mem_save("user 3", "written there", type="decision", title="There")
    replaced = copy(source, target, "--replace")
    assert (replaced["written"], replaced["different"]) == (2, 0)
    with ILabMemory.from_url(target) as there:
        assert there.mem_search("user 1", "changed")[0].title == "Changed"
        assert "There" not in [found.title for found in there.mem_search("user 3", "written there")]


def test_a_user_already_in_the_database_stays_unchanged(target: str, tmp_path: Path) -> None:
    source = tmp_path / "memory.db"
    with ILabMemory.from_path(source) as here, ILabMemory.from_url(target) as there:
        here.mem_save("alice", "in the file", type="decision", title="File")
        there.mem_save("alice", "in the database", type="decision", title="Database")
        there.mem_save("bob", "in the database", type="decision", title="Database")
        seen = copy(source, target, code=1)
        assert (seen["written"], seen["different"], seen["only_in_target"]) == (0, 1, 1)
        assert [found.title for found in there.mem_search("alice", "in the database or the file")] == ["Database"]


@pytest.mark.parametrize(
    ("source", "target", "said"),
    [
        ("missing.db", "{url}", "it does not exist"),
        ("text.db", "{url}", "NOTADB"),
        ("empty.db", "{url}", "schema version 0"),
        ("memory.db", "mysql://host/x", "must start with postgresql://"),
        ("memory.db", "postgresql://127.0.0.1:1/x", "could not open the database"),
        ("damaged.db", "{url}", "; run the same command again to copy the users that are missing"),
    ],
)
def test_a_failed_copy_prints_one_line_and_exits_with_2(
    url: str, tmp_path: Path, source: str, target: str, said: str
) -> None:
    (tmp_path / "text.db").write_text("no database at all" * 1000)
    (tmp_path / "empty.db").touch()
    ILabMemory.from_path(tmp_path / "memory.db").close()
    with ILabMemory.from_path(tmp_path / "damaged.db") as mem:
        mem.mem_save("alice", "content", type="decision", title="t")
    with closing(sqlite3.connect(tmp_path / "damaged.db")) as connection:
        (page,) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'observations'").fetchone()
    with (tmp_path / "damaged.db").open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"\xff" * 4096)
    ended = run_forked("ilab-memory", "copy", "--from", tmp_path / source, "--to", target.format(url=url))
    assert (ended.returncode, ended.stdout) == (2, "")
    last = ended.stderr.splitlines()[-1]
    assert last.startswith("ilab-memory: ")
    assert said in last
    assert ("run the same command again" in last) == (source == "damaged.db")


def test_the_target_may_come_from_the_environment_and_must_be_given(source: Path, target: str) -> None:
    command = [*COMMAND, "--from", source, "--json"]
    missing = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert missing.returncode == 2
    assert "--to" in missing.stderr
    ended = subprocess.run(
        command, env=os.environ | {"ILAB_MEMORY_URL": target}, capture_output=True, text=True, timeout=100, check=True
    )
    assert json.loads(ended.stdout)["users"] == USERS


def test_a_terminal_shows_progress_and_a_summary(source: Path, target: str) -> None:
    ours, theirs = pty.openpty()
    with subprocess.Popen([*COMMAND, "--from", source, "--to", target], stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        shown = bytearray()
        # Linux ends the terminal with EIO when its last user has gone.
        with suppress(OSError):
            while piece := os.read(ours, 4096):
                shown += piece
        assert process.wait(60) == 0
    os.close(ours)
    assert b"\rcopying: " in shown
    assert b"\rcomparing: " in shown
    assert f"{USERS} users are equal on both sides".encode() in shown


def test_a_commit_that_is_not_on_the_standby_is_not_reported_as_copied(source: Path) -> None:
    with running_cluster() as cluster:
        PostgresStore(cluster.url(), partitions=2).close()
        with psycopg.connect(cluster.url(), autocommit=True) as connection, commits_wait(connection):
            command = [*COMMAND, "--from", source, "--to", cluster.url()]
            for _ in range(2):
                with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
                    for pid in waiting(connection, "wait_event = 'SyncRep'"):
                        connection.execute("SELECT pg_cancel_backend(%s)", (pid,))
                    _, errors = process.communicate(timeout=60)
                assert process.returncode == 2
                assert "could not copy the user: NotReplicated" in errors
        assert copy(source, cluster.url())["different"] == 0
