"""Encode turns as observations, and decode them. Pure functions.

The shape is the published recipe's: type `discovery`, title `Turn: ` and 60 characters of the message, content
`User: <message>` and on the next line `Assistant: <reply>`. Private text of both is redacted before
anything is cut or joined: a cut could drop a closing tag; joining could let a tag of the message swallow the reply.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

from ilab_chat_service.limits import CONTENT_BYTES, TOPIC_KEY_CHARACTERS
from ilab_chat_service.values import LATEST_KEY, TURN_KEY, TurnRetention
from ilab_memory.redaction import strip_private

if TYPE_CHECKING:
    from ilab_chat_service.values import Turn
    from ilab_memory.core.models import Observation

TYPE = "discovery"
#: Prefix of the title of a turn.
TITLE = "Turn: "
#: Characters of the message in the title, as the published recipe has it.
TITLE_MESSAGE_CHARACTERS = 60

#: Suffix of the reply if the caller left before the model was done.
INTERRUPTED = " [interrupted]"

USER = "User: "
ASSISTANT = "\nAssistant: "

#: Prefix of the key of the rolling observation of a conversation, except for the default one.
CONVERSATION_KEY = f"{LATEST_KEY}turn:"

#: Hexadecimal digits of a conversation's hash in the keys of its turns.
CONVERSATION_DIGITS = 16

#: Suffix of truncated content.
TRUNCATED = " [truncated]"

#: Stands for U+0000, which ilab_memory refuses and a model may write.
REPLACEMENT = "\ufffd"

#: `ASSISTANT` in a message is escaped by one more backslash, so that the first unescaped one in the content is ours.
#: Both patterns begin with a character instead of a look-behind: the search is 20 times as fast, and holds the GIL.
LOOKALIKE = re.compile(r"\n(\\*)(?=Assistant:)")
ESCAPED = re.compile(r"\n\\(\\*)(?=Assistant:)")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredTurn:
    """The stored form of a turn."""

    title: str
    content: str
    topic_key: str


def stored_turn(turn: Turn) -> StoredTurn:
    """Return the stored form of *turn*, without the private text of the message and without tags in the reply."""
    message = strip_private(turn.message)
    reply = strip_private(turn.reply) + (INTERRUPTED if turn.interrupted else "")
    return StoredTurn(
        title=TITLE + message[:TITLE_MESSAGE_CHARACTERS],
        content=fitting(USER + LOOKALIKE.sub(r"\n\\\1", message) + ASSISTANT + reply.replace("\0", REPLACEMENT)),
        topic_key=topic_key(turn),
    )


def fitting(content: str) -> str:
    """Return *content*, truncated to the limit of the library."""
    encoded = content.encode()
    if len(encoded) <= CONTENT_BYTES:
        return content
    return encoded[: CONTENT_BYTES - len(TRUNCATED)].decode(errors="ignore") + TRUNCATED


def decoded_turn(content: str) -> tuple[str, str] | None:
    """Return message and reply of a stored turn's content. None: it has another shape.

    Omit the mark of an interrupted turn: a model that sees it in its own replies imitates it.
    """
    user, separator, reply = content.partition(ASSISTANT)
    if not (separator and user.startswith(USER)):
        return None
    return ESCAPED.sub(r"\n\1", user.removeprefix(USER)), reply.removesuffix(INTERRUPTED)


def topic_key(turn: Turn) -> str:
    """Return the topic key of *turn*. A repeat has the same key.

    The library compares keys across the conversations of a user, so the key names the conversation, except the default
    one. A hash keeps it short enough. The quoting escapes tags in a request id, which the library would redact.
    """
    if turn.retention is not TurnRetention.EVERY_TURN:
        return latest_key(turn.user_id, turn.conversation_id)
    request = quote(turn.request_id, safe="")
    if not turn.conversation_id:
        return TURN_KEY + request
    conversation = hashlib.sha256(turn.conversation_id.encode()).hexdigest()[:CONVERSATION_DIGITS]
    return f"{TURN_KEY}{conversation}/{request}"


def latest_key(user_id: str, conversation_id: str = "") -> str:
    """Return the key of the rolling observation of a conversation.

    In the key of the default conversation, a user id too long for a key, or with a tag in it, is left out, since it
    only tells what the row tells. No such key equals that of another conversation, which has a colon after "turn".
    """
    if conversation_id:
        return CONVERSATION_KEY + quote(conversation_id, safe="")
    key = f"{LATEST_KEY}{user_id}/turn"
    fits = len(key) <= TOPIC_KEY_CHARACTERS and "<" not in key and strip_private(key) == key
    return key if fits else f"{LATEST_KEY}turn"


def is_turn(row: Observation) -> bool:
    """Return whether this service stored *row* as a turn. False for an observation of a caller."""
    key = row.topic_key or ""
    return row.type == TYPE and (key.startswith((TURN_KEY, CONVERSATION_KEY)) or key == latest_key(row.user_id))
