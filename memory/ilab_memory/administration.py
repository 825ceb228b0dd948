"""The methods of `ILabMemory` that erase, export, import and check, and what all its methods share."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Self

from ilab_memory import checks
from ilab_memory.core.config import Config
from ilab_memory.core.errors import StorageError
from ilab_memory.core.models import ImportResult, Observation, Session
from ilab_memory.core.store import Store
from ilab_memory.import_batches import ImportedSources, batches
from ilab_memory.limits import IMPORT_SOURCES


class Administration:
    """A store with its configuration, and the methods that do not serve a single turn of a conversation."""

    def __init__(self, store: Store, config: Config | None = None) -> None:
        """Use *store*. `close` closes it."""
        self._store = store
        self._config = config or Config()
        self._session_timeout = timedelta(hours=self._config.session_timeout_hours)

    @property
    def config(self) -> Config:
        """The current configuration."""
        return self._config

    def close(self) -> None:
        """Finish running operations and close the store. A second call does nothing."""
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def mem_delete(self, user_id: str, observation_id: int) -> bool:
        """Erase an observation and what was derived from it alone; False if the user has none of this id.

        When this returns, no byte of them is in the files of a SQLite database. Like `mem_forget`, this rewrites the
        file, and concurrent calls share a rewrite.

        Raises:
            StorageError: no call returns them any more, but their bytes may still be in the files. Calling again, or
                `mem_finish_forgetting`, completes the erasure.
        """
        return bool(self.mem_forget_observation(user_id, observation_id))

    def mem_forget_observation(self, user_id: str, observation_id: int) -> list[int]:
        """Do the same as `mem_delete`; return the ids of the erased observations, *observation_id* first.

        Derived from an observation alone are the facts that have no other source but earlier ones, see
        `Observation.source_ids`.
        """
        return self.mem_forget_observations(user_id, [observation_id])

    def mem_forget_observations(self, user_id: str, observation_ids: Iterable[int]) -> list[int]:
        """Erase several observations like `mem_forget_observation`, with one rewrite of a SQLite file."""
        checks.check_user_id(user_id)
        ids = list(dict.fromkeys(observation_ids))
        for each in ids:
            checks.check_observation_id(each)
        return self._store.delete(user_id, ids)

    def mem_expire(self, *, retention: Mapping[str, timedelta] | timedelta | None = None, limit: int = 1000) -> int:
        """Erase observations of all users that have expired or are old, at most *limit*; return how many.

        What was derived from an erased observation stays: give facts an expiry or a retention of their own. Call this
        regularly, and again while it returns *limit*. Like `mem_forget`, this rewrites a SQLite file, once.

        Args:
            retention: How long observations are kept after their last change: all, or by type, where "" is for the
                types that are not named. None: all until they expire.
            limit: The most that one call erases.

        Raises:
            StorageError: as of `mem_delete`.
        """
        checks.check_limit(limit)
        now = self._now()
        return self._store.expire(now=now, older_than=_older_than(retention, now), limit=limit)

    def mem_forget(self, user_id: str) -> int:
        """Erase everything of the user and return the number of erased observations.

        When this returns, no byte of it is in the files of a SQLite database. A PostgreSQL server has copies for some
        time, see `PostgresStore`. For a user without data this is one lookup. In a SQLite file, all pages are read and
        their unused bytes overwritten. Concurrent calls share such a pass, and wait after a recent one.

        Raises:
            StorageError: the erasure is not complete. Calling again, or `mem_finish_forgetting`, completes it.
        """
        checks.check_user_id(user_id)
        return self._store.forget(user_id)

    def mem_finish_forgetting(self) -> int:
        """Complete the erasures that earlier calls could not complete; return how many are still pending.

        A full disk, a long reader or the end of the process can interrupt an erasure. Call this at start and then
        regularly. It is one lookup if nothing is pending. On PostgreSQL, where an erasure is one transaction, it
        returns 0.

        Raises:
            StorageError: an erasure could not be completed. The message names the cause.
        """
        return self._store.finish_forgetting()

    def mem_pending_erasures(self) -> int:
        """Return the number of incomplete erasures, including those of running calls. One lookup."""
        return self._store.pending_erasures()

    def mem_size(self) -> int:
        """Return the bytes that all users' data take: a SQLite file and its log, or the tables with their indexes.

        Raises:
            StorageError: the storage failed, or the file is missing.
        """
        return self._store.size()

    def mem_probe(self, *, room: int = 0) -> None:
        """Commit a write to a SQLite file that leaves nothing. It shows whether saves work now.

        *room* is the size of the write in bytes: it fails if the disk does not have that much space. On PostgreSQL it
        does nothing.

        Raises:
            StorageError: the file is missing, read-only or damaged, the disk is full, and so on. The message says what.
        """
        self._store.probe(room=room)

    def mem_check(self) -> list[str]:
        """Return the damage in the pages of a SQLite file, one line each, without any user text.

        Reads the whole file once and does not block other calls. `ilab-memory check` compares more. Always empty on
        PostgreSQL.

        Raises:
            StorageError: the file could not be read.
        """
        return self._store.check()

    def mem_export(self, user_id: str) -> Iterator[Session | Observation]:
        """Return an iterator over the user's sessions by their start, then the observations by (created_at, id).

        It covers what exists at the time of the call, in constant memory. An observation that is updated before it is
        read has the newer content; if its session started after the call, the session is yielded just before it.
        Iterating raises StorageError if the user is forgotten before the end: the export is incomplete.
        """
        checks.check_user_id(user_id)
        return self._store.export(user_id)

    def mem_import(self, user_id: str, items: Iterable[Session | Observation]) -> ImportResult:
        """Add the items of an export to the user, with new ids; return how many were added.

        *items* may come from any user, each session before its observations, as `mem_export` yields them. Texts are
        redacted again. Items that the user already has are skipped, so repeating an import adds nothing. Sessions are
        recognized by their ids, observations by their topic_key (the stored one stays) or else by session, type, title,
        content and created_at. An active session is imported as completed if its conversation already has one.

        After an error, the batches before it (of up to 20 items) stay: repeat the import to complete it.

        Raises:
            ValueError: an item is invalid, or comes before its session.
            StorageError: the storage failed. The message says how much was added.
        """
        checks.check_user_id(user_id)
        sessions = observations = 0
        imported = ImportedSources()
        try:
            for batch in batches(items):
                added = self._store.add_rows(user_id, batch.sessions, batch.rows)
                sources = imported.add(batch.ids, added.ids, batch.sources)
                for start in range(0, len(sources), IMPORT_SOURCES):
                    self._store.add_sources(user_id, sources[start : start + IMPORT_SOURCES])
                sessions += added.sessions
                observations += added.observations
        except StorageError as error:
            done = f"{sessions} sessions and {observations} observations were added; repeat the import to complete it"
            raise type(error)(f"{error}; {done}") from error
        return ImportResult(sessions=sessions, observations=observations)

    def _now(self) -> datetime:
        now = self._config.clock()
        if now.tzinfo is None:
            raise ValueError("clock must return a timezone-aware datetime")
        return now


def _older_than(retention: Mapping[str, timedelta] | timedelta | None, now: datetime) -> dict[str, datetime]:
    """Return the time before which the last change of an observation must be for it to be erased, by its type.

    Raises:
        ValueError: *retention* is not None, a timedelta or a mapping of types to timedeltas, all of at least 0.
    """
    if retention is None:
        return {}
    by_type = {"": retention} if isinstance(retention, timedelta) else retention
    if not isinstance(by_type, Mapping) or not all(
        isinstance(kind, str) and isinstance(age, timedelta) and age >= timedelta(0) for kind, age in by_type.items()
    ):
        raise ValueError("retention must be a timedelta of at least 0, or a mapping of types to them")
    checks.check_types("retention", by_type)
    return {kind: _before(now, age) for kind, age in by_type.items()}


def _before(now: datetime, age: timedelta) -> datetime:
    try:
        return now - age
    except OverflowError:
        return datetime.min.replace(tzinfo=UTC)
