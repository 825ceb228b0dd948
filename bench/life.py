"""Read a life: what a user says over weeks, in order and with dates, and what is asked at the end.

A life is a TOML file in bench/lives. The messages of the user are written there. The chat between is drawn from
bench/lives/filler with the life's seed, so that two runs are equal.
"""

from __future__ import annotations

import random
import re
import tomllib
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

FOLDER = Path(__file__).parent / "lives"

#: The kinds of questions.
KINDS = {
    "fact": "said once, and the question repeats a word of it",
    "no shared word": "said once, and the question repeats no word of it",
    "standing": "an instruction that holds for every answer",
    "outdated": "a value that replaced an earlier one",
    "date": "needs the date of what was said, or the order of days",
    "list": "needs several things that were said at different times",
    "long text": "at the end of a pasted text",
    "language": "said in another language, or asked in one",
    "opt-out": "must not be remembered",
}

#: Turns after the last told one on the last day: fewer would leave what was told in the conversation.
LAST_FILLER = 10
#: Lengths of replies in bytes of UTF-8, and how often they occur. In bytes, a text is about as long in any language.
REPLY_BYTES = {80: 3, 300: 4, 900: 3, 2000: 2}
#: Share of greetings among the filler, and of replies that invent something about the user.
GREETINGS, INVENTIONS = 0.1, 0.08

WORD = re.compile(r"[^\W_]+")
#: Parts of Chinese and Japanese texts, which have no spaces: pairs of characters, and words in katakana.
CHINESE, KATAKANA = re.compile(r"(?=([\u4e00-\u9fff]{2}))"), re.compile(r"[\u30a1-\u30ff]{2,}")
#: Words that a question may share with any statement.
COMMON_WORDS = frozenset((FOLDER / "common_words.txt").read_text("utf-8").split())


class LifeError(Exception):
    """A file of a life contradicts itself."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """One turn."""

    at: datetime
    message: str
    reply: str
    is_told: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A question at the end, and the text that the prompt must contain."""

    text: str
    kind: str
    answers: tuple[str, ...] = ()
    """One of these must be in the prompt."""
    all: tuple[str, ...] = ()
    """All of these must be."""
    said_on: int | None = None
    """The answer must be near the date of this day of the life."""
    unmarked: tuple[str, ...] = ()
    """Text that no longer holds or was invented: in no line of memory without a mark that says so."""
    absent: tuple[str, ...] = ()
    """Text that must not be in the prompt at all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """The messages of a user, and the questions."""

    name: str
    time_zone: str
    start: datetime
    exchanges: tuple[Exchange, ...]
    questions: tuple[Question, ...]
    junk: tuple[str, ...]
    """Greetings and questions about the world, of the life and its filler. Nothing in memory answers them."""

    @property
    def asked_at(self) -> datetime:
        """The time of the questions: some minutes after the last turn."""
        return self.exchanges[-1].at + timedelta(minutes=20)

    def date(self, day: int) -> str:
        """Return the date of a day of the life in the user's time zone."""
        return (self.start + timedelta(days=day)).date().isoformat()


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """The message of the user in one turn."""

    day: int
    say: str
    reply: str = ""
    """Empty: one of the filler."""
    then: bool = False
    """Comes directly after the turn before."""
    times: int = 1
    """How often it is sent, one time after the other."""


@dataclass(frozen=True, slots=True)
class Filler:
    """Chat in which the user states nothing about themselves."""

    dice: random.Random
    topics: Sequence[Mapping[str, Sequence[str]]]
    slots: Mapping[str, Sequence[str]]
    greetings: Sequence[str]
    answers: Sequence[str]
    inventions: Sequence[str]
    junk: Sequence[str]
    """Greetings and questions about the world, asked at the end."""
    _decks: dict[int, list[str]] = field(default_factory=dict)

    def turn(self) -> tuple[str, str]:
        """Return a message and its reply."""
        if self.dice.random() < GREETINGS:
            return self.dice.choice(self.greetings), self.dice.choice(self.answers)
        weights = [len(topic["messages"]) for topic in self.topics]
        [number] = self.dice.choices(range(len(self.topics)), weights)
        message = self._filled(self._draw(number))
        return message, self.reply(number)

    def reply(self, number: int | None = None) -> str:
        """Return a reply of some length about a topic; None: about any."""
        topic = self.topics[self.dice.randrange(len(self.topics)) if number is None else number]
        [size] = self.dice.choices(list(REPLY_BYTES), list(REPLY_BYTES.values()))
        sentences = self.dice.sample(topic["replies"], len(topic["replies"]))
        while len(" ".join(sentences).encode()) < size:
            sentences += self.dice.sample(topic["replies"], len(topic["replies"]))
        while len(" ".join(sentences).encode()) > size and len(sentences) > 1:
            sentences.pop()
        if self.dice.random() < INVENTIONS:
            sentences.insert(0, self.dice.choice(self.inventions))
        return self._filled(" ".join(sentences))

    def _draw(self, number: int) -> str:
        """Return the next message of a topic; none comes again before all have come."""
        deck = self._decks.setdefault(number, [])
        if not deck:
            messages = self.topics[number]["messages"]
            deck += self.dice.sample(messages, len(messages))
        return deck.pop()

    def _filled(self, text: str) -> str:
        return re.sub(r"\{(\w+)\}", lambda slot: self.dice.choice(self.slots[slot[1]]), text)


def names() -> list[str]:
    """Return the names of the lives in FOLDER."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def read(name_or_path: str) -> Life:
    """Return the life of this name in FOLDER, or in this file.

    Raises:
        LifeError: it contradicts itself, so its questions would measure something else.
    """
    path = Path(name_or_path) if name_or_path.endswith(".toml") else FOLDER / f"{name_or_path}.toml"
    table = tomllib.loads(path.read_text("utf-8"))
    dice = random.Random(table["seed"])
    zone = ZoneInfo(table["time_zone"])
    start = datetime.fromisoformat(table["start"]).replace(tzinfo=zone)
    fillers = {language: filler(dice, language) for language in table["languages"]}
    spoken_in = [fillers[language] for language in table["languages"]]
    told = [Told(**each) for each in table["told"]]
    life = Life(
        name=path.stem,
        time_zone=table["time_zone"],
        start=start,
        exchanges=tuple(scheduled(dice, told, spoken_in, start, days=table["days"], turns=table["turns"])),
        questions=tuple(question(each) for each in table["questions"]),
        junk=(*table.get("junk", ()), *(message for each in fillers.values() for message in each.junk)),
    )
    if faults := list(contradictions(life)):
        raise LifeError("\n".join(f"{path.name}: {fault}" for fault in faults))
    return life


def read_all(names_or_paths: Iterable[str]) -> list[Life]:
    """Return several lives.

    Raises:
        LifeError: some of them contradict themselves; it names all contradictions.
    """
    read_lives: list[Life] = []
    faults: list[str] = []
    for each in names_or_paths:
        try:
            read_lives.append(read(each))
        except LifeError as error:
            faults.append(str(error))
    if faults:
        raise LifeError("\n".join(faults))
    return read_lives


def question(table: Mapping[str, Any]) -> Question:
    """Return a question from its table."""
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in table.items()}
    return Question(**values)


def filler(dice: random.Random, language: str) -> Filler:
    """Return the filler in a language."""
    return Filler(dice, **tomllib.loads((FOLDER / "filler" / f"{language}.toml").read_text("utf-8")))


def scheduled(
    dice: random.Random,
    told: Sequence[Told],
    fillers: Sequence[Filler],
    start: datetime,
    *,
    days: int,
    turns: int,
) -> Iterator[Exchange]:
    """Yield what is told on its day and in its order, with filler between, *turns* in all."""
    by_day: dict[int, list[list[Told]]] = {day: [] for day in range(days)}
    for each in told:
        if each.then:
            by_day[each.day][-1].append(each)
        else:
            by_day[each.day].append([each])
    missing = turns - sum(each.times for each in told) - LAST_FILLER
    share = Counter(dice.choices(range(days - 1), k=missing))
    for day, groups in by_day.items():
        sitting: list[Sequence[Told] | None] = list(groups)
        for _ in range(share[day]):
            sitting.insert(dice.randint(0, len(sitting)), None)
        if day == days - 1:
            sitting += [None] * LAST_FILLER
        moment = start + timedelta(days=day, minutes=dice.randint(0, 180))
        for group in sitting:
            said = dice.choice(fillers)
            for message, reply in spoken(group, said):
                moment += timedelta(minutes=dice.randint(1, 20))
                yield Exchange(moment.astimezone(UTC), message, reply or said.reply(), is_told=group is not None)


def spoken(group: Sequence[Told] | None, said: Filler) -> Iterator[tuple[str, str]]:
    """Yield messages and replies of what is told together, or of one turn of filler."""
    if group is None:
        yield said.turn()
    else:
        for each in group:
            yield from [(each.say.strip(), each.reply.strip())] * each.times


def contradictions(life: Life) -> Iterator[str]:
    """Yield what makes questions of *life* measure something else than they should."""
    if any(after.at <= before.at for before, after in pairwise(life.exchanges)):
        yield "a day has too many turns"
    told = [each.message for each in life.exchanges if each.is_told]
    rest = "\n".join(f"{each.message}\n{each.reply}" for each in life.exchanges if not each.is_told)
    for each in life.questions:
        yield from (f"{each.text!r}: {fault}" for fault in faults_of(each, told, rest))


def faults_of(question: Question, told: Sequence[str], rest: str) -> Iterator[str]:
    """Yield what is wrong with a question, given what is *told* and the *rest* of the chat."""
    wanted = (*question.answers, *question.all)
    if question.kind not in KINDS:
        yield f"the kind {question.kind!r} does not exist"
    if not (wanted or question.absent):
        yield "has no answer"
    if question.answers and not any(is_told(told, text) for text in question.answers):
        # One is enough: the others are words that a fact may use.
        yield f"nobody said {' | '.join(question.answers)!r}"
    exact = (*question.all, *question.absent, *question.unmarked)
    yield from (f"nobody said {text!r}" for text in exact if not is_told(told, text))
    yield from (f"the filler contains {text!r}" for text in (*wanted, *question.absent) if contains(rest, text))
    yield from (f"contains {text!r} itself" for text in (*wanted, *exact) if contains(question.text, text))
    if question.kind == "no shared word":
        evidence = [message for message in told if any(contains(message, text) for text in wanted)]
        if shared := words(question.text) & set().union(*map(words, evidence)):
            yield f"shares {', '.join(sorted(shared))}"


def is_told(told: Iterable[str], text: str) -> bool:
    """Return whether the user said *text*."""
    return any(contains(message, text) for message in told)


def words(text: str) -> set[str]:
    """Return the words of *text* that mean something, without the most usual endings."""
    spaced = set(WORD.findall(text.casefold())) - COMMON_WORDS
    stems = {re.sub(r"(?:ies|es|s|ed|ing)$", "", word) for word in spaced}
    return stems | set(CHINESE.findall(text)) | set(KATAKANA.findall(text))


def contains(text: str, wanted: str) -> bool:
    """Return whether *wanted* is in *text*, in any case, and not inside a longer word or number."""
    # Looking for one of its words first is much faster than the pattern.
    return wanted.split(maxsplit=1)[0].casefold() in text.casefold() and found(text, wanted) is not None


def found(text: str, wanted: str) -> re.Match[str] | None:
    """Return where *wanted* is first in *text*."""
    return next(all_found(text, wanted), None)


def all_found(text: str, wanted: str) -> Iterator[re.Match[str]]:
    """Return every place of *wanted* in *text*; any white space equals any other."""
    pattern = r"\s+".join(map(re.escape, wanted.split()))
    return re.finditer(rf"(?<![a-z0-9]){pattern}(?![a-z0-9])", text, re.IGNORECASE)
