"""The prompt of a consolidation: `prompt.md`, and the user's facts and new turns as JSON."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING

import msgspec

from ilab_chat_service.escaping import neutralized
from ilab_chat_service.values import ChatMessage, JsonSchemaFormat

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: Longest text of a user, of an assistant and of a fact in the prompt, in characters: what exceeds it is cut out of the
#: middle.
USER_CHARACTERS = 8000
ASSISTANT_CHARACTERS = 1000
FACT_CHARACTERS = 300

CUT = " [...] "

INSTRUCTION = files(__package__).joinpath("prompt.md").read_text(encoding="utf-8")

#: The format of an answer.
RESPONSE_FORMAT = JsonSchemaFormat(
    name="memory", schema=files(__package__).joinpath("schema.json").read_text(encoding="utf-8"), strict=True
)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewTurn:
    """A turn to consolidate. Of the user's and the assistant's texts nothing is private, and nothing is recalled."""

    id: int
    session_id: str
    moment: str
    """When it was stored, as ISO 8601."""
    message: str
    reply: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """The input of a consolidation."""

    turns: Sequence[NewTurn]
    """Oldest first."""
    facts: Mapping[str, str]
    """Facts that may be changed, by topic."""
    fixed: Sequence[str]
    """Facts that may not: pinned ones, and those under keys of callers."""
    summaries: Mapping[str, str]
    """The summaries so far, by session id."""

    @property
    def session_ids(self) -> list[str]:
        """The sessions of the turns, in the order of their numbers in the prompt, which begin at 1."""
        return list(dict.fromkeys(turn.session_id for turn in self.turns))


def messages(material: Material) -> list[ChatMessage]:
    """Return the prompt. A text in it cannot pass for another part of it: JSON quotes it."""
    sessions = [
        {
            "session": number,
            "summary": material.summaries.get(session_id, ""),
            "turns": [
                {
                    "date": turn.moment[:10],
                    "user": clipped(turn.message, USER_CHARACTERS),
                    "assistant": clipped(turn.reply, ASSISTANT_CHARACTERS),
                }
                for turn in material.turns
                if turn.session_id == session_id
            ],
        }
        for number, session_id in enumerate(material.session_ids, 1)
    ]
    memory = {
        "facts": {topic: clipped(fact, FACT_CHARACTERS) for topic, fact in material.facts.items()},
        "fixed": [clipped(fact, FACT_CHARACTERS) for fact in material.fixed],
        "sessions": sessions,
    }
    # Neutralized after encoding: JSON changes no token of a chat template.
    text = msgspec.json.format(msgspec.json.encode(memory), indent=1).decode()
    return [ChatMessage("system", INSTRUCTION), ChatMessage("user", neutralized(text))]


def clipped(text: str, most: int) -> str:
    """Return *text* with at most *most* characters: more of its beginning than of its end."""
    if len(text) <= most:
        return text
    kept = most - len(CUT)
    head = kept * 3 // 5
    return text[:head] + CUT + text[len(text) - (kept - head) :]
