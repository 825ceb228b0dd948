"""Cached keys of a user are never used after the user was erased and created again."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from ilab_memory import ILabMemory
from ilab_memory.stores.sqlite import SQLiteStore, blind_index
from ilab_memory.stores.sqlite.blind_index import KeyCache, UserKey


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "memory.db"


@pytest.fixture
def mem(path: Path) -> Iterator[ILabMemory]:
    with ILabMemory.from_path(path) as opened:
        yield opened


def save(mem: ILabMemory, *contents: str, user_id: str = "alice") -> None:
    for content in contents:
        mem.mem_save(user_id, content, type="discovery", title="t")


def found(mem: ILabMemory, user_id: str = "alice") -> list[str]:
    # The index alone finds these: as it stands, the query is in no row.
    return sorted(row.snippet for row in mem.mem_search(user_id, "teas"))


@pytest.mark.parametrize("rows", [1, 50])
def test_a_user_forgotten_by_another_process_is_gone_and_can_start_again(
    mem: ILabMemory, path: Path, rows: int
) -> None:
    save(mem, *(f"green tea {number}" for number in range(rows)))
    assert found(mem)
    with ILabMemory.from_path(path) as other:
        assert other.mem_forget("alice") == rows
        assert found(mem) == []
        save(other, "black tea")
        assert found(mem) == found(other) == ["black tea"]


def test_the_same_user_in_another_file_is_a_different_user(mem: ILabMemory, path: Path, tmp_path: Path) -> None:
    save(mem, "green tea")
    assert found(mem) == ["green tea"]
    with ILabMemory.from_path(tmp_path / "other.db") as other:
        # Of the same key, too.
        save(other, "black tea")
    shutil.copyfile(tmp_path / "other.db", tmp_path / "copy.db")
    for log in ("-wal", "-shm"):
        path.with_name(path.name + log).unlink()
    (tmp_path / "copy.db").replace(path)
    assert found(mem) == ["black tea"]


def test_a_forgotten_user_is_not_cached(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[KeyCache] = []

    class Seen(KeyCache):
        def __init__(self) -> None:
            super().__init__()
            made.append(self)

    monkeypatch.setattr("ilab_memory.stores.sqlite.store.KeyCache", Seen)
    with ILabMemory(SQLiteStore(path)) as mem:
        save(mem, "tea")
        save(mem, "tea", user_id="bob")
        for user_id in ("alice", "bob", "nobody"):
            found(mem, user_id=user_id)
        (remembered,) = made
        assert remembered.get("alice")
        assert remembered.get("nobody") is None
        mem.mem_forget("alice")
        assert remembered.get("alice") is None
        assert remembered.get("bob")


def test_the_number_of_cached_users_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blind_index, "MAX_USERS", 2)
    remembered = KeyCache()
    for key, user_id in enumerate(("alice", "bob")):
        remembered.put(user_id, UserKey(key, b"secret"))
    assert remembered.get("alice") == (0, b"secret")
    remembered.put("carol", UserKey(2, b"secret"))
    assert [bool(remembered.get(user_id)) for user_id in ("alice", "bob", "carol")] == [True, False, True]
