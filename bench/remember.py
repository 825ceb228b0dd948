"""Measure whether the prompt that reaches the model contains what everyday questions need.

    PYTHONPATH=tests python bench/remember.py                        every life of bench/lives
    PYTHONPATH=tests python bench/remember.py --life nurse --misses  one life, and what was not answered
    PYTHONPATH=tests python bench/remember.py --consolidation        with facts and summaries by a scripted model

Each life (bench/life.py) is lived turn by turn through Chat on a real server with a clock that the bench sets, a
SQLite file and a scripted model API. At the end, PreviewPrompt shows the prompt for each question. A question is
answered if its prompt contains one of the accepted texts, besides the question itself, and nothing that must not be
there. Greetings and questions about the world must bring no search hits.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import sqlite3
import statistics
import sys
import tempfile
import time
from collections import Counter, defaultdict
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from itertools import pairwise, takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc.aio

import life as lives
import upstream as fake
from ilab_chat.v1 import chat_pb2, chat_pb2_grpc
from ilab_chat_service import message_statements
from ilab_chat_service.consolidation.prompt import INSTRUCTION
from ilab_chat_service.server import serving
from ilab_chat_service.settings import Settings
from ilab_memory import ILabMemory

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
    from datetime import datetime

    from life import Exchange, Life, Question

#: The prompt of every fifth turn is previewed, for its tokens by section.
PREVIEW_EVERY = 5
#: Longest summary and most facts of a scripted consolidation, and the time for the last ones.
SUMMARY_CHARACTERS = 600
OPERATIONS = 32
SETTLE_SECONDS = 120.0
#: Break after which the last turns are consolidated, and one that no life has.
IDLE_MINUTES, NEVER_IDLE_MINUTES = 10, 1e6
#: Users with observations that are not embedded.
UNEMBEDDED = """
    SELECT count(*) FROM users u LEFT JOIN embedded e ON e.user = u.key WHERE coalesce(e.cursor, 0) < u.last_number
"""
#: Characters around an answer in which the date of what was said must be.
NEAR = 400
#: Marks of a line that says that a value holds no longer.
OUTDATED = re.compile(
    r"\b(?:earlier|former(?:ly)?|previous(?:ly)?|no longer|outdated|replaced|superseded|früher|antes)\b"
    "|以前|過去",
    re.IGNORECASE,
)
#: Begins the assistant's words in a recalled turn.
ASSISTANT = re.compile(r"\bassistant\b", re.IGNORECASE)

Message = chat_pb2.PromptMessage


@dataclass(slots=True)
class Clock:
    """The time of the server. The bench sets it."""

    moment: datetime

    def __call__(self) -> datetime:
        """Return the time."""
        return self.moment


@dataclass(slots=True)
class Figures:
    """The result of one life."""

    life: str
    turns: int
    asked: Counter[str] = field(default_factory=Counter)
    answered: Counter[str] = field(default_factory=Counter)
    misses: list[dict[str, str]] = field(default_factory=list)
    junk_asked: int = 0
    junk: list[str] = field(default_factory=list)
    """Greetings and questions about the world that brought search hits."""
    tokens: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    """Of each previewed prompt, by section."""
    shared: list[float] = field(default_factory=list)
    """Of each prompt, the share of its characters that equal the beginning of the one before."""
    consolidations: int = 0
    seconds: float = 0.0

    def add_tokens(self, preview: chat_pb2.PreviewPromptResponse) -> None:
        """Add the tokens of a prompt."""
        for section in preview.tokens.DESCRIPTOR.fields_by_name:
            if section != "budget":
                self.tokens[section].append(getattr(preview.tokens, section))

    def as_json(self) -> dict[str, Any]:
        """Return the figures for programs."""
        return {
            "life": self.life,
            "turns": self.turns,
            "asked": dict(self.asked),
            "answered": dict(self.answered),
            "misses": self.misses,
            "junk_asked": self.junk_asked,
            "junk": self.junk,
            "tokens": {
                section: {"mean": round(statistics.mean(values)), "max": max(values)}
                for section, values in self.tokens.items()
            },
            "shared_prefix": round(statistics.mean(self.shared), 3),
            "consolidations": self.consolidations,
            "seconds": round(self.seconds, 1),
        }


@dataclass(slots=True)
class Model:
    """Answers the turn that is running with its reply, and a consolidation by `consolidated`."""

    running: Exchange | None = None
    prompts: list[str] = field(default_factory=list)
    consolidations: int = 0

    def __call__(self, request: fake.Request) -> fake.Reply:
        """Answer a request, and note the prompt of a turn."""
        said = request.messages[-1]["content"]
        if request.system == INSTRUCTION:
            self.consolidations += 1
            return fake.Reply(pieces=(json.dumps(consolidated(json.loads(said)["sessions"])),))
        if not (self.running and said.endswith(self.running.message)):
            return fake.Reply(pieces=("{}",))
        self.prompts.append("\n".join(f"{each['role']}: {each['content']}" for each in request.messages))
        return fake.Reply(pieces=(self.running.reply,))


def consolidated(sessions: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what a model makes of new turns that knows no more than the tables of statements.

    Each statement of the user is a fact of its own, and the summary of a session is the last of what was said in it.
    """
    facts = {}
    for session in sessions:
        for turn in session["turns"]:
            reading = message_statements.read(turn["user"])
            for topic, text in [
                *((fact.topic_key, fact.text) for fact in reading.facts),
                *((f"said/{text[:60]}", text) for text in reading.pool),
            ]:
                facts[topic] = {
                    "type": "profile",
                    "topic_key": topic,
                    "content": text,
                    "evidence": text,
                    "expire_date": None,
                }
    summaries = [
        {
            "session": session["session"],
            "summary": " ".join([session["summary"], *(turn["user"][:80] for turn in session["turns"])])[
                -SUMMARY_CHARACTERS:
            ].strip(),
        }
        for session in sessions
    ]
    return {"set": list(facts.values())[:OPERATIONS], "retire": [], "summaries": summaries}


async def settled(path: Path) -> None:
    """Wait until all turns in the memory at *path* are consolidated."""

    def pending() -> int:
        with ILabMemory.from_path(path) as memory:
            return memory.mem_work_stats().pending

    async with asyncio.timeout(SETTLE_SECONDS):
        while await asyncio.to_thread(pending):  # noqa: ASYNC110 - the state of a database
            await asyncio.sleep(0.1)


@asynccontextmanager
async def server(
    clock: Clock, model: Model, path: Path, *, consolidation: bool, embedder: str, idle_minutes: float = IDLE_MINUTES
) -> AsyncIterator[tuple[chat_pb2_grpc.ChatServiceAsyncStub, Callable[[], Awaitable[None]]]]:
    """Serve the memory at *path*; yield the stub and what waits until all that was saved is embedded."""
    async with AsyncExitStack() as stack:
        api = stack.enter_context(fake.running(model))
        settings = Settings(
            address="127.0.0.1:0",
            memory_db_path=str(path),
            consolidation="on" if consolidation else "off",
            consolidation_daily_tokens=0,
            consolidation_idle_minutes=idle_minutes,
            durability="normal",
            openai_base_url=api.base_url,
            openai_model="test-model",
            propagation_seconds=0,
            drain_seconds=5,
            embedder=embedder,
        )
        address = await stack.enter_async_context(serving(settings, clock=clock))
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(address))

        async def embedded() -> None:
            if embedder != "none":
                await asyncio.to_thread(wait_until_embedded, settings.memory_db_path)

        yield chat_pb2_grpc.ChatServiceStub(channel), embedded


def wait_until_embedded(path: str) -> None:
    """Return when all observations in the file are embedded."""
    with closing(sqlite3.connect(path)) as connection:
        while connection.execute(UNEMBEDDED).fetchone() != (0,):
            time.sleep(0.05)


async def live(life: Life, *, consolidation: bool, embedder: str = "none") -> Figures:
    """Live *life*, ask its questions, and return the figures; turns are consolidated if *consolidation*."""
    figures = Figures(life.name, len(life.exchanges))
    began = time.monotonic()
    clock, model = Clock(life.start), Model()
    with tempfile.TemporaryDirectory() as folder:
        await ask_after_living(
            life, figures, clock, model, Path(folder) / "memory.db", consolidation=consolidation, embedder=embedder
        )
    assert len(model.prompts) == len(life.exchanges), "the model was not asked once for each turn"
    figures.shared += shares(model.prompts)
    figures.consolidations = model.consolidations
    figures.seconds = time.monotonic() - began
    return figures


async def ask_after_living(
    life: Life, figures: Figures, clock: Clock, model: Model, path: Path, *, consolidation: bool, embedder: str
) -> None:
    """Live *life* on a memory at *path*, ask its questions, and add what comes out to *figures*."""

    async def preview(message: str) -> chat_pb2.PreviewPromptResponse:
        answer = await stub.PreviewPrompt(
            chat_pb2.PreviewPromptRequest(
                user_id=life.name,
                message=message,
                time_zone=life.time_zone,
                memory_mode=chat_pb2.MEMORY_MODE_READ_ONLY,
            )
        )
        figures.add_tokens(answer)
        return answer

    serve = partial(server, clock, model, path, consolidation=consolidation, embedder=embedder)
    # The clock jumps over the user's breaks, in which it would depend on the machine what is consolidated.
    async with serve(idle_minutes=NEVER_IDLE_MINUTES) as (stub, _):
        for number, exchange in enumerate(life.exchanges):
            clock.moment = exchange.at
            if number % PREVIEW_EVERY == 0:
                await preview(exchange.message)
            model.running = exchange
            await stub.Chat(chat_pb2.ChatRequest(user_id=life.name, message=exchange.message, time_zone=life.time_zone))
        model.running = None
    async with serve() as (stub, embedded):
        clock.moment = life.asked_at
        if consolidation:
            await settled(path)
        await embedded()
        for question in life.questions:
            shown = await preview(question.text)
            figures.asked[question.kind] += 1
            if reason := shortfall(shown.messages, question, life):
                figures.misses.append({"kind": question.kind, "question": question.text, "reason": reason})
            else:
                figures.answered[question.kind] += 1
        for message in life.junk:
            hits = [
                each.title for each in (await preview(message)).memories if each.source == chat_pb2.MEMORY_SOURCE_SEARCH
            ]
            figures.junk_asked += 1
            figures.junk += [message] if hits else []


def shares(prompts: Sequence[str]) -> Iterator[float]:
    """Yield for each prompt but the first the share of it that is the beginning of the one before."""
    for before, prompt in pairwise(prompts):
        yield common_prefix(before, prompt) / len(prompt)


def common_prefix(first: str, second: str) -> int:
    """Return how many characters at the beginning of two texts are equal."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(first, second, strict=False)))


def shortfall(messages: Sequence[Message], question: Question, life: Life) -> str:
    """Return why the prompt does not answer *question*; empty: it does."""
    context = messages[-1].content.removesuffix(question.text)
    text = "\n".join([*(each.content for each in messages[:-1]), context])
    # Turns of the conversation are ordered by time, so they need no mark.
    memory = "\n".join([*(each.content for each in messages if each.role == chat_pb2.PROMPT_ROLE_SYSTEM), context])
    if present := next((each for each in question.absent if lives.contains(text, each)), ""):
        return f"present: {present}"
    wanted = (*question.answers, *question.all)
    missing = [each for each in wanted if not is_said(text, each, question.said_on, life)]
    if question.answers and not set(question.answers) - set(missing):
        return "missing: " + " | ".join(question.answers)
    if lacking := [each for each in question.all if each in missing]:
        return "missing: " + ", ".join(lacking)
    for value in question.unmarked:
        if any(is_unmarked(line, value, wanted) for line in memory.splitlines()):
            return f"unmarked: {value}"
    return ""


def is_said(text: str, wanted: str, said_on: int | None, life: Life) -> bool:
    """Return whether *wanted* is in *text*, near the date of the day it was said on if that matters."""
    if said_on is None:
        return lives.contains(text, wanted)
    day = date.fromisoformat(life.date(said_on))
    forms = (day.isoformat(), f"{day.day} {day:%B}", f"{day:%B} {day.day}", f"{day.month}月{day.day}日")
    around = (text[max(0, at.start() - NEAR) : at.end() + NEAR] for at in lives.all_found(text, wanted))
    return any(lives.contains(piece, form) for piece in around for form in forms)


def is_unmarked(line: str, value: str, wanted: Sequence[str]) -> bool:
    """Return whether *line* says *value* as if it held now, in words that are not the assistant's."""
    at = lives.found(line, value)
    if not at or OUTDATED.search(line) or any(lives.contains(line, each) for each in wanted):
        return False
    return not ASSISTANT.search(line, 0, at.start())


def table(results: Sequence[Figures]) -> Iterator[str]:
    """Yield the lines of the report."""
    kinds = [kind for kind in lives.KINDS if any(each.asked[kind] for each in results)]
    yield f"{'answered/asked':20}" + "".join(f"{each.life:>12}" for each in results) + f"{'all':>12}"
    for kind in [*kinds, ""]:
        cells = [(count(each.answered, kind), count(each.asked, kind)) for each in results]
        cells.append((sum(got for got, _ in cells), sum(of for _, of in cells)))
        yield f"{kind or 'all':20}" + "".join(f"{f'{got}/{of}':>12}" for got, of in cells)
    yield ""
    yield f"{'tokens, mean (max)':20}" + "".join(f"{each.life:>12}" for each in results)
    for section in results[0].tokens:
        cells_of = [f"{statistics.mean(each.tokens[section]):.0f} ({max(each.tokens[section])})" for each in results]
        yield f"{section:20}" + "".join(f"{cell:>12}" for cell in cells_of)
    yield ""
    rows: Mapping[str, list[str]] = {
        "shared beginning": [f"{statistics.mean(each.shared):.1%}" for each in results],
        "junk": [f"{len(each.junk)}/{each.junk_asked}" for each in results],
        "turns": [str(each.turns) for each in results],
        "consolidations": [str(each.consolidations) for each in results],
        "seconds": [f"{each.seconds:.1f}" for each in results],
    }
    for name, row in rows.items():
        yield f"{name:20}" + "".join(f"{cell:>12}" for cell in row)


def count(counts: Counter[str], kind: str) -> int:
    """Return the count of a kind; empty: of all."""
    return counts[kind] if kind else counts.total()


async def main() -> None:
    """Print the figures of the chosen lives."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--life",
        action="append",
        metavar="NAME",
        help="life in bench/lives, or the path of a .toml file (default: all)",
    )
    parser.add_argument("--embedder", default="local", help="ILAB_MEMORY_EMBEDDER of the server (default: local)")
    parser.add_argument("--misses", action="store_true", help="list the questions without an answer, and the junk")
    parser.add_argument(
        "--consolidation", action="store_true", help="consolidate turns with a scripted model (default: off)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--check", action="store_true", help="only check that the lives are consistent")
    options = parser.parse_args()
    chosen = lives.read_all(options.life or lives.names())
    if options.check:
        return
    results = [await live(life, consolidation=options.consolidation, embedder=options.embedder) for life in chosen]
    if options.json:
        json.dump([each.as_json() for each in results], sys.stdout, indent=2, ensure_ascii=False)
        print()
        return
    print("\n".join(table(results)))
    if options.misses:
        for each in results:
            print(f"\n{each.life}")
            print("\n".join(f"  {miss['kind']}: {miss['question']}  ({miss['reason']})" for miss in each.misses))
            print("\n".join(f"  junk: {message}" for message in each.junk))


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except lives.LifeError as error:
        sys.exit(str(error))
