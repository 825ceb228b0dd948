"""When something was said, as a message says it: "yesterday", "in May", "vor drei Wochen". Pure.

The words are in `date_words`. Only what lies in the past, or has begun, is a time at which something was said.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import NamedTuple

from ilab_memory.recall.date_words import DATE_WORDS, DateWords

#: Longest message, in characters, in which a date restricts the search. Longer ones are pasted texts.
LONGEST = 300
#: Days that "recently" covers, and that a number of weeks, months or years ago may be off.
RECENT_DAYS = 14
TOLERANCE_DAYS = {"day": 0, "week": 4, "month": 16, "year": 183}
DAYS = {"day": 1.0, "week": 7.0, "month": 30.44, "year": 365.25}

_UNITS = ("day", "week", "month", "year")
_UNSPACED = frozenset({"zh", "ja", "ko"})
_ISO = re.compile(r"(?<!\d)(\d{4})-(\d{2})-(\d{2})(?!\d)")
_KANA = re.compile("[\u3041-\u30ff]")
_HANGUL = re.compile("[\uac00-\ud7af]")
_HAN = re.compile("[\u4e00-\u9fff]")


class Period(NamedTuple):
    """A period, from the beginning of one day to the beginning of another, in UTC."""

    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class Dated:
    """The time that a message names."""

    period: Period
    is_past: bool
    """The message says that it is over: "last week", and not "on Monday", which may be the next one."""
    asks_talk: bool
    """The message asks for what was said then."""
    rest: str
    """The message without the words for the time and for saying."""
    named: str = ""
    """The words for a day or a month by its name. A row may contain them that was saved at another time."""


class _Compiled(NamedTuple):
    rules: Sequence[tuple[str, re.Pattern[str]]]
    """Each kind of a date with its pattern."""
    talk: re.Pattern[str]
    former: re.Pattern[str]
    when: re.Pattern[str]
    past: re.Pattern[str]
    times: re.Pattern[str]
    numbers: Sequence[re.Pattern[str]]
    weekdays: Sequence[re.Pattern[str]]
    months: Sequence[re.Pattern[str]]


def find(message: str, spoken: Iterable[str], now: datetime) -> Dated | None:
    """Return the time in the past that *message* names; None if it names none.

    *spoken*: its likely languages. *now*: the time in the user's time zone.
    """
    lowered = message.lower()
    if len(message) > LONGEST or len(lowered) != len(message):
        return None
    if iso := _ISO.search(message):
        days = _day(int(iso[1]), int(iso[2]), int(iso[3]))
        if days and days[1] <= now.date():
            days = (*days[:2], True)
        return days and _dated(message, lowered, iso, days, None, now)
    for language in _languages(message, spoken):
        words = _compiled(language)
        for kind, pattern in words.rules:
            if match := pattern.search(lowered):
                days = _days(kind, match, words, now.date())
                return days and _dated(message, lowered, match, days, words, now)
    return None


def asks_when(lowered: str, spoken: Iterable[str]) -> bool:
    """Return whether a message, in lower case, asks for a time in one of the languages *spoken*."""
    return any(_compiled(name).when.search(lowered) for name in _languages(lowered, spoken))


def says_time(lowered: str, spoken: Iterable[str]) -> bool:
    """Return whether a text, in lower case, says a time in one of the languages *spoken*."""
    return any(_compiled(name).times.search(lowered) for name in _languages(lowered, spoken))


def _dated(  # noqa: PLR0917 - what `find` knows
    message: str,
    lowered: str,
    match: re.Match[str],
    days: tuple[date, date, bool],
    words: _Compiled | None,
    now: datetime,
) -> Dated | None:
    start, end, is_past = days
    if start > now.date():
        return None
    # "What happened on 4 July?" asks for the last one, "What is on 4 July?" for any.
    is_surely_past = is_past or (words is not None and words.former.search(match[0]) is not None)
    is_past = is_surely_past or (words is not None and words.past.search(lowered) is not None)
    spans = [match.span()]
    asks_talk = False
    if words is not None:
        spoken = [found.span() for found in words.talk.finditer(lowered)]
        asks_talk = bool(spoken)
        spans += spoken
    rest = list(message)
    for first, last in spans:
        rest[first:last] = " " * (last - first)
    try:
        period = Period(*(datetime.combine(day, time(), now.tzinfo).astimezone(UTC) for day in (start, end)))
    except OverflowError:
        return None
    return Dated(period, is_past, asks_talk, "".join(rest), "" if is_surely_past else match[0])


def _languages(message: str, spoken: Iterable[str]) -> Iterable[str]:
    if message.isascii():
        return [name for name in spoken if name in DATE_WORDS]
    if _KANA.search(message):
        return ("ja",)
    if _HANGUL.search(message):
        return ("ko",)
    if _HAN.search(message):
        # A Japanese message without kana is short, and its dates are often written as in Chinese.
        return ("zh", "ja")
    return [name for name in spoken if name in DATE_WORDS]


def _days(kind: str, match: re.Match[str], words: _Compiled, today: date) -> tuple[date, date, bool] | None:
    """Return the first day, the day after the last, and whether they are over."""
    values = {key[0]: value for key, value in match.groupdict().items() if value is not None}
    unit = next((_UNITS["uvxy".index(key)] for key in values if key in "uvxy"), "")
    number = _number(values.get("n", ""), words)
    day = timedelta(days=1)
    try:
        if kind in {"0", "1", "2"}:
            first = today - int(kind) * day
            return first, first + day, kind != "0"
        if kind == "ago":
            center = today - timedelta(days=round(number * DAYS[unit]))
            off = timedelta(days=min(TOLERANCE_DAYS[unit], round(number * DAYS[unit]) - 1))
            return center - off, center + off + day, True
        if kind == "span":
            return today - timedelta(days=round(number * DAYS[unit]) if unit else RECENT_DAYS), today + day, bool(unit)
        if kind in {"last", "this"}:
            return _calendar(unit, today, is_last=kind == "last")
        return _named(kind, values, words, today)
    except (OverflowError, ValueError):
        return None


def _named(kind: str, values: Mapping[str, str], words: _Compiled, today: date) -> tuple[date, date, bool] | None:
    """Return the last weekend, or day or month of this name."""
    day = timedelta(days=1)
    if kind == "on":
        back = (today.weekday() - _place(values["k"], words.weekdays) - 1) % 7 + 1
        return today - back * day, today - (back - 1) * day, False
    if kind == "weekend":
        saturday = today - timedelta(days=(today.weekday() - 5 - 1) % 7 + 1)
        return saturday, saturday + 2 * day, True
    month = _place(values["m"], words.months) + 1
    if kind == "date":
        return _date_before(int(values["d"]), month, int(values.get("j", 0)), today)
    year = int(values.get("j", 0)) or today.year - (month > today.month)
    return date(year, month, 1), date(year + month // 12, month % 12 + 1, 1), False


def _calendar(unit: str, today: date, *, is_last: bool) -> tuple[date, date, bool]:
    """Return the day, week, month or year of *today*, or the one before."""
    if unit == "day":
        start, before = today, today - timedelta(days=1)
    elif unit == "week":
        start = today - timedelta(days=today.weekday())
        before = start - timedelta(days=7)
    elif unit == "month":
        start = today.replace(day=1)
        before = (start - timedelta(days=1)).replace(day=1)
    else:
        start = today.replace(month=1, day=1)
        before = start.replace(year=start.year - 1)
    return (before, start, True) if is_last else (start, today + timedelta(days=1), False)


def _date_before(day: int, month: int, year: int, today: date) -> tuple[date, date, bool] | None:
    if year:
        return _day(year, month, day)
    for candidate in (today.year, today.year - 1):
        found = _day(candidate, month, day)
        if found and found[0] <= today:
            return found
    return None


def _day(year: int, month: int, day: int) -> tuple[date, date, bool] | None:
    try:
        first = date(year, month, day)
        return first, first + timedelta(days=1), False
    except (OverflowError, ValueError):
        return None


def _number(text: str, words: _Compiled) -> int:
    if not text:
        return 1
    return int(text) if text.isdigit() else _place(text, words.numbers) + 1


def _place(text: str, patterns: Sequence[re.Pattern[str]]) -> int:
    """Return the number of the pattern that *text* matches."""
    return next(place for place, pattern in enumerate(patterns) if pattern.fullmatch(text))


@lru_cache(maxsize=len(DATE_WORDS))
def _compiled(language: str) -> _Compiled:
    """Return the patterns of a language; made when it is first spoken."""
    words = DATE_WORDS[language]
    before = "" if language in _UNSPACED else r"(?<![^\W_])"
    after = "" if language in _UNSPACED else r"(?![^\W_])"
    # The specific ones first: one of the others may match a part of them.
    expressions = (
        ("date", _with_year(words.date, language)),
        ("2", words.days[2]),
        ("1", words.days[1]),
        ("0", words.days[0]),
        ("ago", words.ago),
        ("span", words.span),
        ("weekend", words.weekend),
        ("on", words.on),
        ("last", words.last),
        ("this", words.this),
        ("during", _with_year(words.during, language)),
    )
    return _Compiled(
        [(kind, re.compile(f"{before}(?:{_expanded(text, words)}){after}")) for kind, text in expressions],
        re.compile(f"{before}(?:{_spaced(words.talk)}){after}"),
        re.compile(words.former),
        re.compile(f"{before}(?:{_spaced(words.when)}){after}"),
        re.compile(f"{before}(?:{_spaced(words.past)}){after}"),
        re.compile(f"{before}(?:{_times(words)}){after}|\\d"),
        _each(words.numbers),
        _each(words.weekdays),
        _each(words.months),
    )


def _times(words: DateWords) -> str:
    """Return an alternation of all that names a time."""
    named = _expanded(f"{words.ago}|{words.last}|{words.this}", words)
    return "|".join([*map(_spaced, (*words.days, *words.units)), named, _any(words.weekdays), _any(words.months)])


def _with_year(text: str, language: str) -> str:
    return (
        f"(?:{{year}}[年년] ?)?(?:{text})"
        if language in _UNSPACED
        else f"(?:{text})(?:(?:,? | de | del | of ){{year}})?"
    )


def _expanded(text: str, words: DateWords) -> str:
    """Return the regular expression of *text*, each placeholder as a group whose name begins with its letter."""
    count = 0

    def group(found: re.Match[str]) -> str:
        nonlocal count
        count += 1
        match found[1]:
            case "n":
                return rf"(?P<n{count}>\d{{1,3}}|{_any(words.numbers)})"
            case "unit":
                each = zip("uvxy", words.units, strict=True)
                return "(?:" + "|".join(f"(?P<{letter}{count}>{unit})" for letter, unit in each) + ")"
            case "weekday":
                return f"(?P<k{count}>{_any(words.weekdays)})"
            case "month":
                return f"(?P<m{count}>{_any(words.months)})"
            case "day":
                return rf"(?P<d{count}>3[01]|[12]\d|0?[1-9])(?!\d)"
            case _:
                return rf"(?P<j{count}>(?:19|20)\d\d)"

    return _spaced(re.sub(r"\{(n|unit|weekday|month|day|year)\}", group, text))


def _spaced(text: str) -> str:
    return text.replace(" ?", r"\s*").replace(" ", r"\s+")


def _any(table: str) -> str:
    """Return an alternation, the last entry first: 11 and 12 begin like 1."""
    return "|".join(reversed([entry.replace("_", r"\s*") for entry in table.split()]))


def _each(table: str) -> list[re.Pattern[str]]:
    return [re.compile(entry.replace("_", r"\s*")) for entry in table.split()]
