"""A returned save survives SIGKILL, an erased text does not come back. The long runs are killed.py and erasing.py."""

from pathlib import Path

import pytest

from memory.erasing import Round, left
from memory.killed import faults, kill_round, lost


@pytest.mark.parametrize("seconds", [0.0, 0.05, 0.3])
def test_a_kill_loses_no_acknowledged_save(tmp_path: Path, seconds: float) -> None:
    path = tmp_path / "memory.db"
    acknowledged = kill_round(path, seconds)
    assert acknowledged
    assert lost(path, acknowledged) == []
    assert faults(path) == []


def test_processes_that_erase_at_once_leave_nothing_and_lose_nothing_when_killed(tmp_path: Path) -> None:
    path = tmp_path / "memory.db"
    done = Round(path, 2)
    assert (done.ended, done.left) == ([], [])
    # Next to a reader without a pause, some may have to be called again.
    assert [failure for failure in done.failed if "a reader holds" not in failure] == []
    assert done.saved
    assert done.acknowledged
    assert left(path, done.saved) == []
    assert lost(path, done.acknowledged) == []
    assert faults(path) == []
