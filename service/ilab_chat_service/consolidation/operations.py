"""The model's answer to a consolidation, checked: what is not proven by the user's own words is dropped. Pure."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias, TypeVar

import msgspec

from ilab_chat_service.values import FACT_KEY
from ilab_memory.recall.normalization import normalize
from ilab_memory.redaction import REDACTED, strip_private

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from ilab_chat_service.consolidation.prompt import Material, NewTurn

T = TypeVar("T")
R = TypeVar("R")

#: Longest answer that is read, in characters.
ANSWER_CHARACTERS = 64 * 1024
#: Maximum number of operations of a kind. An answer with more of them cannot be the result of these few turns.
OPERATIONS = 32
#: Longest topic, fact and summary that are stored, in characters.
TOPIC_CHARACTERS = 100
CONTENT_CHARACTERS = 500
SUMMARY_CHARACTERS = 2000
#: Fewest letters and digits of evidence. Less is in almost any text. In scripts without spaces, two are a word.
EVIDENCE_LETTERS = 4
UNSPACED_EVIDENCE_LETTERS = 2

#: The first code point of the scripts that write words without spaces: kana, Chinese characters, Hangul.
UNSPACED = "\u3040"

FENCED = re.compile(r"\s*```(?:json)?\s*\n(?P<inside>.*)\n\s*```\s*", re.DOTALL)
NOT_IN_TOPIC = re.compile(r"[^\w/]+|_+")
SLASHES = re.compile(r"-*/[-/]*")

_Text: TypeAlias = Annotated[str, msgspec.Meta(min_length=1, max_length=4000)]


class InvalidAnswer(ValueError):
    """The answer does not have the form that was asked for. The text quotes nothing of it."""


class _Set(msgspec.Struct, forbid_unknown_fields=True):
    type: Literal["profile", "preference", "decision", "pattern"]
    topic_key: _Text
    content: _Text
    evidence: _Text
    expire_date: str | None = None


class _Retire(msgspec.Struct, forbid_unknown_fields=True):
    topic_key: _Text
    evidence: _Text


class _Summary(msgspec.Struct, forbid_unknown_fields=True):
    session: int
    summary: str


class _Answer(msgspec.Struct, forbid_unknown_fields=True):
    set: Annotated[list[_Set], msgspec.Meta(max_length=OPERATIONS)]
    retire: Annotated[list[_Retire], msgspec.Meta(max_length=OPERATIONS)]
    summaries: Annotated[list[_Summary], msgspec.Meta(max_length=OPERATIONS)]


@dataclass(frozen=True, slots=True, kw_only=True)
class SetFact:
    """A fact to add or to replace. `source_ids`: the turns whose user's words prove it."""

    type: str
    topic: str
    content: str
    source_ids: Sequence[int]
    expire_time: datetime | None


@dataclass(frozen=True, slots=True)
class RetireFact:
    """A fact that does not hold any more. `source_id`: the turn whose user's words prove it."""

    topic: str
    source_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Operations:
    """The operations of an answer that passed the checks."""

    set: Sequence[SetFact]
    retire: Sequence[RetireFact]
    summaries: dict[str, str]
    """By session id."""
    dropped: Counter[str] = field(default_factory=Counter)
    """Number of dropped operations, by reason."""


def operations(answer: str, material: Material) -> Operations:
    """Return what the answer changes.

    Operations are dropped whose evidence is not in the user's own words of these turns, and those that repeat a topic,
    change a fixed fact, or say nothing.

    Raises:
        InvalidAnswer: the answer does not have the form that was asked for.
    """
    read = _decoded(answer)
    checking = _Checking(material)
    dropped = Counter[str]()
    facts = _kept(checking.fact, read.set, dropped)
    topics = {fact.topic for fact in facts}
    return Operations(
        set=facts,
        # A topic that gets a new value is not retired.
        retire=[each for each in _kept(checking.retired, read.retire, dropped) if each.topic not in topics],
        summaries=dict(_kept(checking.summary, read.summaries, dropped)),
        dropped=dropped,
    )


def topic_of(key: str) -> str:
    """Return *key* as a topic: lower case, words joined by `-`, parts by `/`; empty if nothing is left."""
    lowered = normalize("NFKC", key).lower().removeprefix(FACT_KEY)
    joined = SLASHES.sub("/", NOT_IN_TOPIC.sub("-", lowered)).strip("-/")
    return joined[:TOPIC_CHARACTERS].strip("-/")


def folded(text: str) -> str:
    """Return *text* without case, punctuation and extra spaces."""
    normal = normalize("NFKC", text).casefold()
    return " ".join("".join(each if each.isalnum() else " " for each in normal).split())


class _Dropped(Exception):
    """An operation is not acceptable. The text is the reason."""


def _kept(check: Callable[[T], R], operations: Iterable[T], dropped: Counter[str]) -> list[R]:
    """Return what *check* makes of *operations*; count those that it drops."""
    kept = []
    for operation in operations:
        try:
            kept.append(check(operation))
        except _Dropped as reason:
            dropped[str(reason)] += 1
    return kept


class _Checking:
    """Checks the operations of one answer against the turns."""

    def __init__(self, material: Material) -> None:
        self._material = material
        self._session_ids = material.session_ids
        self._said = [(turn, f" {folded(turn.message)} ") for turn in material.turns]
        self._topics: set[str] = set()
        self._fixed = {folded(fact) for fact in material.fixed}

    def fact(self, operation: _Set) -> SetFact:
        """Return the fact of *operation*."""
        topic = topic_of(operation.topic_key)
        # A fact that contains private text says nothing, nor does one in private tags, which the library redacts.
        content = strip_private(one_line(operation.content, CONTENT_CHARACTERS))
        if not topic or not folded(content) or REDACTED in content:
            raise _Dropped("empty")
        if topic in self._topics:
            raise _Dropped("duplicate")
        if self._material.facts.get(topic) == content or folded(content) in self._fixed:
            raise _Dropped("known")
        turns = self._proving(operation.evidence)
        if not turns:
            raise _Dropped("no evidence")
        expire_time = None
        if operation.expire_date is not None:
            expire_time = end_of_day(operation.expire_date)
            if expire_time is None or expire_time <= datetime.fromisoformat(turns[-1].moment):
                raise _Dropped("over")
        self._topics.add(topic)
        return SetFact(
            type=operation.type,
            topic=topic,
            content=content,
            source_ids=[turn.id for turn in turns],
            expire_time=expire_time,
        )

    def retired(self, operation: _Retire) -> RetireFact:
        """Return the topic that *operation* retires."""
        topic = topic_of(operation.topic_key)
        if topic not in self._material.facts:
            raise _Dropped("unknown topic")
        turns = self._proving(operation.evidence)
        if not turns:
            raise _Dropped("no evidence")
        return RetireFact(topic, turns[-1].id)

    def summary(self, operation: _Summary) -> tuple[str, str]:
        """Return the session id and the text of a summary."""
        text = one_line(operation.summary, SUMMARY_CHARACTERS)
        if not (1 <= operation.session <= len(self._session_ids) and folded(text)):
            raise _Dropped("summary")
        return self._session_ids[operation.session - 1], text

    def _proving(self, evidence: str) -> list[NewTurn]:
        """Return the turns whose user said *evidence*, oldest first."""
        words = folded(evidence)
        letters = len(words.replace(" ", ""))
        spaced = not any(each >= UNSPACED for each in words)
        if letters < (EVIDENCE_LETTERS if spaced else UNSPACED_EVIDENCE_LETTERS):
            return []
        # Whole words, where words are told apart by spaces.
        wanted = f" {words} " if spaced else words
        return [turn for turn, said in self._said if wanted in said]


def one_line(text: str, most: int) -> str:
    """Return *text* on one line without control characters, cut after *most* characters."""
    printable = "".join(each if each.isprintable() else " " for each in text)
    return " ".join(printable.split())[:most].rstrip()


def end_of_day(day: str) -> datetime | None:
    """Return the end of a day (YYYY-MM-DD, UTC); None if it is not a date."""
    try:
        return datetime.combine(date.fromisoformat(day) + timedelta(days=1), datetime.min.time(), UTC)
    except (ValueError, OverflowError):
        return None


def _decoded(answer: str) -> _Answer:
    if len(answer) > ANSWER_CHARACTERS:
        raise InvalidAnswer("the answer is too long")
    fenced = FENCED.fullmatch(answer)
    try:
        return msgspec.json.decode((fenced["inside"] if fenced else answer).encode(), type=_Answer)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        raise InvalidAnswer("the answer does not match the schema") from None
