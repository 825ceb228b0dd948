"""Model names from a model's API that quote the message."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ilab_chat_service.privacy.private_text import private_texts
from ilab_chat_service.privacy.text import FUNCTION_WORDS, MIN_MATCH, NOT_ALPHANUMERIC

if TYPE_CHECKING:
    from collections.abc import Iterable

#: A name that shares this many consecutive letters and digits with a message quotes it. Fewer may be the name of a
#: model that the message asks about.
MIN_QUOTED = 12

NAME_WORD = re.compile("[a-z0-9]+")
LETTERS_OR_DIGITS = re.compile("[a-z]+|[0-9]+")


def is_quoted(name: str, message: str, known: str, unstored: Iterable[str] = ()) -> bool:
    """Return whether the model name *name* repeats a private word or number, or a long part of *message*.

    Private words and numbers are those of *message* and *unstored* texts. What *name* shares with *known*, a name that
    is not secret, does not count. Compares ASCII letters and digits only, and is fast enough for the event loop.
    """
    said, asked, allowed = alphanumeric(name), alphanumeric(message), alphanumeric(known)
    if said == asked:
        return True
    parts = {*NAME_WORD.findall(name.lower()), *LETTERS_OR_DIGITS.findall(said)}
    private = " ".join(private_texts(message).union(*map(private_texts, unstored))).lower()
    identifying = {*NAME_WORD.findall(private)} - FUNCTION_WORDS if private else frozenset()
    private_letters = alphanumeric(private)
    return any(
        part not in allowed and (part in identifying or (len(part) >= MIN_MATCH and part in private_letters))
        for part in parts
    ) or any(
        part in asked and part not in allowed
        for part in (said[at : at + MIN_QUOTED] for at in range(len(said) - MIN_QUOTED + 1))
    )


def alphanumeric(text: str) -> str:
    """Return the ASCII letters and digits of *text* in lower case."""
    return NOT_ALPHANUMERIC.sub("", text.lower())
