"""A file as the source of a copy. It is only read, one snapshot per user, while other processes may write to it."""
# ruff: noqa: S608 - nothing but constants is interpolated

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Self
from urllib.parse import quote

from ilab_memory.core.errors import StorageError
from ilab_memory.core.models import UserRows
from ilab_memory.stores.common.rows import observation, session
from ilab_memory.stores.sqlite import schema
from ilab_memory.stores.sqlite.connections import storage_errors
from ilab_memory.stores.sqlite.migrations import check_version
from ilab_memory.stores.sqlite.statements import OBSERVATION_COLUMNS, SESSION_COLUMNS

# Users that are listed at once, so that no reading lasts as long as the copy.
_PAGE: Final = 1000
_DOING: Final = "read the file"

_COUNT_OBSERVATIONS = "SELECT coalesce(sum(observations), 0) FROM users WHERE user_id IS NOT NULL"
_USERS = "SELECT key, user_id FROM users WHERE key > ? AND user_id IS NOT NULL ORDER BY key LIMIT ?"
_USER = """
    SELECT u.key, u.last_number, coalesce((SELECT max(o.id) FROM observations o WHERE o.user = u.key), 0)
    FROM users u WHERE u.user_id = ?
"""
_SESSIONS = f"SELECT {SESSION_COLUMNS} FROM sessions s WHERE s.user = ? ORDER BY s.key"
_OBSERVATIONS = f"""
    SELECT o.number, {OBSERVATION_COLUMNS} FROM observations o JOIN sessions s ON s.key = o.session
    WHERE o.user = ? ORDER BY o.created_at, o.id
"""


class SnapshotReader:
    """A file of `SQLiteStore`. Nothing is ever written into it."""

    def __init__(self, path: str | Path) -> None:
        """Open *path* for reading.

        Raises:
            StorageError: there is no such file, or it is not a memory of this version of the schema.
        """
        file = Path(path).expanduser().absolute()
        if not file.is_file():
            raise StorageError("could not open the file: it does not exist")
        with storage_errors("open the file"):
            uri = f"file://{quote(str(file))}?mode=ro"
            self._connection = sqlite3.connect(uri, uri=True, timeout=5.0, isolation_level=None)
            try:
                _check_newest(self._connection)
            except BaseException:
                self._connection.close()
                raise

    def count_observations(self) -> int:
        """Return how many observations the file holds now."""
        with storage_errors(_DOING):
            return int(self._connection.execute(_COUNT_OBSERVATIONS).fetchone()[0])

    def users(self) -> Iterator[str]:
        """Yield each user. A user who is new while this runs comes last."""
        last = 0
        while page := self._page(last):
            last = page[-1][0]
            yield from (user_id for _, user_id in page)

    @contextmanager
    def user(self, user_id: str) -> Iterator[UserRows | None]:
        """Let the block read all of a user, as of one moment; None: the file has nothing of the user."""
        with storage_errors(_DOING):
            self._connection.execute("BEGIN")
            try:
                yield self._rows(user_id)
            finally:
                self._connection.execute("ROLLBACK")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def _page(self, after: int) -> list[tuple[int, str]]:
        with storage_errors(_DOING):
            return self._connection.execute(_USERS, (after, _PAGE)).fetchall()

    def _rows(self, user_id: str) -> UserRows | None:
        found = self._connection.execute(_USER, (user_id,)).fetchone()
        if found is None:
            return None
        key, last_number, largest_id = found
        return UserRows(
            user_id=user_id,
            last_number=last_number,
            largest_id=largest_id,
            sessions=[session(user_id, row) for row in self._connection.execute(_SESSIONS, (key,))],
            observations=(
                (row[0], observation(user_id, row[1:])) for row in self._connection.execute(_OBSERVATIONS, (key,))
            ),
        )


def _check_newest(connection: sqlite3.Connection) -> None:
    version = check_version(connection)
    if version != schema.VERSION:
        raise StorageError(
            f"could not open the file: its schema version {version} is not {schema.VERSION};"
            " open it once with this version of ilab-memory, which updates it"
        )
