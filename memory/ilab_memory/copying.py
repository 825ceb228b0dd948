"""Copy a SQLite file into PostgreSQL, as it is, and compare both sides at the end.

The file is only read, and others may go on using it: each user is copied as of one moment, in one transaction. So a
copy that is cut short has whole users; the next one goes on with those that are missing. What is written into the file
after its user was copied is seen at the end as a difference, and comes along when the copy is repeated with *replace*:
stop all writers before the last one. The database may be in use too; users that it has are left as they are.

What the service keeps besides the memory, the answers of calls of the last 24 hours, is not copied.
"""

import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple

from ilab_memory.core.models import Observation, Session
from ilab_memory.stores.postgres import PostgresStore
from ilab_memory.stores.sqlite.source import Source

#: Called with "copying" or "comparing", how many observations that has seen, and how many there were at the begin.
Progress = Callable[[str, int, int], None]
#: Observations between two calls of it.
_STEP = 100


@dataclass(frozen=True, slots=True)
class Copied:
    """What became of a copy."""

    users: int
    """Users of the file, at the end. Likewise the next two."""
    sessions: int
    observations: int
    written: int
    """Users that this run wrote."""
    different: int
    """Users whose count or hash is not the same on both sides: the copy is complete if it is 0."""
    only_in_target: int
    """Users that the database has and the file has not."""
    source_sha256: str
    """Of all the file's users, one after the other, every field of every session and observation."""
    target_sha256: str
    """Of the same users in the database."""


class _Digest(NamedTuple):
    """Count and hash of what is kept of one user."""

    sessions: int
    observations: int
    sha256: bytes


def copy(source: str, target: str, *, replace: bool, progress: Progress) -> Copied:
    """Copy the file *source* into the PostgreSQL database *target*, a URL, then compare them.

    Args:
        source: A file of `SQLiteStore`.
        target: Where tables are made if there are none.
        replace: Copy users again who are not what the file has; what the database has of them is lost.
        progress: Told how far it is.

    Raises:
        ValueError: *target* is no URL of PostgreSQL.
        StorageError: one of both cannot be read or written. Users that were copied until then stay.
    """
    if not target.startswith(("postgresql://", "postgres://")):
        raise ValueError("the target must begin with postgresql://")
    with Source(source) as file, PostgresStore(target) as store:
        written = _write(file, store, _Counter("copying", file.totals().observations, progress), replace=replace)
        return _compare(file, store, _Counter("comparing", file.totals().observations, progress), written)


class _Counter:
    """Counts observations as they go by, and tells now and then."""

    def __init__(self, what: str, total: int, progress: Progress) -> None:
        self._what, self._total, self._progress = what, total, progress
        self._seen = 0
        progress(what, 0, total)

    def counted(self, observations: Iterator[tuple[int, Observation]]) -> Iterator[tuple[int, Observation]]:
        """Yield them, each counted."""
        for each in observations:
            self._seen += 1
            if self._seen % _STEP == 0:
                self._progress(self._what, self._seen, self._total)
            yield each

    def end(self) -> None:
        """Tell that all have gone by."""
        self._progress(self._what, self._total, self._total)


def _write(file: Source, store: PostgresStore, counter: _Counter, *, replace: bool) -> int:
    """Write the users that are missing, and those that differ if they are to be replaced; return how many it were."""
    written = 0
    for user_id in file.users():
        if replace and _of_source(file, user_id) == _of_target(store, user_id):
            continue
        with file.user(user_id) as rows:
            if rows is not None:
                written += store.write_rows(
                    dataclasses.replace(rows, observations=counter.counted(rows.observations)), replace=replace
                )
    counter.end()
    return written


def _compare(file: Source, store: PostgresStore, counter: _Counter, written: int) -> Copied:
    users = sessions = observations = different = 0
    hashes = hashlib.sha256(), hashlib.sha256()
    for user_id in file.users():
        here, there = _of_source(file, user_id, counter), _of_target(store, user_id)
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


def _of_source(file: Source, user_id: str, counter: _Counter | None = None) -> _Digest:
    with file.user(user_id) as rows:
        if rows is None:
            return _digest(())
        observations = rows.observations if counter is None else counter.counted(rows.observations)
        sessions = sorted(rows.sessions, key=lambda session: session.started_at)
        return _digest(chain(sessions, (observation for _, observation in observations)))


def _of_target(store: PostgresStore, user_id: str) -> _Digest:
    return _digest(store.export(user_id))


def _digest(items: Iterable[Session | Observation]) -> _Digest:
    """Return count and hash of what an export of a user yields."""
    sessions = observations = 0
    digest = hashlib.sha256()
    for item in items:
        if isinstance(item, Session):
            sessions += 1
        else:
            observations += 1
        digest.update(item.model_dump_json().encode() + b"\n")
    return _Digest(sessions, observations, digest.digest())
