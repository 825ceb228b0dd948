"""The PostgreSQL that other tests ask for."""

import signal
import time

import psycopg
import pytest

import postgres as servers
from ilab_memory import ILabMemory


def test_each_database_is_a_new_one(postgres: servers.Cluster) -> None:
    for _ in range(2):
        with psycopg.connect(postgres.create_database()) as connection:
            connection.execute("CREATE TABLE only_here (n int)")


def test_a_cluster_can_be_killed_and_comes_back_with_what_was_acknowledged() -> None:
    with servers.running_cluster(settings=()) as cluster:
        with psycopg.connect(cluster.url()) as connection:
            connection.execute("CREATE TABLE kept (n int)")
        cluster.stop(signal.SIGKILL)
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(cluster.url())
        cluster.start()
        with psycopg.connect(cluster.url()) as connection:
            assert connection.execute("SELECT count(*) FROM kept").fetchone() == (0,)
        folder = cluster.folder
    assert not folder.exists()


def test_a_memory_is_empty_and_used_again_unless_somebody_is_connected(postgres: servers.Cluster) -> None:
    with postgres.memory() as first:
        with ILabMemory.from_url(first) as mem:
            mem.mem_save("alice", "green tea", type="discovery", title="t")
        # PostgreSQL ends the processes of closed connections a moment later.
        with psycopg.connect(first, autocommit=True) as connection:
            while connection.execute(servers.OTHERS).fetchone():
                time.sleep(servers.POLL_SECONDS)
    with postgres.memory() as second:
        with ILabMemory.from_url(second) as mem:
            assert (second, mem.mem_stats("alice")["observations"]) == (first, 0)
        connection = psycopg.connect(second)
    with connection, postgres.memory() as third:
        assert third != second
