"""The documented backup of PostgreSQL: pg_dump restores to the same export."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from ilab_memory import ILabMemory
from postgres import Cluster, program

USERS = ("alice", "bob")
DOCUMENTED = (Path(__file__).parents[2] / "docs/operations.md").read_text()


def options(command: str, *names: str) -> list[str]:
    """Return these options as the documented *command* has them."""
    [line] = [line for line in DOCUMENTED.splitlines() if line.startswith(f"{command} ")]
    found = [word for word in line.split() if word.startswith(names)]
    assert len(found) == len(names)
    return found


def exported(url: str) -> dict[str, list[str]]:
    with ILabMemory.from_url(url) as mem:
        return {user: [item.model_dump_json() for item in mem.mem_export(user)] for user in USERS}


@pytest.mark.parametrize("writes", [False, True], ids=["idle", "in use"])
def test_dump_restores_to_the_same_export(postgres: Cluster, tmp_path: Path, *, writes: bool) -> None:
    source, target = postgres.create_database(), postgres.create_database()
    with ILabMemory.from_url(source) as mem:
        for number in range(20):
            mem.mem_save(USERS[number % 2], f"Said {number}", type="discovery", title="t")
        mem.mem_session_end("alice", summary="s")
        before = exported(source)
        dump = [
            str(program("pg_dump")),
            *options("pg_dump", "--format", "--schema=ilab_memory"),
            f"--file={tmp_path / 'd'}",
        ]
        with subprocess.Popen([*dump, source]) as process:
            while writes and process.poll() is None:
                mem.mem_save("bob", f"Said during the dump {process.pid}", type="discovery", title="t")
        assert process.returncode == 0
    restore = [
        str(program("pg_restore")),
        *options("pg_restore", "--exit-on-error"),
        f"--dbname={target}",
        str(tmp_path / "d"),
    ]
    subprocess.run(restore, check=True)
    after = exported(target)
    assert after["alice"] == before["alice"]
    assert writes or after == before
    with ILabMemory.from_url(target) as mem:
        assert mem.mem_search("alice", "said")
        mem.mem_save("alice", "after the restore", type="discovery", title="t")
