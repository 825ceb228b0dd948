"""Servers that are killed while they consolidate, in short. The long run is `make soak`."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from faults.consolidation import killed, told
from faults.kept import InDatabase, InFile
from postgres import Cluster

KILLS = 4


@pytest.fixture
def seed() -> int:
    return random.randrange(10**6)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_each_turn_is_consolidated_once_when_a_server_is_killed(tmp_path: Path, seed: int) -> None:
    outcome = killed(InFile(tmp_path / "memory.db"), seed, KILLS, servers=1)
    assert not outcome.broken, told("a file", seed, outcome)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_each_turn_is_consolidated_once_when_servers_on_postgres_are_killed(postgres: Cluster, seed: int) -> None:
    outcome = killed(InDatabase(postgres.create_database()), seed, KILLS, servers=3)
    assert not outcome.broken, told("PostgreSQL", seed, outcome)
