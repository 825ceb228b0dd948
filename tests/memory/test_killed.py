"""A returned save survives SIGKILL. The long run is `python tests/memory/killed.py 50`."""

from pathlib import Path

import pytest

from memory.killed import faults, kill_round, lost


@pytest.mark.parametrize("seconds", [0.0, 0.05, 0.3])
def test_a_kill_loses_no_acknowledged_save(tmp_path: Path, seconds: float) -> None:
    path = tmp_path / "memory.db"
    acknowledged = kill_round(path, seconds)
    assert acknowledged
    assert lost(path, acknowledged) == []
    assert faults(path) == []
