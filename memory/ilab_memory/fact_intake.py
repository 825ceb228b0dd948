"""Validation and redaction of facts, and the statements of an `about`. Pure."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from ilab_memory import checks
from ilab_memory.core.config import FACT_TYPES
from ilab_memory.core.models import NewFact, Statement
from ilab_memory.core.store import FactCursor, Redacted, Source
from ilab_memory.intake import cursor, redacted, redacted_content
from ilab_memory.limits import MAX_FACTS, MAX_TITLE, MAX_TOPIC_KEY, MOST_WAITING_SOURCES
from ilab_memory.timestamps import to_text

_START = datetime.min.replace(tzinfo=UTC)


def expire_at(name: str, expire_time: datetime | None) -> str | None:
    """Return *expire_time*, the argument *name*, as text; ValueError unless it has a time zone or is None."""
    checks.check_expire_time(name, expire_time)
    if expire_time is None:
        return None
    try:
        return to_text(expire_time)
    except OverflowError:
        raise ValueError(f"{name} must be a time of the years 1 to 9999") from None


def with_facts(observation: Redacted, facts: Sequence[NewFact], *, types: Collection[str]) -> Redacted:
    """Return *observation* with *facts*, redacted.

    Args:
        observation: The redacted observation that is saved.
        facts: The argument `facts` of `mem_save`.
        types: The types that the configuration allows.

    Raises:
        ValueError: a fact is invalid, or two of them, or the observation and a fact, have the same topic_key.
    """
    if not isinstance(facts, Sequence):
        raise ValueError("facts must be a list of NewFact")  # noqa: TRY004 - the contract promises ValueError
    if len(facts) > MAX_FACTS:
        raise ValueError(f"facts must have at most {MAX_FACTS} items")
    allowed = [kind for kind in FACT_TYPES if kind in types]
    keys = {observation.topic_key}
    made = []
    for number, fact in enumerate(facts):
        one = _new_fact(f"facts[{number}]", fact, observation, allowed)
        if one.topic_key in keys:
            raise ValueError(f"facts[{number}].topic_key must not be that of the observation or of another fact")
        keys.add(one.topic_key)
        made.append(one)
    return replace(observation, facts=tuple(made))


def fact_cursor(before: FactCursor | None) -> FactCursor | None:
    """Return *before* with its time normalized; ValueError unless it is (pinned, updated_at, id) or None."""
    if before is None:
        return None
    if not isinstance(before, tuple | list) or len(before) != 3 or not isinstance(before[0], bool):  # noqa: PLR2004 - a triple
        raise ValueError("before must be pinned, a time and an id")
    pinned, moment, observation_id = before
    moment, observation_id = cursor((moment, observation_id)) or ("", 0)
    return pinned, moment, observation_id


def statements(rows: Iterable[Statement], limit: int) -> list[Statement]:
    """Return the lines of *rows* as statements of their own, at most *limit*."""
    lines: list[Statement] = []
    for row in rows:
        lines += _lines(row)
        if len(lines) >= limit:
            break
    return lines[:limit]


def older_than(retention: Mapping[str, timedelta] | timedelta | None, now: datetime) -> dict[str, datetime]:
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


def _new_fact(name: str, fact: NewFact, source: Redacted, types: Collection[str]) -> Redacted:
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
        user_id=source.user_id,
        type=fact.type,
        title=redacted(f"{name}.title", fact.title),
        content=content,
        topic_key=redacted(f"{name}.topic_key", fact.topic_key),
        normalized_hash=content_hash,
        conversation_id=source.conversation_id,
        pinned=fact.pinned,
        expire_at=expire_at(f"{name}.expire_time", fact.expire_time),
    )


def _lines(row: Statement) -> Iterator[Statement]:
    for line in row.text.split("\n"):
        if line.strip():
            yield row.model_copy(update={"text": line.strip()})


def _before(now: datetime, age: timedelta) -> datetime:
    try:
        return now - age
    except OverflowError:
        return _START
