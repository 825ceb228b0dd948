"""Export of a user, a page at a time: no transaction outlasts a page."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, NamedTuple

from ilab_memory.core.models import Observation, Session
from ilab_memory.core.store import forgotten_during_export

Row = Sequence[Any]


class Extent(NamedTuple):
    """The extent of a user's data when an export begins."""

    user: int | bytes
    """Identifies the user: another one follows when the user was forgotten."""
    last_session: int
    last_id: int


class Export(ABC):
    """One export: pages of sessions, then of observations.

    A page begins behind a moment and a number or id, and ends at a last number or id. The rows of its statement begin
    with their moment and number or id; in a row of an observation, the number of its session follows.
    """

    _SESSIONS: ClassVar[str]
    _OBSERVATIONS: ClassVar[str]
    _LATER_SESSION: ClassVar[str]
    _BEFORE_ALL: ClassVar[Any]
    """A moment."""

    def __init__(self, user_id: str, extent: Extent) -> None:
        self._user_id = user_id
        self._extent = extent

    def __iter__(self) -> Iterator[Session | Observation]:
        """Yield all, see `Store.export`."""
        for rows in self._pages(self._SESSIONS, self._extent.last_session):
            yield from (self._session(row[2:]) for row in rows)
        later: set[int] = set()
        for rows in self._pages(self._OBSERVATIONS, self._extent.last_id):
            for _, _, session, *observation in rows:
                if session > self._extent.last_session and session not in later:
                    later.add(session)
                    yield self._session(self._read(self._LATER_SESSION, session=session)[0])
                yield self._observation(observation)

    def _pages(self, statement: str, last: int) -> Iterator[Sequence[Row]]:
        moment, key = self._BEFORE_ALL, 0
        while rows := self._read(statement, moment=moment, key=key, last=last):
            yield rows
            moment, key = rows[-1][:2]

    def _read(self, statement: str, **asked: Any) -> Sequence[Row]:
        """Return the rows of *statement*; raise StorageError if the user has been forgotten since the export began."""
        rows = self._rows(statement, **asked)
        if self._user() != self._extent.user:
            raise forgotten_during_export()
        return rows

    @abstractmethod
    def _rows(self, statement: str, **asked: Any) -> Sequence[Row]: ...

    @abstractmethod
    def _user(self) -> int | bytes | None: ...

    @abstractmethod
    def _session(self, row: Row) -> Session: ...

    @abstractmethod
    def _observation(self, row: Row) -> Observation: ...
