"""Observation ids: they rise within a user, and tell nothing of what others save."""

import itertools
import secrets
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ilab_memory import ILabMemory
from ilab_memory.stores.sqlite import schema


def save(mem: ILabMemory, user_id: str, content: str) -> int:
    return mem.mem_save(user_id, content, type="discovery", title="t").id


def steps_between(ids: list[int]) -> list[int]:
    return [later - earlier for earlier, later in itertools.pairwise(ids)]


def test_saves_of_other_users_do_not_change_the_steps_between_ids(mem: ILabMemory) -> None:
    alone = [save(mem, "alice", f"alone {number}") for number in range(5)]
    watched = []
    for number in range(5):
        for other in range(20):
            save(mem, f"other {other}", f"content {number}")
        watched.append(save(mem, "alice", f"watched {number}"))
    assert steps_between(alone) == [1] * 4
    assert steps_between(watched) == [1] * 4


def test_ids_of_concurrent_saves_increase_per_user_and_are_unique(mem: ILabMemory) -> None:
    users = [f"user {number}" for number in range(8)]

    def work(user_id: str) -> list[int]:
        return [save(mem, user_id, f"content {number}") for number in range(30)]

    with ThreadPoolExecutor(len(users)) as pool:
        saved = list(pool.map(work, users))
    assert all(ids == sorted(ids) for ids in saved)
    assert len({an_id for ids in saved for an_id in ids}) == 8 * 30
    assert all(0 < an_id < 2**53 for ids in saved for an_id in ids)


def test_two_users_never_share_a_block_of_ids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = iter([7, 7, 7, 8])
    monkeypatch.setattr(secrets, "choice", lambda _: next(drawn))
    with ILabMemory.from_path(tmp_path / "memory.db") as mem:
        assert save(mem, "alice", "c") == (7 << schema.NUMBER_BITS) + 1
        assert save(mem, "bob", "c") == (8 << schema.NUMBER_BITS) + 1
