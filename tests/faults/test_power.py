"""Loss of power in short; `python -m faults.power` in full."""

from __future__ import annotations

import random
from pathlib import Path

from faults import power


def test_nothing_acknowledged_is_lost_and_nothing_forgotten_returns_when_power_is_lost(tmp_path: Path) -> None:
    seed = random.randrange(10**6)
    print(f"seed {seed}")  # noqa: T201 - pytest shows it when a test fails
    recording = power.recorded(tmp_path, saves=400)
    assert {event.kind for event in recording} >= {"w", "s", "t", "a"}
    verdict = power.cut(recording, tmp_path / "cuts", 20, random.Random(seed))
    assert verdict.is_clean, str(verdict)
    assert verdict.acknowledged > 1000


def test_a_disk_that_ignores_syncs_is_noticed(tmp_path: Path) -> None:
    recording = [event for event in power.recorded(tmp_path, saves=80) if event.kind != "s"]
    verdict = power.cut(recording, tmp_path / "cuts", 20, random.Random(1))
    assert not verdict.is_clean
