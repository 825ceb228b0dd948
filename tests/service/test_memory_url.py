"""ILAB_MEMORY_URL: what is refused, what is shown of it, and a server on PostgreSQL."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import grpc
import psycopg
import pytest

from batch import cases
from ilab_chat.v1 import chat_pb2, chat_pb2_grpc
from ilab_chat_service.settings import SettingsError
from ilab_chat_service.settings.database_url import conninfo, shown
from postgres import Cluster
from processes import environment, run_server, running_server
from upstream import Upstream

WITHOUT_DRIVER = """
import sys
sys.modules["psycopg"] = None
from ilab_chat_service.cli import main
sys.exit(main())
"""


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("postgresql://alice:hunter2@db/memory", "postgresql://db/memory"),
        ("postgres://alice:hunter2@db:5433/memory?sslmode=require", "postgresql://db:5433/memory"),
        ("postgresql://a:hunter2@one,two/m?target_session_attrs=read-write", "postgresql://one,two/m"),
        ("postgresql://one:1,[::1]:2/m", "postgresql://one:1,[::1]:2/m"),
        ("postgresql:///m?host=%2Fvar%2Frun&password=hunter2", "postgresql:///var/run/m"),
    ],
)
def test_only_hosts_and_database_are_shown(url: str, place: str) -> None:
    assert shown(url) == place


@cases(
    "url",
    [
        "mysql://alice:hunter2@db/memory",
        "/var/hunter2.db",
        "postgresql://alice:hunter2@db/memory?sslmodus=require",
        "postgresql://alice:x@hunter2@db/memory",
        "postgresql://alice:hunter2/x@db/memory",
        "postgresql://alice:1/hunter2@db/memory",
        "postgresql://alice:x:hunter2@db:x/memory",
        "postgresql://db:1,two:2,three:hunter2/memory",
    ],
)
def test_a_url_that_cannot_be_is_refused_and_not_quoted(url: str) -> None:
    with pytest.raises(SettingsError, match=r"^ILAB_MEMORY_URL: ") as told:
        shown(url)
    assert "hunter2" not in str(told.value)


def test_a_server_refuses_such_a_url_in_one_line() -> None:
    ended = run_server(ILAB_MEMORY_URL="mysql://alice:hunter2@db/memory")
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1)
    assert "hunter2" not in ended.stderr


def test_a_url_may_say_otherwise_than_the_defaults() -> None:
    assert "connect_timeout=9" in conninfo("postgresql://db/memory?connect_timeout=9")
    assert "connect_timeout=3" in conninfo("postgresql://db/memory")


def test_without_the_driver_the_extra_is_named(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", WITHOUT_DRIVER],
        env=environment(
            {"ILAB_MEMORY_URL": "postgresql://alice:hunter2@db/m", "OPENAI_BASE_URL": "http://127.0.0.1:1"}
        ),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 1
    assert ended.stderr == (
        "ilab-chat-server: ILAB_MEMORY_URL: psycopg is not installed:"
        " PostgreSQL needs the extra postgres: in the repository, pip install . ./memory './service[postgres]'\n"
    )


def test_a_database_that_cannot_be_reached_is_one_line(tmp_path: Path) -> None:
    url = f"postgresql://alice:hunter2@/memory?host={tmp_path},{tmp_path}"
    ended = run_server(ILAB_MEMORY_URL=url, OPENAI_BASE_URL="http://127.0.0.1:1")
    assert (ended.returncode, ended.stderr.count("\n")) == (1, 1)
    assert ended.stderr.startswith(f"ilab-chat-server: ILAB_MEMORY_URL: postgresql://{tmp_path},{tmp_path}/memory: ")
    assert "hunter2" not in ended.stderr


def test_a_server_on_postgresql_says_where_and_writes_nothing_in_other_modes(
    postgres: Cluster, upstream: Upstream
) -> None:
    url = postgres.create_database()
    modes = [chat_pb2.MEMORY_MODE_READ_ONLY, chat_pb2.MEMORY_MODE_OFF, chat_pb2.MEMORY_MODE_READ_WRITE]
    rows = []
    with (
        running_server(ILAB_MEMORY_URL=f"{url}&password=hunter2", OPENAI_BASE_URL=upstream.base_url) as server,
        grpc.insecure_channel(server.address) as channel,
        psycopg.connect(url, autocommit=True) as database,
    ):
        stub: Any = chat_pb2_grpc.ChatServiceStub(channel)
        for mode in modes:
            stub.Chat(chat_pb2.ChatRequest(user_id="alice", message="Hi", memory_mode=mode), timeout=30)
            rows.append(
                [
                    database.execute(f"SELECT count(*) FROM {table}".encode()).fetchone()
                    for table in ("ilab_memory.users", "ilab_memory.observations", "ilab_chat.idempotency_records")
                ]
            )
        assert server.stop() == 0
    assert rows == [[(0,)] * 3, [(0,)] * 3, [(1,)] * 3]
    said = "".join(server.log)
    assert f"memory: {shown(url)}" in said
    assert "hunter2" not in said
