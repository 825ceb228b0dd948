"""Measure how often mem_search and mem_recall find the message that contains the answer: evidence recall@10.

    python bench/recall.py [--seeds N] [--misses] [--meaning]

It makes up two kinds of conversations from bench/recall_material.py, several of each, each from its own seed:

    people      two people talk for about 500 messages; each message is saved on its own, as "Name: text"
    assistant   a user talks with an assistant whose replies run to 350 words; each turn is saved as the service does

With --meaning, it only measures what the local embedder adds to words:

    bench/recall_unshared.py   170 statements in six languages, each among 600 other rows of its user, and questions
                               that share no word with them; messages that concern nothing of the user
    bench/recall_inflected.py  184 statements in thirteen languages, questions that share a word in another form;
                               small talk
    floors                     both, if the least cosines of `recall.meaning` are raised or lowered

Some answers can only be found through the message before them, some only in the reply. The table compares recall with
and without each choice of the library. The material is made up: it shows which choices help, not how high recall is on
real conversations.
"""

import argparse
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType

import recall_inflected as inflected
import recall_material as material
import recall_unshared as unshared
from ilab_memory import Config, Embedder, ILabMemory
from ilab_memory.recall import analysis, bm25f, coverage, meaning, mem_recall, mem_search, ranking
from ilab_memory.semantic import LocalEmbedder

TOP = 10
#: Words of the longest replies.
LONG_REPLY = 350


@dataclass
class Question:
    """A question asked at the end, and the numbers of the messages that contain the answer."""

    text: str
    evidence: set[int]


@dataclass
class Conversation:
    """Messages in order, in sessions, and what is asked about them."""

    sessions: list[list[str]]
    questions: list[Question]


def filled(text: str, slots: dict[str, str]) -> str:
    """Return *text* with its slots filled."""
    return text.format_map(slots)


def slots_for(dice: random.Random, names: tuple[str, str]) -> dict[str, str]:
    """Return one choice for every slot of the material."""
    return {slot: dice.choice(values) for slot, values in material.SLOTS.items()} | {"me": names[0], "you": names[1]}


def people(seed: int) -> Conversation:
    """Two people talk: facts of both, each in an exchange of three messages, among small talk."""
    dice = random.Random(seed)
    names = tuple(dice.sample(material.NAMES, 2))
    facts = [(fact, side) for fact in material.FACTS for side in (0, 1)]
    dice.shuffle(facts)
    facts = facts[: len(material.FACTS) + len(material.FACTS) // 2]
    messages: list[str] = []
    questions: list[Question] = []
    for fact, side in facts:
        me, you = names[side], names[1 - side]
        slots = slots_for(dice, (me, you))
        for _ in range(dice.randint(5, 10)):
            speaker = dice.choice(names)
            messages.append(f"{speaker}: {filled(dice.choice(material.SMALL_TALK), slots_for(dice, (me, you)))}")
        asked, told, reaction, question = fact
        if asked:
            messages.append(f"{you}: {filled(asked, slots)}")
        questions.append(Question(filled(question, slots), {len(messages)}))
        messages.append(f"{me}: {filled(told, slots)}")
        messages.append(f"{you}: {filled(reaction, slots)}")
    return Conversation(_split(messages, 24), questions)


def assistant(seed: int) -> Conversation:
    """A user mentions facts in passing while asking for help; the replies are long and about everything."""
    dice = random.Random(seed)
    turns: list[str] = []
    questions: list[Question] = []
    facts = list(material.FACTS)
    advice = list(material.ADVICE)
    dice.shuffle(facts)
    dice.shuffle(advice)
    for asked, told, _, question in facts:
        for _ in range(dice.randint(2, 5)):
            turns += [turn(dice, filled(dice.choice(material.REQUESTS), slots_for(dice, ("I", "you"))))]
        slots = slots_for(dice, ("I", "you"))
        request = filled(dice.choice(material.REQUESTS), slots)
        fact = f"({filled(asked, slots)}) {filled(told, slots)}" if asked else filled(told, slots)
        questions.append(Question(_first_person(filled(question, slots)), {len(turns)}))
        turns.append(turn(dice, dice.choice([f"{request} By the way, {fact}", f"{fact} {request}"])))
        if dice.random() < len(material.ADVICE) / len(facts) and advice:
            asked_for, advised, asked_later = advice.pop()
            questions.append(Question(filled(asked_later, slots), {len(turns)}))
            turns.append(turn(dice, filled(asked_for, slots), advised))
    return Conversation(_split(turns, 12), questions)


def turn(dice: random.Random, message: str, advised: str = "") -> str:
    """Return a turn with a long reply, in which *advised* stands somewhere."""
    reply: list[str] = []
    while len(" ".join(reply).split()) < LONG_REPLY:
        reply.append(filled(dice.choice(material.REPLIES), slots_for(dice, ("you", "I"))))
    reply = reply[: dice.randint(len(reply) // 2, len(reply))]
    reply.insert(dice.randint(0, len(reply)), advised)
    return f"User: {message}\nAssistant: {' '.join(reply)}"


def _first_person(question: str) -> str:
    for third, first in (("does I ", "do I "), ("is I ", "am I "), ("has I ", "have I "), ("I's", "my")):
        question = question.replace(third, first)
    return question


def _split(messages: list[str], size: int) -> list[list[str]]:
    return [messages[start : start + size] for start in range(0, len(messages), size)]


def title_of(content: str) -> str:
    """Return the title that the service gives a turn, or the beginning of a message."""
    if content.startswith("User: "):
        return f"Turn: {content.removeprefix('User: ')[:60]}"
    return content[:60]


def saved(conversation: Conversation) -> tuple[ILabMemory, list[int]]:
    """Return a memory with the conversation in it, and the ids of its messages in order."""
    mem = ILabMemory.from_path(":memory:", Config(durability="normal"))
    ids: list[int] = []
    for session in conversation.sessions:
        mem.mem_session_start("user")
        saves = (mem.mem_save("user", text, type="discovery", title=title_of(text)) for text in session)
        ids += [result.id for result in saves]
        mem.mem_session_end("user", summary="ended")
    return mem, ids


def recall(
    conversations: list[Conversation], misses: Callable[[str], None] | None = None, *, method: str = "mem_search"
) -> float:
    """Return the share of the evidence that is among the TOP results of *method*, of all the questions."""
    found = wanted = 0
    for conversation in conversations:
        mem, ids = saved(conversation)
        with mem:
            for question in conversation.questions:
                top = {row.id for row in getattr(mem, method)("user", question.text, limit=TOP)[:TOP]}
                wanted += len(question.evidence)
                found += sum(ids[number] in top for number in question.evidence)
                if misses and not all(ids[number] in top for number in question.evidence):
                    misses(question.text)
    return found / wanted


@contextmanager
def changed(module: ModuleType, **values: object) -> Iterator[None]:
    """Set attributes of *module* for a while."""
    before = {name: getattr(module, name) for name in values}
    for name, value in values.items():
        setattr(module, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(module, name, value)


def weights(**changes: float) -> dict[str, float]:
    """Return the weights of the fields with *changes*."""
    return bm25f.WEIGHTS | changes


Changes = dict[str, object]
PLAIN: Changes = {
    "NEIGHBOUR_WEIGHT": 0.0,
    "NEIGHBOUR_WEIGHT_OF_A_TURN": 0.0,
    "COUNTED_ONCE": frozenset(),
    "B": 0.75,
    "WEIGHTS": weights(reply=1.0, tail=1.0),
}
VARIANTS: dict[str, tuple[ModuleType, Changes]] = {
    "as is": (bm25f, {}),
    "without stemming": (analysis, {"stem": lambda word: word}),
    "with stop words": (mem_search, {"STOP_TERMS": frozenset()}),
    "without the words of neighbours": (bm25f, {"NEIGHBOUR_WEIGHT": 0.0, "NEIGHBOUR_WEIGHT_OF_A_TURN": 0.0}),
    "neighbours of a turn weigh as much as of a message": (bm25f, {"NEIGHBOUR_WEIGHT_OF_A_TURN": 0.4}),
    "neighbours weigh as much as the row": (bm25f, {"NEIGHBOUR_WEIGHT": 1.0, "NEIGHBOUR_WEIGHT_OF_A_TURN": 1.0}),
    "neighbours count every occurrence": (bm25f, {"NEIGHBOUR_TIMES": 10**6}),
    "neighbours not capped at 40 words": (bm25f, {"NEIGHBOUR_TERMS": 10**6}),
    "replies weigh as much as the user's words": (bm25f, {"WEIGHTS": weights(reply=1.0)}),
    "replies count every occurrence": (bm25f, {"COUNTED_ONCE": frozenset()}),
    "replies not capped at 80 words": (bm25f, {"WEIGHTS": weights(tail=0.6)}),
    "without replies": (bm25f, {"WEIGHTS": weights(reply=0.0, tail=0.0)}),
    "usual length normalization (b = 0.75)": (bm25f, {"B": 0.75}),
    "all rows ranked exactly, not only 200": (bm25f, {"MAX_RANKED": 10**6}),
    "plain OR over the text: no fields, no neighbours": (bm25f, PLAIN),
}
RECALL_VARIANTS: dict[str, tuple[ModuleType, Changes]] = {
    "mem_recall": (mem_recall, {}),
    "mem_recall without floors": (ranking, {"NAME_FLOOR": 0.0, "PERSONAL_FLOOR": 0.0, "FLOOR": 0.0}),
    "mem_recall without the words of neighbours": (coverage, {"NEARBY": dict.fromkeys((1, 2, -1), 0.0)}),
    "mem_recall with undamped rarity": (coverage, {"DAMPING": 1.0}),
    "mem_recall with questions like statements": (mem_recall, {"QUESTION": (1.0, 1.0, 1.0)}),
}


#: Rows among which the statements of recall_unshared are hidden.
OTHER_ROWS = 600


def hidden(statements: list[str], embedder: Embedder | None) -> tuple[ILabMemory, list[int]]:
    """Return a memory with the statements of one user among other rows, and the ids of the statements."""
    dice = random.Random(len(statements))
    kinds = (material.REQUESTS, material.SMALL_TALK)
    others = [filled(dice.choice(kinds[row % 2]), slots_for(dice, ("I", "you"))) for row in range(OTHER_ROWS)]
    rows = [*others, *statements]
    dice.shuffle(rows)
    mem = ILabMemory.from_path(":memory:", Config(durability="normal", embedder=embedder))
    ids = {}
    for number, text in enumerate(rows):
        content = f"User: {text}\nAssistant: Okay."
        # Repeated rows stay, under keys of their own.
        saved = mem.mem_save("user", content, type="discovery", title=title_of(content), topic_key=str(number))
        ids[text] = saved.id
    mem.mem_embed()
    return mem, [ids[statement] for statement in statements]


Pairs = dict[str, list[tuple[str, str]]]
#: Change of all floors on the cosine.
FLOOR_CHANGES = (-0.1, -0.05, 0.0, 0.05, 0.1)
FLOORS = ("PERSONAL_FLOOR", "UNSPACED_FLOOR", "FLOOR", "WORLD_FLOOR")


@dataclass
class Memories:
    """Memories of one user for each language, with what is asked of them."""

    pairs: Pairs
    junk: dict[str, list[str]]
    memories: dict[str, tuple[ILabMemory, list[int]]]

    @classmethod
    def of(cls, pairs: Pairs, junk: dict[str, list[str]], embedder: Embedder | None) -> "Memories":
        """Save the statements of *pairs*."""
        memories = {name: hidden([said for said, _ in each], embedder) for name, each in pairs.items()}
        return cls(pairs, junk, memories)

    def found(self, language: str) -> list[bool]:
        """Return for each question whether its statement is found."""
        mem, ids = self.memories[language]
        return [
            wanted in {hit.id for hit in mem.mem_recall("user", question, limit=TOP)[:TOP]}
            for wanted, (_, question) in zip(ids, self.pairs[language], strict=True)
        ]

    def line(self, label: str) -> str:
        """Return the line of a table: the share of found statements by language, of all, and of junk."""
        found = [self.found(language) for language in self.pairs]
        junk = [
            bool(self.memories[language][0].mem_recall("user", message))
            for language in self.pairs
            for message in self.junk[language]
        ]
        columns = [*found, [each for of_language in found for each in of_language], junk]
        return f"{label:40}" + "".join(f"{sum(each) / len(each):8.0%}" for each in columns)


def meaning_tables() -> Iterator[str]:
    """Yield the lines of the tables of recall by meaning."""
    local = LocalEmbedder()
    local.load()
    strangers = {language: list(unshared.STRANGERS) for language in (*unshared.PAIRS, *unshared.MORE)}
    for title, pairs, junk in (
        ("recall@10 without a shared word", unshared.PAIRS, strangers),
        ("the same, written later", unshared.MORE, strangers),
        ("a shared word in another form", inflected.PAIRS, inflected.SMALL_TALK),
        (
            "the same, written later",
            inflected.MORE,
            inflected.SMALL_TALK | dict.fromkeys(("en", "sv"), strangers["en"]),
        ),
    ):
        yield f"{title:40}" + "".join(f"{name:>8}" for name in (*pairs, "all", "junk"))
        yield Memories.of(pairs, junk, None).line("words only")
        memories = Memories.of(pairs, junk, local)
        yield memories.line("with the local embedder")
        for change in FLOOR_CHANGES:
            with changed(meaning, **{name: getattr(meaning, name) + change for name in FLOORS}):
                yield memories.line(f"floors {change:+.2f}")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=6, help="conversations of each kind (default: 6)")
    parser.add_argument("--misses", action="store_true", help="name the questions that are not answered")
    parser.add_argument("--meaning", action="store_true", help="only measure what the local embedder adds")
    options = parser.parse_args()
    if options.meaning:
        for line in meaning_tables():
            print(line, flush=True)
        return
    kinds = {kind.__name__: [kind(seed) for seed in range(options.seeds)] for kind in (people, assistant)}
    for name, conversations in kinds.items():
        questions = sum(len(conversation.questions) for conversation in conversations)
        rows = sum(len(session) for conversation in conversations for session in conversation.sessions)
        print(f"{name}: {len(conversations)} conversations, {rows} rows, {questions} questions")
    print(f"\n{'evidence recall@10':52}" + "".join(f"{name:>12}" for name in kinds))
    for label, (module, values) in VARIANTS.items():
        with changed(module, **values):
            figures = [recall(conversations) for conversations in kinds.values()]
        print(f"{label:52}" + "".join(f"{figure:12.1%}" for figure in figures), flush=True)
    for label, (module, values) in RECALL_VARIANTS.items():
        with changed(module, **values):
            figures = [recall(conversations, method="mem_recall") for conversations in kinds.values()]
        print(f"{label:52}" + "".join(f"{figure:12.1%}" for figure in figures), flush=True)
    if options.misses:
        for conversations in kinds.values():
            recall(conversations, lambda question: print("missed:", question, file=sys.stdout))


if __name__ == "__main__":
    main()
