"""Each fault in short. The long runs are `make soak`."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from faults import scenarios
from faults.audit import broken_promises
from faults.database import HARMS, harmed, standby_stopped
from faults.endurance import endured
from faults.failover import failed_over
from faults.kept import InDatabase, InFile
from faults.leaving import MEMORY_GROWN
from faults.network import Link, badly_connected
from faults.soak import MOST, told
from faults.stage import Stage, stage
from faults.talk import moody
from postgres import FAST, running_cluster, running_pair


@pytest.fixture
def seed() -> int:
    drawn = random.randrange(10**6)
    print(f"seed {drawn}")  # noqa: T201 - pytest shows it when a test fails
    return drawn


@pytest.fixture
def alone(tmp_path: Path, seed: int) -> Iterator[Stage]:
    """One server on a file."""
    with stage(InFile(tmp_path / "memory.db"), seed) as built:
        yield built


@pytest.fixture
def two(tmp_path: Path, seed: int) -> Iterator[Stage]:
    """Two servers on one file."""
    with stage(InFile(tmp_path / "memory.db"), seed, servers=2) as built:
        yield built


@pytest.fixture
def three(memory_database: str, seed: int) -> Iterator[Stage]:
    """Three servers on PostgreSQL."""
    with stage(InDatabase(memory_database), seed, servers=3) as built:
        yield built


@pytest.fixture(params=["alone", "three"])
def scene(request: pytest.FixtureRequest) -> Stage:
    built: Stage = request.getfixturevalue(request.param)
    return built


async def test_nothing_acknowledged_is_lost_or_doubled_when_servers_are_killed(scene: Stage) -> None:
    assert await broken_promises(scene, await scenarios.killed(scene, 2)) == {}


async def test_nothing_acknowledged_is_lost_or_doubled_when_workers_are_killed(alone: Stage) -> None:
    assert await broken_promises(alone, await scenarios.worker_killed(alone, 1)) == {}


async def test_a_server_that_is_told_to_stop_loses_nothing(scene: Stage) -> None:
    assert await broken_promises(scene, await scenarios.drained(scene, 1)) == {}


async def test_no_call_fails_while_one_of_two_servers_stops(two: Stage) -> None:
    ledger = await scenarios.one_drained(two, 1)
    assert ledger.failed == {}
    assert await broken_promises(two, ledger) == {}


async def test_a_full_disk_fails_calls_and_harms_nothing(alone: Stage) -> None:
    assert await broken_promises(alone, await scenarios.without_space(alone, 1)) == {}


async def test_a_model_that_is_down_fails_calls_and_nothing_else(scene: Stage) -> None:
    assert await broken_promises(scene, await scenarios.without_model(scene, 1)) == {}


async def test_cuts_silence_garbage_and_callers_who_leave_harm_nothing(scene: Stage) -> None:
    assert await broken_promises(scene, await scenarios.troubled(scene, 100, mood=moody, leaving=0.3)) == {}


async def test_a_primary_that_is_killed_and_servers_that_are_lose_nothing(
    seed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with running_pair() as pair, stage(InDatabase(pair.url()), seed, servers=3) as scene:
        ledger = await failed_over(scene, pair)
        broken = await broken_promises(scene, ledger)
    with capsys.disabled():
        print("", *told(ledger, broken), sep="\n")  # noqa: T201 - the counts are asked for
    assert broken == {}
    assert ledger.figures["first answer after the promotion, s"] <= MOST["first answer after the promotion, s"]


@pytest.mark.parametrize("link", [Link.CLIENT, Link.MODEL])
async def test_a_bad_network_loses_nothing_on_a_file(alone: Stage, link: Link) -> None:
    assert await broken_promises(alone, await badly_connected(alone, link)) == {}


async def test_a_bad_network_to_the_database_loses_nothing(memory_database: str, seed: int) -> None:
    with stage(InDatabase(memory_database), seed) as scene:
        assert await broken_promises(scene, await badly_connected(scene, Link.DATABASE)) == {}


async def test_a_database_whose_sessions_end_that_is_locked_full_or_read_only_loses_nothing(seed: int) -> None:
    # Few connections are used up soon.
    settings = (*FAST, "max_connections=40")
    with running_cluster(settings=settings) as cluster, cluster.memory() as url, stage(InDatabase(url), seed) as scene:
        assert await broken_promises(scene, await harmed(scene, HARMS, 1)) == {}


async def test_a_standby_that_stops_loses_nothing(seed: int) -> None:
    with running_pair() as pair, stage(InDatabase(pair.url()), seed, servers=2) as scene:
        assert await broken_promises(scene, await standby_stopped(scene, pair, 1)) == {}


async def test_all_faults_by_turns_lose_nothing(scene: Stage) -> None:
    assert await broken_promises(scene, await endured(scene, turns=120, seconds=8)) == {}


async def test_a_thousand_streams_that_are_left_leave_nothing_behind(alone: Stage) -> None:
    ledger = await scenarios.left(alone, 1000)
    assert ledger.figures["memory grown, MiB"] < MEMORY_GROWN
    assert await broken_promises(alone, ledger) == {}
