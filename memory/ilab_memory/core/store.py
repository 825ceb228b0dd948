"""`Store`: the interface between the library and a storage backend.

The library alone calls a `Store`: `ILabMemory` and the searches of `recall`. A store reads and writes rows. It decides
nothing about ranking, redaction or the session timeout.
"""

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import ClassVar, Self

from ilab_memory.core.errors import StorageError
from ilab_memory.core.models import Fact, Observation, SaveResult, Session, Statement, TypeStats
from ilab_memory.core.values import (
    EXACT_POSITIONS,
    AddedRows,
    Change,
    Document,
    FactCursor,
    ImportedRow,
    Matches,
    ObservationCursor,
    Posting,
    Preview,
    RecentSessions,
    Redacted,
    SessionCursor,
    Source,
    TermStatistics,
)
from ilab_memory.limits import LARGEST_ID

__all__ = [
    "EXACT_POSITIONS",
    "AddedRows",
    "Change",
    "Document",
    "FactCursor",
    "ImportedRow",
    "Matches",
    "ObservationCursor",
    "Posting",
    "Preview",
    "RecentSessions",
    "Redacted",
    "SessionCursor",
    "Source",
    "Store",
    "TermStatistics",
    "forgotten_during_export",
]


def forgotten_during_export() -> StorageError:
    """Return the error of an export whose user was forgotten while it ran."""
    return StorageError("could not export: the user was forgotten during the export, which is incomplete")


class Store(ABC):
    """Stores sessions and observations, isolated per user.

    Every implementation guarantees:

    - Any thread may call any method at any time. A call after `close` raises RuntimeError.
    - A write is atomic, and every later call sees its effect.
    - No method returns, counts or changes anything of another user.
    - A failure of the storage is a StorageError whose message quotes no content.
    - Texts and times are returned unchanged. Times are fixed-width text (`ilab_memory.timestamps`).

    Sequence numbers: each user's observations are numbered from 1, in the order of their last change. A changed
    observation gets a new number, and numbers are never reused.
    """

    #: Rows on each side of the anchor of a timeline (documented contract).
    DEFAULT_TIMELINE_NEIGHBORS: ClassVar[int] = 5

    @abstractmethod
    def recent_sessions(
        self,
        user_id: str,
        *,
        conversation_id: str,
        completed: int,
        each: int,
        preview_characters: int,
        now: datetime,
    ) -> RecentSessions:
        """Return the conversation's active session and the *completed* latest completed sessions of the user.

        Includes the *each* newest observations of every one of them, by (updated_at, id), with *preview_characters* of
        their content, without those that have expired at *now*.
        """

    @abstractmethod
    def touch_session(self, user_id: str, session_id: str, *, now: datetime) -> None:
        """Set the last activity of this session of the user to *now*, if it is still active.

        Every later call on this store sees it. It may be lost if the process is killed within a second, or if power is
        lost before the next save by any user.

        Raises:
            StorageError: it cannot be written. A store that writes it later raises in the next calls instead, until a
                write succeeds.
        """

    @abstractmethod
    def open_session(
        self, user_id: str, *, conversation_id: str, now: datetime, session_timeout: timedelta
    ) -> tuple[str, bool]:
        """Return the id of the conversation's session at *now*, and whether it is new.

        Returns the active session and updates its last activity. An expired session is completed first, as of its last
        activity, with `auto_close_summary`.
        """

    @abstractmethod
    def end_session(
        self, user_id: str, *, conversation_id: str, summary: str, now: datetime, observation: Redacted | None = None
    ) -> Session | None:
        """Complete the conversation's active session with *summary*, even if it expired. None without one.

        Stores *observation*, which has neither a topic key nor facts, in that session, in the same transaction.
        """

    @abstractmethod
    def save(self, redacted: Redacted, *, now: datetime, session_timeout: timedelta) -> SaveResult:
        """Store *redacted* in the session that `open_session` would return, and update its last activity.

        With a topic key: updates the user's row of that key in place, or "deduped" if type, title and content are the
        same; a replaced title is removed from the automatic summaries of expired sessions. Without: "deduped" if the
        session has a row without a key of the same type, title and hash. Otherwise creates a row. Equal rows also have
        the same `about` and expiry. A save pins a row, and never unpins one.

        The facts are saved in the same transaction, each like an observation with a topic key, and the observation
        becomes a source of each. Where a fact replaces another content, the sources of that become its earlier sources.
        A "deduped" save leaves facts alone that the observation is, or was, a source of. An "updated" one is no longer
        a source of other facts than the given ones; facts of which it was the only source that is not an earlier one
        are deleted.
        """

    @abstractmethod
    def change(self, user_id: str, observation_id: int, change: Change, *, now: datetime) -> SaveResult | None:
        """Replace parts of the user's observation in place; None if the user has none of this id.

        Increments the revision count, unless nothing changes ("deduped"). The session and its last activity stay the
        same. A replaced title is removed from the automatic summary of an expired session. With a replaced content, the
        `about` is removed, the facts derived from it are treated as by an "updated" `save` without facts, and its own
        sources become earlier ones. A change of nothing but `pinned` and the expiry changes neither the revision count
        nor `updated_at`.
        """

    @abstractmethod
    def add_rows(self, user_id: str, sessions: Sequence[Session], rows: Sequence[ImportedRow]) -> AddedRows:
        """Add the sessions and observations of an export that the user does not have, in one transaction; count them.

        - A session exists already if one has the same id, or the id that is derived from it, see
          `ilab_memory.stores.common.imports`. A new session gets the derived id. An active session is stored as
          completed, at its last activity, if its conversation already has an active one.
        - A row is skipped if the user has its topic key (the stored row stays) or, without a key, if its session has a
          row of the same type, title, hash and created_at.
        - Rows get new ids, in the order of *rows*. Times and revision counts stay the same, also of the sessions.

        Raises:
            ValueError: the session of a row does not exist. Nothing was stored.
        """

    @abstractmethod
    def add_sources(self, user_id: str, sources: Sequence[Source]) -> None:
        """Add those of *sources* that the user does not have, if both observations are the user's."""

    @abstractmethod
    def list_observations(
        self,
        user_id: str,
        *,
        types: Collection[str] | None,
        conversation_id: str | None,
        limit: int,
        most_bytes: int,
        before: ObservationCursor | None,
    ) -> list[Observation]:
        """Return the next *limit* observations after *before* by (updated_at, id), newest first.

        The page ends early with the observation that brings contents and `about` to *most_bytes* of UTF-8. If None: all
        types, all conversations, starting at the newest. The cost is proportional to *limit* and the number of types,
        not to the number of rows of the user.
        """

    @abstractmethod
    def list_sessions(
        self, user_id: str, *, conversation_id: str | None, limit: int, most_bytes: int, before: SessionCursor | None
    ) -> list[Session]:
        """Return the next *limit* sessions after *before* by start, newest first; see `list_observations`.

        *most_bytes* is of their summaries.
        """

    @abstractmethod
    def delete(self, user_id: str, observation_ids: Sequence[int]) -> list[int]:
        """Erase observations of the user and what was derived from each alone; return the ids of what was erased.

        Derived from one alone are the observations of which it is the only source that is not an earlier one, and what
        was derived from those alone. When this returns, no byte of them is left, as with `forget`, and their titles are
        removed from the automatic summaries of expired sessions.

        Raises:
            StorageError: the erasure is not complete. Calling again, or `finish_forgetting`, completes it.
        """

    @abstractmethod
    def expire(self, *, now: datetime, older_than: Mapping[str, datetime], limit: int) -> int:
        """Erase expired and old observations of all users, at most *limit*; return how many were erased.

        Expired are those whose expiry is not after *now*; old are those whose last change is before the time that
        *older_than* has for their type or, if it has none, for "". Facts that were derived from them stay.

        Raises:
            StorageError: the erasure is not complete. Calling again, or `finish_forgetting`, completes it.
        """

    @abstractmethod
    def facts(
        self, user_id: str, *, types: Collection[str] | None, now: datetime, limit: int, before: FactCursor | None
    ) -> list[Fact]:
        """Return the next *limit* facts after *before* by (pinned, updated_at, id), descending.

        These are the observations of FACT_TYPES that have not expired at *now*. *types*: only those; None: all.
        """

    @abstractmethod
    def about(self, user_id: str, *, now: datetime, limit: int, characters: int) -> list[Statement]:
        """Return the `about` of the *limit* newest observations that have one and have not expired at *now*.

        By (updated_at, id), newest first, with the first *characters* of each.
        """

    @abstractmethod
    def get(self, user_id: str, observation_id: int) -> Observation | None:
        """Return the user's observation of this id, or None."""

    @abstractmethod
    def timeline(self, user_id: str, observation_id: int) -> list[Observation]:
        """Return this observation and its neighbours by (created_at, id); empty if it is not the user's."""

    @abstractmethod
    def recent(
        self,
        user_id: str,
        session_id: str,
        *,
        conversation_id: str,
        limit: int,
        key_prefixes: Sequence[str] | None,
        most_bytes: int,
        now: datetime,
    ) -> list[Observation]:
        """Return the *limit* newest observations of this session by (updated_at, id), newest first.

        Without those that have expired at *now*, and without their sources. Empty if the session does not belong to
        this user and conversation.

        With *key_prefixes*, only those whose topic_key starts with one of them, among the session's 1,000 newest. The
        list ends before the observation whose content would exceed *most_bytes* of UTF-8 in total. Reads one index
        range, and only the contents of the *limit* rows.
        """

    @abstractmethod
    def matches(
        self,
        user_id: str,
        terms: Sequence[str],
        *,
        most_places: int,
        most_rows: int,
        preview_characters: int,
        now: datetime,
        most_frequency: int = LARGEST_ID,
    ) -> Matches:
        """Return the statistics of the user's rows and of these terms (at least one) among them.

        A frequency of *most_frequency* or more may be any number from that on: a store need not count further.

        Includes the postings of the terms, unless the number of terms times the number of rows exceeds *most_places*.
        Includes all rows, with *preview_characters* of their content, if there are at most *most_rows*, without those
        that have expired at *now*.
        """

    @abstractmethod
    def postings(self, user_id: str, terms: Collection[str]) -> Mapping[str, Sequence[Posting]]:
        """Return the occurrences of each of these terms in the user's rows."""

    @abstractmethod
    def newest_with(
        self, user_id: str, terms: Collection[str], *, in_reply: bool, most: int
    ) -> Mapping[str, Sequence[int]]:
        """Return the sequence numbers of the user's *most* newest rows with each of these terms, the newest first.

        In the title or in what the user said; with *in_reply*: in the assistant's reply.
        """

    @abstractmethod
    def documents(self, user_id: str, numbers: Collection[int], *, now: datetime) -> Mapping[int, Document]:
        """Return the user's rows with these sequence numbers, without those that have expired at *now*."""

    @abstractmethod
    def containing(self, user_id: str, text: str, *, at_most: int, most_characters: int) -> list[int]:
        """Return the sequence numbers of the user's *at_most* newest rows with *text* in the title or the content.

        A-Z match a-z. Reads the newest rows until their contents add up to *most_characters*; a store may count bytes.
        """

    @abstractmethod
    def previews(self, user_id: str, numbers: Collection[int], *, characters: int) -> Mapping[int, Preview]:
        """Return the user's rows with these sequence numbers, with *characters* of their content."""

    @abstractmethod
    def earlier_sources(self, user_id: str, observation_ids: Collection[int]) -> Collection[int]:
        """Return those of the user's observations that were a source of a fact before a later one replaced it."""

    @abstractmethod
    def stats(self, user_id: str) -> Mapping[str, int]:
        """Return how many `observations` and `sessions` the user has; zero for an unknown user."""

    @abstractmethod
    def type_stats(self, user_id: str) -> list[TypeStats]:
        """Return how much the user has of each type, most observations first, expired ones included.

        Reads all of the user's observations.
        """

    @abstractmethod
    def forget(self, user_id: str) -> int:
        """Erase everything of the user; return the number of erased observations.

        When this returns, no byte of the user's texts and id is left in the files that the store itself writes. A store
        on a server documents which copies the server has, and for how long. A save for the same user while this runs
        is stored or erased as a whole. For a user without data this is one lookup.

        Raises:
            StorageError: the erasure is not complete. Calling again, or `finish_forgetting`, completes it.
        """

    def finish_forgetting(self) -> int:
        """Complete the interrupted erasures of all processes; return how many are still pending.

        A store that erases in one transaction has none.

        Raises:
            StorageError: an erasure could not be completed.
        """
        return 0

    def pending_erasures(self) -> int:
        """Return the number of incomplete erasures, including those of running calls. One lookup."""
        return 0

    def size(self) -> int:
        """Return the bytes that the data take, see `ILabMemory.mem_size`. 0: unknown."""
        return 0

    def probe(self, *, room: int) -> None:  # noqa: B027 - optional
        """Commit a write of *room* bytes that leaves nothing, see `ILabMemory.mem_probe`."""

    def check(self) -> list[str]:
        """Return the damage in the files that the store itself writes, one line each; see `ILabMemory.mem_check`."""
        return []

    @abstractmethod
    def export(self, user_id: str) -> Iterator[Session | Observation]:
        """Return an iterator over the user's sessions by their start, then the observations by (created_at, id).

        It covers the sessions and observations that exist at the time of the call. Each page is read in its own
        transaction, so a slow caller delays no other call. An observation that is updated before its page is read has
        the newer content. If its session started after the call, the session is yielded just before it, so every
        session precedes its observations.

        Needs memory for one page only: at most EXPORT_PAGE rows, or EXPORT_BYTES of text plus one row.

        Raises:
            StorageError: also while iterating. If the user is forgotten during the export, it is incomplete.
        """

    @abstractmethod
    def close(self) -> None:
        """Finish running operations and release all resources. A second call does nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
