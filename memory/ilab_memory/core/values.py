"""The values that a `Store` takes and returns, besides the models."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ilab_memory.core.models import UNSET, Session, Unset


@dataclass(frozen=True, slots=True, kw_only=True)
class Redacted:
    """A redacted observation to store. Stores do not redact."""

    user_id: str
    type: str
    title: str
    content: str
    topic_key: str | None
    normalized_hash: str
    conversation_id: str = ""
    pinned: bool = False
    expire_at: str | None = None
    about: str | None = None
    facts: "tuple[Redacted, ...]" = ()
    """Facts that were derived from it. Each has a topic_key of its own, none has an `about` or facts."""
    queue_work: bool = False
    """Queue the observation for consolidation, unless the save is deduped. See `ilab_memory.core.work`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """New, redacted values of an observation. None, or UNSET: unchanged."""

    title: str | None
    content: str | None
    type: str | None
    normalized_hash: str | None
    """Hash of the content."""
    pinned: bool | None = None
    expire_at: str | Unset | None = UNSET


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
    pinned: bool = False
    expire_at: str | None = None
    about: str | None = None


class AddedRows(NamedTuple):
    """The result of `Store.add_rows`."""

    sessions: int
    """Number of added sessions."""
    observations: int
    """Number of added observations."""
    ids: Sequence[int | None]
    """The id of each given row: of the added one, or of the equal one that the user had. None: another row has its
    topic key."""


#: One source of an observation: the ids of both, and whether the observation has been replaced since by a value from
#: another source.
Source = tuple[int, int, bool]

#: Position in a list of facts: `pinned`, `updated_at` and id. The next page starts after it.
FactCursor = tuple[bool, str, int]
#: Position in a list of observations, newest first: `updated_at` and id. The next page starts after it.
ObservationCursor = tuple[str, int]
#: Position in a list of sessions, newest first: `started_at` and id.
SessionCursor = tuple[str, str]

#: The position in a `Posting` is exact below this. A store may return any larger number for later positions.
EXACT_POSITIONS = 64

#: One occurrence of a term: the sequence number of the observation, the field (a name in
#: `ilab_memory.recall.analysis.Fields`), and the number of terms before it in the field. A plain tuple, for speed.
Posting = tuple[int, str, int]


class TermStatistics(NamedTuple):
    """Statistics of all rows of one user, for ranking."""

    observations: int
    field_lengths: Sequence[int]
    """Number of terms per field over all rows, in the order of `ilab_memory.recall.analysis.Fields`."""
    frequencies: Mapping[str, int]
    """Number of rows that contain each requested term; without terms that occur in none."""


class Document(NamedTuple):
    """Properties of one row, for ranking."""

    id: int
    session: int
    """Equal for two rows if and only if they belong to the same session."""
    type: str
    updated_at: str
    revision_count: int
    title_terms: int
    said_terms: int
    reply_terms: int
    tail_terms: int


class Preview(NamedTuple):
    """The part of a row that a list shows."""

    id: int
    type: str
    title: str
    topic_key: str | None
    revision_count: int
    updated_at: str
    content: str
    """The beginning of the content, of the requested length."""


class Matches(NamedTuple):
    """The first reads of a search, from one snapshot of one user."""

    statistics: TermStatistics
    postings: Mapping[str, Sequence[Posting]] | None
    """The occurrences of each term. None: there may be too many; read some terms with `Store.postings`."""
    rows: Mapping[int, tuple[Document, Preview]] | None
    """All rows by sequence number. None: too many; read some with `Store.documents` and `Store.previews`."""


class RecentSessions(NamedTuple):
    """The sessions that a session start shows and the candidates for its memories, as of one snapshot."""

    active: Session | None
    """The active session, expired or not, or None."""
    completed: Sequence[Session]
    """Completed sessions, latest end first."""
    newest: Sequence[Preview]
    """The newest observations of each of these sessions, in any order."""
