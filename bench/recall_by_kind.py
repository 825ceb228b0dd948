"""Measure how often mem_recall finds the evidence of a question, by its kind, and how often it returns junk.

    python bench/recall_by_kind.py [--words] [--misses] [--ablation] [--only KIND ...]

It measures recall@10 by words and by meaning too, for what was known while the library was changed, and for what was
written for the measurement and not looked at:

    people      two people talk over months (bench/recall_long.py), each message saved on its own, as "Name: text"
    users       a user with an assistant over months, each turn saved as the service does
    dates, ids, typos, lists    bench/recall_kinds.py, of a user with 600 other rows
    unshared    bench/recall_unshared.py: no word in common, each language among 600 other rows

Junk is the share of greetings, requests and questions about the world for which something is returned.
"""

import argparse
import random
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta
from functools import cache
from types import ModuleType

import life
import recall_kinds as kinds
import recall_long as long
import recall_material as material
import recall_unshared as unshared
from ilab_memory import Config, Embedder, ILabMemory
from ilab_memory.recall import coverage, meaning, mem_recall, ranking, speakers, spelling
from ilab_memory.semantic import LocalEmbedder
from recall import TOP, changed, filled, slots_for, title_of, turn

#: When the questions are asked, and when the first of the long conversations was.
NOW = datetime.combine(kinds.TODAY, time(12), UTC)
MONTHS = timedelta(days=240)
#: Conversations of each kind, rows of a session, rows that nobody asks for.
SEEDS, SESSION, OTHER_ROWS = 3, 24, 600
#: Share of the other rows that are of `bench/lives`, which are on many subjects, and their longest.
LIVED, LONGEST = 0.6, 200
#: Change of all floors on the cosine, and factor of all floors on the coverage.
COSINES, COVERAGES = (-0.1, -0.05, 0.05, 0.1), (0.5, 0.75, 1.25, 1.5)
COSINE_FLOORS = ("PERSONAL_FLOOR", "UNSPACED_FLOOR", "FLOOR", "WORLD_FLOOR")
COVERAGE_FLOORS = ("NAME_FLOOR", "PERSONAL_FLOOR", "FOLLOW_UP_FLOOR", "FLOOR")


@dataclass
class Case:
    """One user: what is saved, when and how, and what is asked at the end, with the rows that have the answer."""

    rows: list[tuple[datetime, str]] = field(default_factory=list)
    questions: list[tuple[str, set[int]]] = field(default_factory=list)
    junk: Sequence[str] = ()

    def add(self, when: datetime, text: str) -> int:
        """Add a row and return its place."""
        self.rows.append((when, text))
        return len(self.rows) - 1


class Clock:
    """A clock that is set."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        """Return the time."""
        return self.now


class Saved:
    """A case in a memory of its own."""

    def __init__(self, case: Case, embedder: Embedder | None) -> None:
        self.case = case
        self._clock = Clock()
        self._mem = ILabMemory.from_path(":memory:", Config(durability="normal", embedder=embedder, clock=self._clock))
        self._ids: dict[int, int] = {}
        day = None
        for place in sorted(range(len(case.rows)), key=lambda place: case.rows[place][0]):
            self._clock.now, text = case.rows[place]
            if day not in (None, self._clock.now.date()):
                self._mem.mem_session_end("user", summary="ended")
            day = self._clock.now.date()
            # Repeated rows stay, under keys of their own.
            saved = self._mem.mem_save("user", text, type="discovery", title=title_of(text), topic_key=str(place))
            self._ids[place] = saved.id
        self._clock.now = NOW
        self._mem.mem_embed()

    def found(self, missed: Callable[[str], None] | None = None) -> list[bool]:
        """Return for each row of evidence whether it is among the first results of its question."""
        found = []
        for question, evidence in self.case.questions:
            hits = self._mem.mem_recall("user", question, limit=TOP)[:TOP]
            ids = {hit.id for hit in hits}
            found += [self._ids[place] in ids for place in evidence]
            if missed and not all(found[-len(evidence) :]):
                wanted = [self.case.rows[place][1][:120] for place in evidence if self._ids[place] not in ids]
                missed(f"{question!r} {len(hits)} hits, without {wanted}")
        return found

    def returned(self, missed: Callable[[str], None] | None = None) -> list[bool]:
        """Return for each message of the junk whether something is returned."""
        found = []
        for text in self.case.junk:
            hits = self._mem.mem_recall("user", text, limit=TOP)
            found.append(bool(hits))
            if missed and hits:
                missed(f"junk {text!r}: {hits[0].passage[:120]!r} {hits[0].score:.2f}")
        return found


def people(facts: Sequence[long.Fact], junk: Sequence[str], seed: int) -> Case:
    """Two people talk for about 500 messages; each tells half of the facts."""
    dice = random.Random(seed)
    names = dice.sample(material.NAMES, 2)
    exchanges: list[list[tuple[str, long.Fact | None]]] = []
    for number, fact in enumerate(facts):
        me, you = names[::1] if (number + seed) % 2 else names[::-1]
        for said in fact.said:
            before = [(f"{you}: {fact.before}", None)] if fact.before else []
            exchanges.append([*before, (f"{me}: {said}", fact)])
    dice.shuffle(exchanges)
    lived = deque(_lived(dice))
    talk = [*material.SMALL_TALK, *long.ASIDES]
    messages: list[tuple[str, long.Fact | None]] = []
    for exchange in exchanges:
        for _ in range(dice.randint(8, 18)):
            said = lived.pop() if dice.random() < LIVED else filled(dice.choice(talk), slots_for(dice, ("I", "you")))
            messages.append((f"{dice.choice(names)}: {said}", None))
        messages += exchange
    owner = {id(fact): names[::1] if (number + seed) % 2 else names[::-1] for number, fact in enumerate(facts)}
    asked = {id(fact): fact.question.replace("{me}", owner[id(fact)][0]) for fact in facts}
    return _spread(messages, asked, junk)


def users(facts: Sequence[long.Fact], junk: Sequence[str], seed: int) -> Case:
    """A user mentions facts while asking for help; the replies are long and about everything."""
    dice = random.Random(seed)
    lived = deque(_lived(dice))
    told = [(said, fact) for fact in facts for said in fact.said]
    dice.shuffle(told)
    messages: list[tuple[str, long.Fact | None]] = []
    for said, fact in told:
        for _ in range(dice.randint(6, 12)):
            request = filled(dice.choice(material.REQUESTS), slots_for(dice, ("I", "you")))
            messages.append((turn(dice, lived.pop() if dice.random() < LIVED else request), None))
        messages.append((turn(dice, said), fact))
    return _spread(messages, {id(fact): fact.question for fact in facts}, junk)


@cache
def _lives() -> Sequence[life.Life]:
    return life.read_all(life.names())


def _lived(dice: random.Random) -> list[str]:
    """Return what people say in `bench/lives`, in English and in any order."""
    said = {each.message for of_one in _lives() for each in of_one.exchanges}
    texts = sorted(text for text in said if text.isascii() and len(text) <= LONGEST)
    dice.shuffle(texts)
    return texts


def _spread(messages: Sequence[tuple[str, long.Fact | None]], asked: dict[int, str], junk: Sequence[str]) -> Case:
    """Return the case of *messages*, in sessions that are spread over MONTHS."""
    case = Case(junk=junk)
    evidence: dict[int, set[int]] = {key: set() for key in asked}
    sessions = -(-len(messages) // SESSION)
    for number, (text, fact) in enumerate(messages):
        session, place = divmod(number, SESSION)
        begin = NOW - MONTHS * (sessions - session) / sessions
        row = case.add(begin + timedelta(minutes=place), text)
        if fact is not None:
            evidence[id(fact)].add(row)
    case.questions = [(question, evidence[key]) for key, question in asked.items()]
    return case


def _others(dice: random.Random, count: int = OTHER_ROWS) -> Iterator[str]:
    requests = (material.REQUESTS, material.SMALL_TALK)
    for row in range(count):
        yield filled(dice.choice(requests[row % 2]), slots_for(dice, ("I", "you")))


def entries(asked: Sequence[kinds.Entry], junk: Sequence[str], seed: int) -> Case:
    """A user says what is asked for on the days of *asked*, among other rows."""
    dice = random.Random(seed)
    case = Case(junk=junk)
    for text in _others(dice):
        when = NOW - timedelta(days=dice.randint(1, MONTHS.days), minutes=dice.randint(0, 600))
        case.add(when, f"User: {text}\nAssistant: Okay.")
    for entry in asked:
        days = [
            case.add(datetime.combine(day, time(9, dice.randint(0, 59)), UTC), f"User: {text}\nAssistant: Okay.")
            for day, text in entry.said
        ]
        case.questions.append((entry.question, {*days}))
    return case


def pairs(asked: Sequence[tuple[str, str]], junk: Sequence[str], seed: int) -> Case:
    """A user says the statements of *asked* among other rows."""
    dice = random.Random(seed)
    case = Case(junk=junk)
    rows = [*_others(dice), *(said for said, _ in asked)]
    dice.shuffle(rows)
    places = {
        text: case.add(NOW - MONTHS * (1 - n / len(rows)), f"User: {text}\nAssistant: Okay.")
        for n, text in enumerate(rows)
    }
    case.questions = [(question, {places[said]}) for said, question in asked]
    return case


Make = Callable[[], Iterable[Case]]


def cases(*, later: bool) -> dict[str, Make]:
    """Return the kinds, and how to make their cases: of what is known, or of what was written *later*."""
    junk = unshared.STRANGERS_LATER if later else unshared.STRANGERS
    entry = kinds.LATER if later else kinds.KNOWN
    told, users_told = (long.LATER_PEOPLE, long.LATER_USERS) if later else (long.KNOWN_PEOPLE, long.KNOWN_USERS)
    unshared_pairs = unshared.LATER if later else unshared.PAIRS
    made: dict[str, Make] = {
        "people": lambda: [people(told, junk, seed) for seed in range(SEEDS)],
        "users": lambda: [users(users_told, junk, seed) for seed in range(SEEDS)],
        "unshared": lambda: [pairs(each, junk, seed) for seed, each in enumerate(unshared_pairs.values())],
    }
    for name, each in entry.items():
        made[name] = lambda each=each: [entries(each, junk, 1)]  # type: ignore[misc]
    return made


def share(found: Iterable[bool]) -> float:
    """Return the share of True."""
    values = list(found)
    return sum(values) / len(values)


def line(label: str, memories: dict[str, list[Saved]], missed: Callable[[str], None] | None = None) -> str:
    """Return a line of the table: recall of each kind, and the share of junk that returns something."""
    found = [share(each for saved in all_of for each in saved.found(missed)) for all_of in memories.values()]
    junk = share(each for all_of in memories.values() for saved in all_of for each in saved.returned(missed))
    return f"{label:44}" + "".join(f"{value:10.0%}" for value in [*found, junk])


Changes = Sequence[tuple[ModuleType, dict[str, object]]]
#: Changes that switch off one signal each.
ABLATION: dict[str, Changes] = {
    "without the words of neighbours": [(coverage, {"NEARBY": dict.fromkeys((1, 2, -1), 0.0)})],
    "without the length of a row": [(ranking, {"TURN_GAIN": 0.0, "MESSAGE_GAIN": 0.0})],
    "without the speaker's name": [
        (ranking, {"SPEAKER_GAIN": 0.0}),
        (speakers, {"LEAST_ROWS": 10**9, "SHARE_OF_ROWS": 2.0}),
    ],
    "without times for when": [(ranking, {"TIME_GAIN": 0.0})],
    "without recency": [(mem_recall, {"RECENCY_GAIN": 0.0})],
    "with questions like statements": [(mem_recall, {"QUESTION": (1.0, 1.0, 1.0)})],
    "without dates as times": [(mem_recall, {"_dated": lambda _, found: found})],
    "without other spellings": [(spelling, {"MOST_WAYS": 0, "MOST_WAYS_OF_WORLD": 0, "MOST_IDS": 0})],
    "without whole lists": [(ranking, {"WHOLE_LIST": 0})],
    "with undamped rarity": [(coverage, {"DAMPING": 1.0})],
    "without reserved places": [(meaning, {"EVERY": 1_000_000})],
    "without the gain by cosine": [(meaning, {"GAIN": 0.0, "GAIN_UNCOVERED": 0.0})],
    "without the kinds of rows": [(meaning, {"OF_USER": 0.0})],
}


def _changes(*, by_meaning: bool) -> Iterator[tuple[str, Changes]]:
    """Yield the changes of the search that make a difference: by words, or by meaning too."""
    for name, changes in ABLATION.items():
        if by_meaning or all(module is not meaning for module, _ in changes):
            yield name, changes
    if by_meaning:
        for change in COSINES:
            values: dict[str, object] = {name: getattr(meaning, name) + change for name in COSINE_FLOORS}
            yield f"floors of the cosine {change:+.2f}", [(meaning, values)]
        return
    for factor in COVERAGES:
        values = {name: getattr(ranking, name) * factor for name in COVERAGE_FLOORS}
        yield f"floors of the coverage x {factor:.2f}", [(ranking, values)]


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--words", action="store_true", help="only by words, without the local embedder")
    parser.add_argument("--misses", action="store_true", help="print what is not found, of what is known only")
    parser.add_argument("--ablation", action="store_true", help="also without each signal, and with other floors")
    parser.add_argument("--only", nargs="+", metavar="KIND", help="only these kinds")
    options = parser.parse_args()
    embedders: dict[str, Embedder | None] = {"by words": None}
    if not options.words:
        local = LocalEmbedder()
        local.load()
        embedders["by meaning too"] = local
    for later in (False, True):
        made = {name: make for name, make in cases(later=later).items() if name in (options.only or [name])}
        title = "written for this measurement" if later else "known"
        print(f"\n{title:44}" + "".join(f"{name:>10}" for name in [*made, "junk"]), flush=True)
        for label, embedder in embedders.items():
            memories = {name: [Saved(case, embedder) for case in make()] for name, make in made.items()}
            missed = print if options.misses and not later else None
            print(line(label, memories, missed), flush=True)
            for name, changes in _changes(by_meaning=bool(embedder)) if options.ablation else ():
                with ExitStack() as stack:
                    for module, values in changes:
                        stack.enter_context(changed(module, **values))
                    print(line(f"  {name}", memories), flush=True)


if __name__ == "__main__":
    main()
