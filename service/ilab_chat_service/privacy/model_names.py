"""Model names from a model's API that quote the message."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ilab_chat_service.privacy.leak_redaction import private_texts
from ilab_chat_service.privacy.text import FUNCTION_WORDS, MIN_MATCH, NOT_ALPHANUMERIC

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

#: A name that shares this many consecutive letters and digits with a message quotes it. Fewer may be the name of a
#: model that the message asks about.
MIN_QUOTED = 12

NAME_WORD = re.compile("[a-z0-9]+")
LETTERS_OR_DIGITS = re.compile("[a-z]+|[0-9]+")


def quotes_of(message: str, unstored: Iterable[str] = ()) -> Callable[[str, str], bool]:
    """Return a function that tells whether a name quotes a call. Both take long if the texts are large.

    The function takes a model name and a known name. It returns whether the model name repeats a private word or number
    of *message* or *unstored* texts, or a long part of *message*. Text of the known name, which is not
    secret, does not count. Only ASCII letters and digits are compared.
    """
    asked = alphanumeric(message)
    private = " ".join(private_texts(message).union(*map(private_texts, unstored))).lower()
    identifying = frozenset(NAME_WORD.findall(private)) - FUNCTION_WORDS
    private_letters = alphanumeric(private)

    def is_quoted(name: str, known: str) -> bool:
        said, allowed = alphanumeric(name), alphanumeric(known)
        if said == asked:
            return True
        parts = {*NAME_WORD.findall(name.lower()), *LETTERS_OR_DIGITS.findall(said)}
        return any(
            part not in allowed and (part in identifying or (len(part) >= MIN_MATCH and part in private_letters))
            for part in parts
        ) or any(
            part in asked and part not in allowed
            for part in (said[at : at + MIN_QUOTED] for at in range(len(said) - MIN_QUOTED + 1))
        )

    return is_quoted


def alphanumeric(text: str) -> str:
    """Return the ASCII letters and digits of *text* in lower case."""
    return NOT_ALPHANUMERIC.sub("", text.lower())
