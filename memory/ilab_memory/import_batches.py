"""The items of an export, validated and redacted to be imported, and the ids that their sources get."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

from ilab_memory.checks import check_content, check_conversation_id, check_pinned, check_text
from ilab_memory.core.models import Observation, Session
from ilab_memory.core.store import ImportedRow, Source
from ilab_memory.intake import moment, redacted, redacted_content
from ilab_memory.limits import (
    IMPORT_BYTES,
    IMPORT_ITEMS,
    MAX_REVISION_COUNT,
    MAX_SOURCES,
    MAX_TITLE,
    MAX_TOPIC_KEY,
    MAX_USER_ID,
    MOST_WAITING_SOURCES,
)
from ilab_memory.redaction import MOST_ADDED, REDACTED


class Batch(NamedTuple):
    """Items that are imported in one transaction."""

    sessions: list[Session]
    rows: list[ImportedRow]
    ids: list[int | None]
    """The id of each row in the export."""
    sources: list[Source]
    """The sources of the rows, by the ids in the export."""


def batches(items: Iterable[Session | Observation]) -> Iterator[Batch]:
    """Yield *items*, validated and redacted, in batches of at most IMPORT_ITEMS, or fewer with IMPORT_BYTES of text.

    Raises:
        ValueError: an item is invalid, or a text is blank after redaction.
    """
    batch = Batch([], [], [], [])
    size = 0
    for item in items:
        if isinstance(item, Session):
            batch.sessions.append(_session(item))
            size += len((batch.sessions[-1].summary or "").encode())
        else:
            batch.rows.append(_row(item))
            batch.ids.append(item.id)
            batch.sources.extend(_sources(item))
            size += len(batch.rows[-1].content.encode()) + len((batch.rows[-1].about or "").encode())
        if len(batch.sessions) + len(batch.rows) == IMPORT_ITEMS or size >= IMPORT_BYTES:
            yield batch
            batch, size = Batch([], [], [], []), 0
    if batch.sessions or batch.rows:
        yield batch


class ImportedSources:
    """Maps the sources of an export to the ids that its observations get. A source may come after its fact.

    Of the sources that have not come yet, MOST_WAITING_SOURCES are remembered; further ones are left out.
    """

    def __init__(self) -> None:
        self._ids: dict[int, int | None] = {}
        # By the observation that has not come yet, so that a batch looks at its own sources only.
        self._waiting: dict[int, list[Source]] = {}
        self._waiting_sources = 0

    def add(self, exported: Sequence[int | None], new: Iterable[int | None], sources: Iterable[Source]) -> list[Source]:
        """Add a batch: the *exported* and the *new* id of each row, and its *sources*; return what can be stored."""
        self._ids |= {old: stored for old, stored in zip(exported, new, strict=True) if old is not None}
        known: list[Source] = []
        arrived = [each for old in exported if old is not None for each in self._waiting.pop(old, ())]
        self._waiting_sources -= len(arrived)
        for fact, source, is_earlier in (*arrived, *sources):
            if fact not in self._ids or source not in self._ids:
                self._wait(fact if fact not in self._ids else source, (fact, source, is_earlier))
                continue
            of_fact, of_source = self._ids[fact], self._ids[source]
            if of_fact is not None and of_source is not None:
                known.append((of_fact, of_source, is_earlier))
        return known

    def _wait(self, missing: int, source: Source) -> None:
        if self._waiting_sources < MOST_WAITING_SOURCES:
            self._waiting.setdefault(missing, []).append(source)
            self._waiting_sources += 1


def _session(session: Session) -> Session:
    check_text("session_id", session.id, MAX_USER_ID)
    check_conversation_id(session.conversation_id)
    summary = session.summary
    if summary is not None:
        summary = _exported("summary", summary)
    return session.model_copy(
        update={
            "summary": summary,
            "started_at": moment("started_at", session.started_at),
            "ended_at": None if session.ended_at is None else moment("ended_at", session.ended_at),
            "last_activity_at": moment("last_activity_at", session.last_activity_at),
        }
    )


def _row(observation: Observation) -> ImportedRow:
    if not isinstance(observation, Observation):
        raise ValueError("items must contain sessions and observations only")  # noqa: TRY004 - as the contract promises
    check_text("session_id", observation.session_id, MAX_USER_ID)
    check_text("type", observation.type, MAX_TITLE)
    title = _exported("title", observation.title, MAX_TITLE)
    content, content_hash = redacted_content("content", _exported("content", observation.content))
    topic_key, about = observation.topic_key, observation.about
    if topic_key is not None:
        topic_key = _exported("topic_key", topic_key, MAX_TOPIC_KEY)
    if about is not None:
        about = _exported("about", about)
    check_pinned("pinned", observation.pinned)
    if not 1 <= observation.revision_count <= MAX_REVISION_COUNT:
        raise ValueError(f"revision_count must be 1 to {MAX_REVISION_COUNT}")
    return ImportedRow(
        session_id=observation.session_id,
        type=observation.type,
        title=title,
        content=content,
        topic_key=topic_key,
        normalized_hash=content_hash,
        revision_count=observation.revision_count,
        created_at=moment("created_at", observation.created_at),
        updated_at=moment("updated_at", observation.updated_at),
        pinned=observation.pinned,
        expire_at=None if observation.expire_time is None else moment("expire_time", observation.expire_time),
        about=about,
    )


def _sources(observation: Observation) -> Iterator[Source]:
    if len(observation.source_ids) + len(observation.earlier_source_ids) > MAX_SOURCES:
        raise ValueError(f"source_ids must have at most {MAX_SOURCES:,} ids")
    for is_earlier, ids in ((False, observation.source_ids), (True, observation.earlier_source_ids)):
        for source in ids:
            if not isinstance(source, int) or source <= 0:
                raise ValueError("source_ids must contain integers greater than 0")
            if observation.id is not None:
                yield observation.id, source, is_earlier


def _exported(name: str, text: str, longest: int | None = None) -> str:
    """Return *text*, the argument *name* of an export, redacted again; ValueError unless it is valid.

    *longest*: its limit in characters. None: that of a content. Redaction may have made a stored text longer than its
    limit, see `MOST_ADDED`.
    """
    check: Callable[..., None] = check_content if longest is None else partial(check_text, longest=longest)
    check(name, text, more=MOST_ADDED if REDACTED in text else 0)
    left = redacted(name, text)
    check(name, left, more=MOST_ADDED)
    return left
