"""Redaction of what a store receives, the observations made of summaries and facts, and positions in lists. Pure."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from ilab_memory import checks
from ilab_memory.core.config import FACT_TYPES, SUMMARY_TYPE
from ilab_memory.core.models import NewFact
from ilab_memory.core.store import FactCursor, ObservationCursor, Redacted, SessionCursor
from ilab_memory.limits import MAX_FACTS, MAX_TITLE, MAX_TOPIC_KEY
from ilab_memory.redaction import normalized_hash, strip_private
from ilab_memory.sessions import summary_title
from ilab_memory.timestamps import to_text


def redacted(name: str, text: str) -> str:
    """Return *text*, the argument *name*, redacted; ValueError if it is blank then."""
    left = strip_private(text)
    _check_left(name, left)
    return left


def redacted_content(name: str, content: str) -> tuple[str, str]:
    """Return *content*, redacted as by `redacted`, and its hash. Nothing else hashes content."""
    left = strip_private(content)
    _check_left(name, left)
    return left, normalized_hash(left)


def summary(
    user_id: str, text: str, conversation_id: str = "", *, name: str = "summary", topic_key: str | None = None
) -> Redacted:
    """Return the redacted observation of a session's summary, the argument *name*. Its title is derived from it."""
    left, content_hash = redacted_content(name, text)
    return Redacted(
        user_id=user_id,
        type=SUMMARY_TYPE,
        title=redacted("title", summary_title(left)),
        content=left,
        topic_key=topic_key,
        normalized_hash=content_hash,
        conversation_id=conversation_id,
    )


def new_facts(
    facts: Sequence[NewFact],
    user_id: str,
    conversation_id: str = "",
    *,
    of_key: str | None = None,
    types: Collection[str],
) -> tuple[Redacted, ...]:
    """Return *facts*, redacted.

    Args:
        facts: The argument `facts` of `mem_save`.
        user_id: The user.
        conversation_id: The conversation of the observation that they are derived from.
        of_key: The redacted topic key of that observation.
        types: The types that the configuration allows.

    Raises:
        ValueError: a fact is invalid, or two of them, or the observation and a fact, have the same topic_key.
    """
    if not isinstance(facts, Sequence):
        raise ValueError("facts must be a list of NewFact")  # noqa: TRY004 - the contract promises ValueError
    if len(facts) > MAX_FACTS:
        raise ValueError(f"facts must have at most {MAX_FACTS} items")
    allowed = [kind for kind in FACT_TYPES if kind in types]
    made: dict[str | None, Redacted] = {}
    for number, fact in enumerate(facts):
        name = f"facts[{number}]"
        one = _new_fact(name, fact, user_id, conversation_id, allowed)
        if one.topic_key == of_key or one.topic_key in made:
            raise ValueError(f"{name}.topic_key must not be that of the observation or of another fact")
        made[one.topic_key] = one
    return tuple(made.values())


def _new_fact(name: str, fact: NewFact, user_id: str, conversation_id: str, types: Collection[str]) -> Redacted:
    if not isinstance(fact, NewFact):
        raise ValueError(f"{name} must be a NewFact")  # noqa: TRY004 - the contract promises ValueError
    if fact.type not in types:
        raise ValueError(f"{name}.type must be one of {', '.join(types)}")
    checks.check_text(f"{name}.title", fact.title, MAX_TITLE)
    checks.check_content(f"{name}.content", fact.content)
    checks.check_text(f"{name}.topic_key", fact.topic_key, MAX_TOPIC_KEY)
    checks.check_pinned(f"{name}.pinned", fact.pinned)
    content, content_hash = redacted_content(f"{name}.content", fact.content)
    return Redacted(
        user_id=user_id,
        type=fact.type,
        title=redacted(f"{name}.title", fact.title),
        content=content,
        topic_key=redacted(f"{name}.topic_key", fact.topic_key),
        normalized_hash=content_hash,
        conversation_id=conversation_id,
        pinned=fact.pinned,
        expire_at=expire_at(f"{name}.expire_time", fact.expire_time),
    )


def expire_at(name: str, expire_time: datetime | None) -> str | None:
    """Return *expire_time*, the argument *name*, as text; ValueError unless it has a time zone or is None."""
    checks.check_expire_time(name, expire_time)
    if expire_time is None:
        return None
    try:
        return to_text(expire_time)
    except OverflowError:
        raise ValueError(f"{name} must be a time of the years 1 to 9999") from None


def cursor(before: ObservationCursor | None) -> ObservationCursor | None:
    """Return *before* with its time normalized; ValueError unless it is (updated_at, id) or None."""
    return None if before is None else _cursor(before)


def fact_cursor(before: FactCursor | None) -> FactCursor | None:
    """Return *before* with its time normalized; ValueError unless it is (pinned, updated_at, id) or None."""
    if before is None:
        return None
    if not isinstance(before, tuple | list) or len(before) != 3 or not isinstance(before[0], bool):  # noqa: PLR2004 - a triple
        raise ValueError("before must be pinned, a time and an id")
    return before[0], *_cursor(before[1:])


def session_cursor(before: SessionCursor | None) -> SessionCursor | None:
    """Return *before* with its time normalized; ValueError unless it is (started_at, id) or None."""
    if before is None:
        return None
    started_at, session_id = _pair(before)
    checks.check_not_blank("session_id", session_id)
    return moment("before", started_at), session_id


def moment(name: str, text: str) -> str:
    """Return *text*, the argument *name*, as fixed-width UTC; ValueError unless it is ISO 8601 with a time zone."""
    try:
        parsed = datetime.fromisoformat(text)
        if parsed.tzinfo is not None:
            return to_text(parsed)
    except (ValueError, TypeError, OverflowError):
        pass
    raise ValueError(f"{name} must contain an ISO 8601 time with a time zone")


def _cursor(before: ObservationCursor) -> ObservationCursor:
    updated_at, observation_id = _pair(before)
    checks.check_observation_id(observation_id)
    return moment("before", updated_at), observation_id


def _pair(before: tuple[str, object]) -> tuple[str, Any]:
    if not isinstance(before, tuple | list) or len(before) != 2:  # noqa: PLR2004 - a pair
        raise ValueError("before must be a time and an id")
    return before[0], before[1]


def _check_left(name: str, left: str) -> None:
    if not left.strip():
        raise ValueError(f"{name} must not be blank after redaction")
