"""Copy a SQLite file to PostgreSQL unchanged, then compare both sides.

The file is only read and may stay in use: each user is read from one snapshot and written in one transaction. So an
interrupted copy contains whole users, and the next run copies the missing ones. Users that change in the file after
they were copied are reported as different; a run with *replace* copies them again. Stop all writers before the last
run. The database may be in use too; without *replace*, users that it already has stay unchanged.

The service's stored answers (of calls of the last 24 hours) are not copied.
"""

import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple

from ilab_memory.core.models import Observation, Session
from ilab_memory.stores.postgres import PostgresStore
from ilab_memory.stores.sqlite.snapshot_reader import SnapshotReader

#: Called with "copying" or "comparing", the number of observations processed, and their number at the start.
Progress = Callable[[str, int, int], None]
#: Observations between two calls of Progress.
_STEP = 100


@dataclass(frozen=True, slots=True)
class Copied:
    """The result of a copy."""

    users: int
    """Users in the file at the end."""
    sessions: int
    """Their sessions."""
    observations: int
    """Their observations."""
    written: int
    """Users that this run copied."""
    different: int
    """Users whose count or hash differs between both sides. The copy is complete if this is 0."""
    only_in_target: int
    """Users in the database that are not in the file."""
    source_sha256: str
    """Hash of every field of every session and observation in the file, user by user."""
    target_sha256: str
    """Hash of the same users in the database."""


class _Digest(NamedTuple):
    """Counts and hash of one user's sessions and observations."""

    sessions: int
    observations: int
    sha256: bytes


def copy(source: str, target: str, *, replace: bool, progress: Progress) -> Copied:
    """Copy the SQLite file *source* to the PostgreSQL database *target*, then compare both.

    Args:
        source: Path of a file of `SQLiteStore`.
        target: URL of the database. Missing tables are created.
        replace: Overwrite users in the database that differ from the file.
        progress: Called as the copy proceeds.

    Raises:
        ValueError: *target* is not a PostgreSQL URL.
        StorageError: the file cannot be read, or the database cannot be written or has not replicated a commit to its
            synchronous standby. Users that were already copied stay.
    """
    if not target.startswith(("postgresql://", "postgres://")):
        raise ValueError("the target must start with postgresql://")
    with SnapshotReader(source) as file, PostgresStore(target) as store:
        written = _write(file, store, _Counter("copying", file.count_observations(), progress), replace=replace)
        return _compare(file, store, _Counter("comparing", file.count_observations(), progress), written)


class _Counter:
    """Counts observations as they are iterated, and reports progress."""

    def __init__(self, what: str, total: int, progress: Progress) -> None:
        self._what, self._total, self._progress = what, total, progress
        self._seen = 0
        progress(what, 0, total)

    def counted(self, observations: Iterator[tuple[int, Observation]]) -> Iterator[tuple[int, Observation]]:
        """Yield *observations* and count them."""
        for each in observations:
            self._seen += 1
            if self._seen % _STEP == 0:
                self._progress(self._what, self._seen, self._total)
            yield each

    def end(self) -> None:
        """Report completion."""
        self._progress(self._what, self._total, self._total)


def _write(file: SnapshotReader, store: PostgresStore, counter: _Counter, *, replace: bool) -> int:
    """Write the missing users and, with *replace*, those that differ; return how many were written."""
    written = 0
    for user_id in file.users():
        if replace and _of_source(file, user_id) == _digest(store.export(user_id)):
            continue
        with file.user(user_id) as rows:
            if rows is not None:
                written += store.write_rows(
                    dataclasses.replace(rows, observations=counter.counted(rows.observations)), replace=replace
                )
    counter.end()
    return written


def _compare(file: SnapshotReader, store: PostgresStore, counter: _Counter, written: int) -> Copied:
    users = sessions = observations = different = 0
    hashes = hashlib.sha256(), hashlib.sha256()
    for user_id in file.users():
        here, there = _of_source(file, user_id, counter), _digest(store.export(user_id))
        users += 1
        sessions += here.sessions
        observations += here.observations
        different += here != there
        for whole, each in zip(hashes, (here, there), strict=True):
            whole.update(each.sha256)
    counter.end()
    return Copied(
        users=users,
        sessions=sessions,
        observations=observations,
        written=written,
        different=different,
        only_in_target=max(store.count_users() - users, 0),
        source_sha256=hashes[0].hexdigest(),
        target_sha256=hashes[1].hexdigest(),
    )


def _of_source(file: SnapshotReader, user_id: str, counter: _Counter | None = None) -> _Digest:
    with file.user(user_id) as rows:
        if rows is None:
            return _digest(())
        observations = rows.observations if counter is None else counter.counted(rows.observations)
        sessions = sorted(rows.sessions, key=lambda session: session.started_at)
        return _digest(chain(sessions, (observation for _, observation in observations)))


def _digest(items: Iterable[Session | Observation]) -> _Digest:
    """Return the counts and the hash of an export's items."""
    sessions = observations = 0
    digest = hashlib.sha256()
    for item in items:
        if isinstance(item, Session):
            sessions += 1
        else:
            observations += 1
        digest.update(item.model_dump_json().encode() + b"\n")
    return _Digest(sessions, observations, digest.digest())
