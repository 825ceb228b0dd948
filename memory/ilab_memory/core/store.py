"""The port between the library and a technology of storage.

`ILabMemory` is the only consumer of `Store`. A store keeps rows and answers questions about them; it decides nothing
about ranking, redaction or the length of a session.
"""

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import ClassVar, NamedTuple, Self
from uuid import UUID, uuid5

from ilab_memory.core.errors import StorageError
from ilab_memory.core.models import ImportResult, Observation, SaveResult, Session


@dataclass(frozen=True, slots=True, kw_only=True)
class Redacted:
    """An observation to store. Only `ILabMemory` makes one, since it redacts and the store does not."""

    user_id: str
    type: str
    title: str
    content: str
    topic_key: str | None
    normalized_hash: str
    conversation_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What is to replace parts of an observation, redacted. None: that part stays."""

    title: str | None
    content: str | None
    type: str | None
    normalized_hash: str | None
    """Of the content."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedRow:
    """An observation of an export, redacted again."""

    session_id: str
    """As in the export."""
    type: str
    title: str
    content: str
    topic_key: str | None
    normalized_hash: str
    revision_count: int
    created_at: str
    updated_at: str


#: Position in a list of observations, newest first: `updated_at` and id. A list continues after it.
ObservationCursor = tuple[str, int]
#: Position in a list of sessions, newest first: `started_at` and id.
SessionCursor = tuple[str, str]

#: A `Posting` tells how many terms come before it exactly up to here; from here on any number not below this is right.
EXACT_POSITIONS = 64

#: Rows of a page of an export, and the bytes of text after which it ends before that.
EXPORT_PAGE = 100
EXPORT_BYTES = 1024 * 1024

#: One place where a term stands: the number of the observation among its user's, the name of the field as in
#: `ilab_memory.recall.analysis.Fields`, and how many terms of the field come before it. A plain tuple: there are many.
Posting = tuple[int, str, int]


class TermStatistics(NamedTuple):
    """What ranking must know of all the rows of one user."""

    observations: int
    field_lengths: Sequence[int]
    """The terms of all the rows in each field, in the order of `ilab_memory.recall.analysis.Fields`."""
    frequencies: Mapping[str, int]
    """How many rows hold a term, for the terms asked for that are there."""


class Document(NamedTuple):
    """What ranking must know of one row."""

    id: int
    session: int
    """Equal for two rows of the same session, and for no others."""
    type: str
    updated_at: str
    revision_count: int
    title_terms: int
    said_terms: int
    reply_terms: int
    tail_terms: int


class Preview(NamedTuple):
    """What a list shows of one row."""

    id: int
    type: str
    title: str
    topic_key: str | None
    revision_count: int
    updated_at: str
    content: str
    """The beginning of the content, as long as was asked for."""


class Matches(NamedTuple):
    """What a search must know of one user, as far as that is little; of one moment."""

    statistics: TermStatistics
    postings: Mapping[str, Sequence[Posting]] | None
    """Where each term stands that is there; None: it may be in too many rows, ask `Store.postings` for some terms."""
    rows: Mapping[int, tuple[Document, Preview]] | None
    """All rows of the user, by number; None: they are too many, ask `Store.documents` and `Store.previews` for some."""


class RecentSessions(NamedTuple):
    """The sessions of a user that a start shows, and what is considered of them, as of one moment."""

    active: Session | None
    """Expired or not; None if there is none."""
    completed: Sequence[Session]
    """The newest ended first."""
    newest: Sequence[Preview]
    """The newest observations of each of these sessions, in any order."""


_IMPORTED = UUID("5a1f0f6e-7c1f-4c2b-9d0a-0c8f3f6f2b11")


def imported_session_id(user_id: str, session_id: str) -> str:
    """Return the id that a session of an export gets when it is imported for this user.

    Ids are unique among all users, so it cannot keep its own; derived from it, a repeated import is recognized.
    """
    return str(uuid5(_IMPORTED, f"{user_id}\0{session_id}"))


def completed_by_import(session: Session) -> Session:
    """Return an active session of an import as completed: the conversation has another active one."""
    return session.model_copy(
        update={
            "ended_at": session.last_activity_at,
            "summary": "Closed by an import.",
            "status": "completed",
            "is_auto_generated": True,
        }
    )


def forgotten_meanwhile() -> StorageError:
    """Return what an export raises whose user was forgotten while it ran."""
    return StorageError("could not export: the user was forgotten meanwhile, and what came before is not all")


class Store(ABC):
    """Keeps sessions and observations, apart for each user.

    Promises that every implementation keeps:

    - Any method may be called from any thread at any time. A call after `close` raises RuntimeError.
    - A method that writes does all of it or nothing, and its effect is visible to every later call.
    - No method returns, counts or changes anything of a user other than the one it was given.
    - Whatever goes wrong in the storage itself is a StorageError, whose message quotes no content.
    - Texts and moments come back as they were given. Moments are fixed-width text (`ilab_memory.timestamps`).

    Numbers: the observations of a user are numbered from 1, in the order in which they were last saved with a change. A
    number is never used twice, not even after its row has moved to a new one.
    """

    #: Rows on each side of the anchor of a timeline (documented contract).
    DEFAULT_TIMELINE_NEIGHBORS: ClassVar[int] = 5

    @abstractmethod
    def recent_sessions(
        self, user_id: str, *, conversation_id: str, completed: int, each: int, preview_characters: int
    ) -> RecentSessions:
        """Return the conversation's active session and the user's *completed* newest others.

        They come with the *each* newest observations of each.

        The newest observations are those by (updated_at, id), with so many characters of the content.
        """

    @abstractmethod
    def touch_session(self, user_id: str, session_id: str, *, now: datetime) -> None:
        """Note activity at *now* in this session of the user, if it is still active.

        Every later call on this store sees that at once. It may be lost if power is lost before the next save of
        anybody, and if the process is killed within a second.

        Raises:
            StorageError: it cannot be written. A store that does not wait for that may find out later; as long as it
                fails, the next calls raise.
        """

    @abstractmethod
    def open_session(
        self, user_id: str, *, conversation_id: str, now: datetime, session_timeout: timedelta
    ) -> tuple[str, bool]:
        """Return the id of the conversation's session to work in at *now*, and whether it is new.

        An active session that is not expired is touched and returned. An expired one is completed first, as of its last
        activity, with `auto_close_summary`.
        """

    @abstractmethod
    def end_session(self, user_id: str, *, conversation_id: str, summary: str, now: datetime) -> Session | None:
        """Complete the conversation's active session with *summary*, expired or not; None if there is none."""

    @abstractmethod
    def save(self, redacted: Redacted, *, now: datetime, session_timeout: timedelta) -> SaveResult:
        """Store *redacted* in the session that `open_session` would return, and touch that session.

        With a topic key: updates the user's row of that key in place, unless type, title and content are what it holds
        ("deduped"). Without: "deduped" if the session holds a row without a key of the same type, title and hash.
        Otherwise creates a row.
        """

    @abstractmethod
    def change(self, user_id: str, observation_id: int, change: Change, *, now: datetime) -> SaveResult | None:
        """Replace parts of the user's observation in place; None if the user has none of this id.

        The revision count rises by 1, unless nothing changes ("deduped"). The observation stays in its session, which
        is not touched. The summary of a session that expired no longer contains a title that was replaced.
        """

    @abstractmethod
    def add_rows(self, user_id: str, sessions: Sequence[Session], rows: Sequence[ImportedRow]) -> ImportResult:
        """Add sessions and observations of an export that the user does not have, in one transaction; count them.

        - A session is the same if it has the same id, or the id that `imported_session_id` derives from it. A new one
          gets the latter. One that is active while the user has another active one in the conversation is stored as
          completed, at its last activity.
        - A row with a topic key that the user has is left out: what is stored stays. One without is left out if its
          session has one of the same type, title, hash and created_at.
        - Rows get new ids, in the order of *rows*. Moments and revision counts stay; no session is touched.

        Raises:
            ValueError: there is no session that a row names. Nothing was stored.
        """

    @abstractmethod
    def list_observations(
        self,
        user_id: str,
        *,
        types: Collection[str] | None,
        conversation_id: str | None,
        limit: int,
        before: ObservationCursor | None,
    ) -> list[Observation]:
        """Return the next *limit* observations after *before* by (updated_at, id), newest first.

        None of *types*, *conversation_id*, *before*: all types, all conversations, from the newest. The cost is that
        of *limit* rows for each type, however many rows the user has.
        """

    @abstractmethod
    def list_sessions(
        self, user_id: str, *, conversation_id: str | None, limit: int, before: SessionCursor | None
    ) -> list[Session]:
        """Return the next *limit* sessions after *before* by start, newest first; see `list_observations`."""

    @abstractmethod
    def delete(self, user_id: str, observation_id: int) -> bool:
        """Erase the user's observation; return whether there was one.

        When this returns, no byte of it is left, as `forget` promises for a user, nor its title in the summary of a
        session that expired.

        Raises:
            StorageError: the erasure is not complete; calling again, or `finish_forgetting`, completes it.
        """

    @abstractmethod
    def get(self, user_id: str, observation_id: int) -> Observation | None:
        """Return the user's observation of this id, None if the user has none."""

    @abstractmethod
    def timeline(
        self, user_id: str, observation_id: int, *, neighbors: int = DEFAULT_TIMELINE_NEIGHBORS
    ) -> list[Observation]:
        """Return the user's observations around this one by (created_at, id), it included; empty if not the user's."""

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
    ) -> list[Observation]:
        """Return the *limit* newest observations of this session by (updated_at, id), the newest first.

        Empty if the session is not one of this conversation of the user.

        With *key_prefixes*, only those whose topic_key begins with one of them, among the session's 1,000 newest. The
        list ends before the observation with which the contents would exceed *most_bytes* of UTF-8. Costs one index
        range, and no content is read in full but of the *limit* rows.
        """

    @abstractmethod
    def matches(
        self, user_id: str, terms: Sequence[str], *, most_places: int, most_rows: int, preview_characters: int
    ) -> Matches:
        """Return what the index knows of the user's rows and of these terms, one or more, among them.

        It comes with the places of the terms, unless the terms could be in more than *most_places* rows, were each of
        them in every row; and with all rows, if they are no more than *most_rows*, and so many characters of their
        content.
        """

    @abstractmethod
    def postings(self, user_id: str, terms: Collection[str]) -> Mapping[str, Sequence[Posting]]:
        """Return where each of these terms stands in the user's rows."""

    @abstractmethod
    def documents(self, user_id: str, numbers: Collection[int]) -> Mapping[int, Document]:
        """Return those of the user's rows that have one of these numbers."""

    @abstractmethod
    def containing(self, user_id: str, text: str, *, at_most: int, most_characters: int) -> list[int]:
        """Return the numbers of the user's *at_most* newest rows with *text* in title or content, A-Z being a-z.

        Looks at the newest rows, until their contents have *most_characters* or more; a store may count bytes instead.
        """

    @abstractmethod
    def previews(self, user_id: str, numbers: Collection[int], *, characters: int) -> Mapping[int, Preview]:
        """Return those of the user's rows that have one of these numbers, with so many characters of the content."""

    @abstractmethod
    def stats(self, user_id: str) -> Mapping[str, int]:
        """Return how many `observations` and `sessions` the user has, zero for a user never seen."""

    @abstractmethod
    def forget(self, user_id: str) -> int:
        """Erase everything of the user; return how many observations that were.

        When this returns, no byte of the user's texts and of the user's id is left in the files that the store writes
        itself; a store on a server says what the server keeps, and how long. What another call saves for the same user
        while this runs is kept or erased, whole. For a user who has nothing this is one look-up.

        Raises:
            StorageError: the erasure is not complete; calling again, or `finish_forgetting`, completes it.
        """

    def finish_forgetting(self) -> int:
        """Finish the erasures that calls of `forget` could not, in whichever process; return how many are pending.

        A store that erases in one transaction has none.

        Raises:
            StorageError: they could not be finished.
        """
        return 0

    def pending_erasures(self) -> int:
        """Return how many erasures are not finished, those of calls that are running included. One look-up."""
        return 0

    def check(self) -> list[str]:
        """Return what is damaged in the files that the store writes itself, a line each; see `ILabMemory.mem_check`."""
        return []

    @abstractmethod
    def export(self, user_id: str) -> Iterator[Session | Observation]:
        """Return an iterator over the user's sessions by their start, then the observations by (created_at, id).

        It contains the sessions and observations that exist when this is called, and none that are added later. Pages
        are read in transactions of their own, so a slow caller delays nobody. An observation that is updated before its
        page is read comes with the newer content. If that is in a session that began after the call, the session is
        yielded just before it: every session comes before the observations that name it.

        Needs memory for a page, which has EXPORT_PAGE rows at most and one row more than EXPORT_BYTES of text, not for
        all.

        Raises:
            StorageError: while iterating, too: if the user is forgotten meanwhile, what was yielded is not all.
        """

    @abstractmethod
    def close(self) -> None:
        """Finish what was begun and release everything. A second call does nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
