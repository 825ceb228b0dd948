"""Validation and redaction of what a store receives."""

from collections.abc import Iterable, Iterator
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple, Protocol

from ilab_memory.checks import (
    check_content,
    check_conversation_id,
    check_left,
    check_observation_id,
    check_pinned,
    check_session_id,
    check_text,
)
from ilab_memory.core.config import SUMMARY_TYPE
from ilab_memory.core.models import Observation, Session, Unset
from ilab_memory.core.store import (
    Change,
    ImportedRow,
    ObservationCursor,
    Redacted,
    SessionCursor,
    Source,
)
from ilab_memory.limits import (
    IMPORT_BYTES,
    IMPORT_ITEMS,
    MAX_REVISION_COUNT,
    MAX_SOURCES,
    MAX_TITLE,
    MAX_TOPIC_KEY,
    MAX_USER_ID,
)
from ilab_memory.redaction import MOST_ADDED, REDACTED, normalized_hash, strip_private
from ilab_memory.sessions import summary_title
from ilab_memory.timestamps import to_text


class _Check(Protocol):
    """Checks a text that may be *more* than its limit."""

    def __call__(self, name: str, text: str, /, *, more: int) -> None: ...


class Batch(NamedTuple):
    """Items that are imported in one transaction."""

    sessions: list[Session]
    rows: list[ImportedRow]
    ids: list[int | None]
    """The id of each row in the export."""
    sources: list[Source]
    """The sources of the rows, by the ids in the export."""


def redacted(name: str, text: str) -> str:
    """Return *text*, the argument *name*, redacted; ValueError if it is blank then."""
    left = strip_private(text)
    check_left(name, left)
    return left


def redacted_content(name: str, content: str) -> tuple[str, str]:
    """Return *content*, redacted as by `redacted`, and its hash. Nothing else hashes content."""
    left = strip_private(content)
    check_left(name, left)
    return left, normalized_hash(left)


def observation(
    user_id: str,
    kind: str,
    content: str,
    *,
    title: str,
    topic_key: str | None,
    conversation_id: str,
    pinned: bool,
    expire_at: str | None,
    about: str | None,
) -> Redacted:
    """Return the redacted observation to store."""
    left, content_hash = redacted_content("content", content)
    return Redacted(
        user_id=user_id,
        type=kind,
        title=redacted("title", title),
        content=left,
        topic_key=None if topic_key is None else redacted("topic_key", topic_key),
        normalized_hash=content_hash,
        conversation_id=conversation_id,
        pinned=pinned,
        expire_at=expire_at,
        about=None if about is None else redacted("about", about),
    )


def summary(user_id: str, text: str, conversation_id: str) -> Redacted:
    """Return the redacted observation of a session's summary, with a title that is derived from it."""
    left, content_hash = redacted_content("summary", text)
    return Redacted(
        user_id=user_id,
        type=SUMMARY_TYPE,
        title=redacted("title", summary_title(left)),
        content=left,
        topic_key=None,
        normalized_hash=content_hash,
        conversation_id=conversation_id,
    )


def change(
    *,
    title: str | None,
    content: str | None,
    type: str | None,  # noqa: A002 - as in mem_update
    pinned: bool | None,
    expire_at: str | Unset | None,
) -> Change:
    """Return the redacted change of an observation. None: unchanged."""
    left, content_hash = (None, None) if content is None else redacted_content("content", content)
    return Change(
        title=None if title is None else redacted("title", title),
        content=left,
        type=type,
        normalized_hash=content_hash,
        pinned=pinned,
        expire_at=expire_at,
    )


def cursor(before: ObservationCursor | None) -> ObservationCursor | None:
    """Return *before* with its time normalized; ValueError unless it is (updated_at, id) or None."""
    if before is None:
        return None
    moment, observation_id = _pair(before)
    check_observation_id(observation_id)
    return _moment("before", moment), observation_id


def session_cursor(before: SessionCursor | None) -> SessionCursor | None:
    """Return *before* with its time normalized; ValueError unless it is (started_at, id) or None."""
    if before is None:
        return None
    moment, session_id = _pair(before)
    check_session_id(session_id)
    return _moment("before", moment), session_id


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


def _session(session: Session) -> Session:
    check_text("session_id", session.id, MAX_USER_ID)
    check_conversation_id(session.conversation_id)
    summary = session.summary
    if summary is not None:
        summary = _exported("summary", summary, check_content)
    return session.model_copy(
        update={
            "summary": summary,
            "started_at": _moment("started_at", session.started_at),
            "ended_at": None if session.ended_at is None else _moment("ended_at", session.ended_at),
            "last_activity_at": _moment("last_activity_at", session.last_activity_at),
        }
    )


def _row(observation: Observation) -> ImportedRow:
    if not isinstance(observation, Observation):
        raise ValueError("items must contain sessions and observations only")  # noqa: TRY004 - as the contract promises
    check_text("session_id", observation.session_id, MAX_USER_ID)
    check_text("type", observation.type, MAX_TITLE)
    title = _exported("title", observation.title, partial(check_text, longest=MAX_TITLE))
    content, content_hash = redacted_content("content", _exported("content", observation.content, check_content))
    topic_key, about = observation.topic_key, observation.about
    if topic_key is not None:
        topic_key = _exported("topic_key", topic_key, partial(check_text, longest=MAX_TOPIC_KEY))
    if about is not None:
        about = _exported("about", about, check_content)
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
        created_at=_moment("created_at", observation.created_at),
        updated_at=_moment("updated_at", observation.updated_at),
        pinned=observation.pinned,
        expire_at=None if observation.expire_time is None else _moment("expire_time", observation.expire_time),
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


def _exported(name: str, text: str, check: _Check) -> str:
    """Return *text*, the argument *name* of an export, redacted again; ValueError unless *check* accepts it.

    Redaction may have made a stored text longer than its limit, see `MOST_ADDED`.
    """
    check(name, text, more=MOST_ADDED if REDACTED in text else 0)
    left = redacted(name, text)
    check(name, left, more=MOST_ADDED)
    return left


def _moment(name: str, moment: str) -> str:
    """Return *moment*, the argument *name*, as fixed-width UTC; ValueError unless it is ISO 8601 with a time zone."""
    try:
        parsed = datetime.fromisoformat(moment)
        if parsed.tzinfo is not None:
            return to_text(parsed)
    except (ValueError, TypeError, OverflowError):
        pass
    raise ValueError(f"{name} must contain an ISO 8601 time with a time zone")


def _pair(before: tuple[str, object]) -> tuple[str, Any]:
    if not isinstance(before, tuple | list) or len(before) != 2:  # noqa: PLR2004 - a pair
        raise ValueError("before must be a time and an id")
    return before[0], before[1]
