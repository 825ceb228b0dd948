"""Each fault in short. The long runs are `make soak`."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from faults import scenarios
from faults.audit import broken_promises
from faults.stage import Stage, stage
from faults.talk import moody


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Stage]:
    seed = random.randrange(10**6)
    print(f"seed {seed}")  # noqa: T201 - pytest shows it when a test fails
    with stage(tmp_path, seed) as built:
        yield built


async def test_nothing_acknowledged_is_lost_or_doubled_when_the_server_is_killed(scene: Stage) -> None:
    assert await broken_promises(scene, await scenarios.killed(scene, 5)) == {}


async def test_a_server_that_is_told_to_stop_loses_nothing(scene: Stage) -> None:
    assert await broken_promises(scene, await scenarios.drained(scene, 2)) == {}


async def test_no_call_fails_while_one_of_two_servers_stops(scene: Stage) -> None:
    ledger = await scenarios.one_of_two_drained(scene, 2)
    assert ledger.failed == {}
    assert await broken_promises(scene, ledger) == {}


async def test_a_full_disk_fails_calls_and_harms_nothing(scene: Stage) -> None:
    assert await broken_promises(scene, await scenarios.without_space(scene, 1)) == {}


async def test_a_model_that_is_down_fails_calls_and_nothing_else(scene: Stage) -> None:
    assert await broken_promises(scene, await scenarios.without_model(scene, 3)) == {}


async def test_cuts_silence_garbage_and_callers_who_leave_harm_nothing(scene: Stage) -> None:
    assert await broken_promises(scene, await scenarios.troubled(scene, 200, mood=moody, leaving=0.3)) == {}
