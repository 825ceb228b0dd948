"""Messages of a faults run, and the model that answers: every reply is a function of its message.

So a mix-up of users, a lost word or an answer to another message would be seen wherever it turned up.
"""

from __future__ import annotations

import enum
import hashlib
import json
import random
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import TypeAlias

from upstream import Reply, Request

PIECES = 6

#: How the model treats one message: the randomness belongs to the message and the attempt.
Mood: TypeAlias = Callable[[list[str], random.Random], Reply]


def message_of(user: str, number: int) -> str:
    """What *user*, named `user-N`, says as the message with this number. Every third message states a fact."""
    message = f"{user} says number {number}" + " and more" * (number % 7)
    return message if number % 3 else f"I live in {user} town {number}. {message}"


def statement_in(message: str) -> str:
    """Return the fact that *message* states, which replaces the one before. Empty: it states none."""
    statement, stop, _ = message.partition(". ")
    return f"{statement}." if stop else ""


def reply_to(message: str) -> str:
    """The one reply to *message*."""
    return f"{hashlib.sha256(message.encode()).hexdigest()} answers: {message}"


class Moment(enum.Enum):
    """Events that are frequent enough to time a fault by. The value: the maximum number between two faults."""

    PIECE = 150
    """The model sends a piece of a reply."""
    ACKNOWLEDGED = 25
    """A caller has an answer."""


class Moments:
    """Counts what happens and acts when a planned count is reached: a random moment that needs no clock."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._awaited = Moment.PIECE
        self._left = 0
        self._act: Callable[[], None] | None = None

    def plan(self, rng: random.Random, act: Callable[[], None]) -> None:
        """Call *act* once, in the thread of some moment to come."""
        with self._lock:
            self._awaited = rng.choice(list(Moment))
            self._left = rng.randint(1, self._awaited.value)
            self._act = act

    def note(self, moment: Moment) -> None:
        """Count a moment."""
        with self._lock:
            self._left -= moment is self._awaited
            act = None
            if self._left == 0:
                act, self._act = self._act, None
        if act:
            act()


class Model:
    """How the fake upstream answers in a faults run. Each piece that it sends is a moment."""

    def __init__(self, moments: Moments, seed: int) -> None:
        self.mood: Mood = well
        self.mixed: list[set[str]] = []
        """The users of each prompt that had more than one in it."""
        self._moments = moments
        self._seed = seed
        self._attempts: Counter[str] = Counter()

    def __call__(self, request: Request) -> Reply:
        # Up to the space: an interrupted reply may end within a name, and user-10 is not user-1.
        users = set(re.findall(r"user-\d+(?= says| town)", json.dumps(request.messages)))
        if len(users) > 1:
            self.mixed.append(users)
        message = request.said[-1]
        self._attempts[message] += 1
        reply = self.mood(pieces_of(message), random.Random(f"{self._seed} {message} {self._attempts[message]}"))
        return reply if reply.body is not None or reply.events is not None else self._counted(reply)

    def _counted(self, reply: Reply) -> Reply:
        def pieces() -> Iterator[str]:
            for piece in reply.pieces:
                self._moments.note(Moment.PIECE)
                yield piece

        return Reply(pieces=pieces(), hold_before=reply.hold_before, cut_before=reply.cut_before)


def pieces_of(message: str) -> list[str]:
    """The reply to *message* in the pieces that the model sends."""
    reply = reply_to(message)
    size = -(-len(reply) // PIECES)
    return [reply[start : start + size] for start in range(0, len(reply), size)]


def well(pieces: list[str], rng: random.Random) -> Reply:
    """Answer."""
    return Reply(pieces=pieces)


def cutting(pieces: list[str], rng: random.Random) -> Reply:
    """Cut every second answer somewhere, before its first piece too."""
    return Reply(pieces=pieces, cut_before=rng.randrange(2 * PIECES))


def stalling(pieces: list[str], rng: random.Random) -> Reply:
    """Fall silent in every third answer."""
    return Reply(pieces=pieces, hold_before=rng.randrange(3 * PIECES))


def raving(pieces: list[str], rng: random.Random) -> Reply:
    """Replace every second answer by garbage."""
    return rng.choice([Reply(pieces=pieces)] * len(GARBAGE) + GARBAGE)


def moody(pieces: list[str], rng: random.Random) -> Reply:
    """Cut, stall and rave."""
    return rng.choice([cutting, stalling, raving])(pieces, rng)


GARBAGE = [
    Reply(body=b""),
    Reply(body=b"\xff\xfe garbage, not JSON"),
    Reply(body=b'{"choices": 7}'),
    Reply(status=500, body=b"<html>Internal Server Error</html>"),
    Reply(status=502, body=b"\0" * 100_000),
    Reply(status=429, headers={"retry-after": "nonsense"}, body=b"[]"),
    Reply(status=400, body=b'{"error": []}'),
    Reply(events=["{", "no JSON at all"]),
    Reply(events=["[" * 5_000]),
    Reply(events=['{"choices": null}', "7", '"text"', "null"]),
    Reply(events=['{"choices": [{"index": 0, "delta": {"content": 7}}]}']),
    Reply(events=['{"choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": {}}]}']),
    Reply(events=['{"error": {"message": "out of memory"}}']),
]
