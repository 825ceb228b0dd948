"""docs/upgrade.md: from the version before to this one and back, and two builds of this one after the other."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path

import psycopg
import pytest

from callers import CALLS, USER, Callers
from ilab_chat import ChatClient
from ilab_chat.v1.memory_pb2 import Observation
from ilab_chat_service.idempotency import schema
from postgres import Cluster
from processes import ServerProcess, run_server, running_server
from upstream import Upstream

ROOT = Path(__file__).parents[2]
TOOL = ROOT / "tools/move_memory.py"

#: The last commit whose memory has version 1 of the schema in its first form, and no metrics, image or backup.
BEFORE = "474cd19ea6d48faacb34bbeb30fdaeb3c0588d85"
REFUSED = r"made by an unreleased version of ilab-memory; export .* \(docs/upgrade.md\)"

USERS = ("alice", "bob", "Zoë 🙂")
LONG = "a long walk " * 2000

#: Writes to a memory with whatever version of the library Python finds.
WRITE = """
import sys
from ilab_memory import ILabMemory
opened = ILabMemory.from_url if "://" in sys.argv[1] else ILabMemory.from_path
with opened(sys.argv[1]) as memory:
    for user in sys.argv[2:]:
        for number in range(45):
            key = f"turn/{number}" if number % 3 else None
            text = f"User: walk {number}\\nAssistant: <private>a secret</private> noted"
            memory.mem_save(user, text, type="discovery", title=f"Turn {number}", topic_key=key)
        memory.mem_save(user, "User: walk 1\\nAssistant: changed", type="discovery", title="t", topic_key="turn/1")
        memory.mem_session_end(user, summary="They walked.")
        memory.mem_save(user, "User: again\\nAssistant: yes", type="discovery", title="t", conversation_id="trip")
"""


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the PYTHONPATH of the version before."""
    folder = tmp_path_factory.mktemp("before")
    packages = ("client", "memory", "service")
    archive = subprocess.run(["git", "archive", BEFORE, *packages], cwd=ROOT, capture_output=True, check=False)
    if archive.returncode:
        pytest.skip("needs the history of this repository: git fetch --unshallow")
    subprocess.run(["tar", "--extract"], input=archive.stdout, cwd=folder, check=True)
    return os.pathsep.join(str(folder / each) for each in packages)


@pytest.fixture
def now() -> str:
    return os.environ.get("PYTHONPATH", "")


def python(version: str, *arguments: str | Path, given: str = "") -> subprocess.CompletedProcess[str]:
    """Run a program with the packages of *version*, a PYTHONPATH, or of this one if it is empty."""
    environment = {**os.environ, "PYTHONPATH": version}
    return subprocess.run(
        [sys.executable, *arguments], env=environment, input=given, capture_output=True, text=True, check=False
    )


def moved(source: str, source_version: str, target: str, target_version: str) -> str:
    """Move all users as the guide says, and return what the import reports."""
    return import_(export(source, source_version), target, target_version)


def export(source: str, version: str) -> str:
    exported = python(version, TOOL, "export", source)
    assert exported.returncode == 0, exported.stderr
    return exported.stdout


def import_(exported: str, target: str, version: str) -> str:
    imported = python(version, TOOL, "import", target, given=exported)
    assert imported.returncode == 0, imported.stderr
    return imported.stderr


@contextmanager
def serving(version: str, memory: Path, upstream: Upstream) -> Iterator[ChatClient]:
    """Run the server of *version* on a SQLite file."""
    command = [sys.executable, "-c", "from ilab_chat_service.cli import main; raise SystemExit(main())"]
    settings = {"PYTHONPATH": version} if version else {}
    with (
        running_server(
            command, ILAB_MEMORY_DB_PATH=str(memory), OPENAI_BASE_URL=upstream.base_url, OPENAI_MODEL="m", **settings
        ) as server,
        ChatClient(server.address) as client,
    ):
        yield client
        assert server.stop() == 0, "".join(server.log)


def stored(client: ChatClient, user_id: str) -> list[str]:
    """Return the text of all turns of a user, the oldest first."""
    with client.memory.export(user_id) as export:
        return [item.content for item in export if isinstance(item, Observation)]


@pytest.mark.timeout(400)
def test_turns_of_the_version_before_are_moved_and_moved_back(
    before: str, now: str, tmp_path: Path, upstream: Upstream
) -> None:
    old, new, back = (tmp_path / name for name in ("old.db", "new.db", "back.db"))
    with serving(before, old, upstream) as client:
        for user in USERS:
            for text in ("I have a dog named Rex.", "And <private>a secret</private>.", LONG):
                client.chat(user, text)
        said = {user: stored(client, user) for user in USERS}
    assert [len(each) for each in said.values()] == [3, 3, 3]

    in_file = old.read_bytes()
    refused = run_server(ILAB_MEMORY_DB_PATH=str(old), OPENAI_BASE_URL=upstream.base_url)
    assert refused.returncode == 1
    assert re.search(REFUSED, refused.stderr)
    assert old.read_bytes() == in_file

    assert "of 3 users; 0 are missing or differ" in moved(str(old), before, str(new), now)
    with serving(now, new, upstream) as client:
        assert {user: stored(client, user) for user in USERS} == said
        client.chat("alice", "What is the name of my dog?", conversation_id="pets")
        assert "Rex" in str(upstream.requests[-1].messages)
        said["alice"] = stored(client, "alice")
        assert len(said["alice"]) == 4

    assert "is newer than 1" in python(before, TOOL, "export", str(new)).stderr
    assert "of 3 users; 0 are missing or differ" in moved(str(new), now, str(back), before)
    with serving(before, back, upstream) as client:
        assert {user: stored(client, user) for user in USERS} == said
        assert client.chat("alice", "Hi").reply == "Hello there."


@pytest.mark.parametrize("source", ["sqlite", "postgres"])
@pytest.mark.timeout(400)
def test_users_move_between_stores_and_versions(
    before: str, now: str, tmp_path: Path, postgres: Cluster, source: str
) -> None:
    old = postgres.create_database() if source == "postgres" else str(tmp_path / "old.db")
    assert python(before, "-c", WRITE, old, *USERS).returncode == 0
    opened = python(now, TOOL, "import", old)
    assert opened.returncode == 2
    assert "docs/upgrade.md" in opened.stderr
    exported = export(old, before)
    for target in (postgres.create_database(), str(tmp_path / "new.db")):
        assert "of 3 users; 0 are missing or differ" in import_(exported, target, now)


def test_answers_that_the_version_before_stored_are_deleted(postgres: Cluster) -> None:
    with psycopg.connect(postgres.create_database(), autocommit=True) as database:
        schema.migrate(database)
        database.execute(
            "INSERT INTO ilab_chat.idempotency_records VALUES ('alice', 'Chat', 'r', now(), 'f', '{}', '{1}')"
        )
        count = "SELECT count(*) FROM ilab_chat.idempotency_records"
        schema.migrate(database)
        assert database.execute(count).fetchone() == (1,)
        database.execute("UPDATE ilab_chat.schema_version SET version = 1")
        schema.migrate(database)
        assert database.execute(count).fetchone() == (0,)


@pytest.mark.timeout(400)
async def test_builds_of_one_schema_replace_each_other_and_no_call_fails(
    upstream: Upstream, memory_database: str
) -> None:
    async with AsyncExitStack() as running:

        async def start(name: str, address: str = "127.0.0.1:0") -> ServerProcess:
            server = await asyncio.to_thread(
                running.enter_context,
                running_server(
                    ILAB_CHAT_ADDRESS=address,
                    ILAB_CHAT_BUILD=name,
                    ILAB_CHAT_PROPAGATION_SECONDS="1",
                    ILAB_CHAT_MAX_CALLS_PER_USER="64",
                    ILAB_MEMORY_URL=memory_database,
                    OPENAI_BASE_URL=upstream.base_url,
                    OPENAI_MODEL=name,
                ),
            )
            assert f"build {name}" in "".join(server.log)
            return server

        servers = {name: await start(name) for name in ("before-1", "before-2")}
        callers = Callers(",".join(server.address for server in servers.values()), upstream)
        running.push_async_callback(callers.close)

        # Both clients use both servers.
        await callers.burst_until(*servers, each=2 * CALLS)
        said = "Good morning."
        first = await callers.aio.chat(USER, said, request_id="first")

        # The upgrade, then the rollback: one server after the other, and the next when callers use the new one.
        for build in ("after", "before"):
            for name in list(servers):
                server = servers.pop(name)
                await callers.burst_while(asyncio.create_task(asyncio.to_thread(server.stop)))
                assert server.process.returncode == 0
                replacement = f"{build}-{name[-1]}"
                servers[replacement] = await start(replacement, server.address)
                await callers.burst_until(*servers, each=2 * CALLS)
            asked = len(upstream.requests)
            again = await callers.aio.chat(USER, said, request_id="first")
            assert (again.reply, again.observation_id) == (first.reply, first.observation_id)
            assert len(upstream.requests) == asked, "the answer of the other build is repeated"
        assert (await callers.aio.memory.stats(USER)).observations == callers.turns + 1
