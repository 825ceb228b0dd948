"""The values of the package: what is read in a message."""

from __future__ import annotations

from dataclasses import dataclass

#: Maximum number of characters of a fact or of a statement of the pool.
TEXT_CHARACTERS = 300


@dataclass(frozen=True, slots=True)
class Fact:
    """Something that the user says about themselves or wants from now on."""

    type: str
    """`profile`, `preference` or `decision`."""
    topic_key: str
    """The topic, such as `home` or `allergy/peanuts`. A newer fact with the same key replaces it."""
    text: str
    """The user's own words: one sentence or clause, at most 300 characters."""
    standing: bool
    """Whether it tells how to answer from now on."""


@dataclass(frozen=True, slots=True)
class TakenBack:
    """A sentence that takes back an instruction, if there is one that it fits: "You can use emojis again"."""

    text: str
    topic: str
    """The topic key of such instructions. Empty: only its words tell."""


@dataclass(frozen=True, slots=True)
class Reading:
    """The explicit statements of a message."""

    facts: tuple[Fact, ...] = ()
    pool: tuple[str, ...] = ()
    """Other statements in the first person, each 8 to 300 characters."""
    taken_back: tuple[TakenBack, ...] = ()
    """Sentences that take back an instruction."""
    opt_out: bool = False
    """The user does not want this message to be stored."""
    forget_last: bool = False
    """The message asks to forget the one before, and says little else."""
    forget_about: str = ""
    """The subject, if the message only asks to forget what the user said about it; else empty."""
    forget_all: bool = False
    """Whether that is everything about the subject, and not the last thing that the user said about it."""
    forget_topics: tuple[str, ...] = ()
    """Topic keys of facts that the message only asks to forget, and of what led to them."""

    @property
    def forgets(self) -> bool:
        """Whether the message only asks to forget something."""
        return bool(self.forget_last or self.forget_about or self.forget_topics)
