"""Redact what a reply repeats of the private text of a message, and tell model names that quote a message.

Only letters and digits are compared: case, accents, width, spaces and punctuation make no difference, and letters of
another script that look the same are the same. These are leaks:

- the whole private text, anywhere;
- a code in it (letters and digits), anywhere: `ab12 cd34` or `AB-12CD34` for `AB12-CD34`;
- a number in it, or six consecutive digits of one, anywhere; the last four digits of a long number, and a number of
  four or five digits, unless another digit precedes or follows: `1234` in `12 34` and `PIN1234`, but not in `51234`;
- an identifying word in it, also inflected, truncated, or with separators inside;
- a name in it, even of common words: two or more words in title case, there or in the reply: `Will May`, `WillMay`;
- of a Chinese, Japanese or Korean name also the given name, of two letters, and the surname with a title.

A reply that paraphrases private text, spells it out or reorders it is not redacted.
"""

from __future__ import annotations

import heapq
import re
from typing import TYPE_CHECKING

from ilab_chat_service.privacy.codes import MIN_EMBEDDED_CODE, Numbers, codes_of, number_leaks
from ilab_chat_service.privacy.east_asian_names import EastAsianNames
from ilab_chat_service.privacy.patterns import verbatim_leaks
from ilab_chat_service.privacy.text import FUNCTION_WORDS, MIN_MATCH, NOT_ALPHANUMERIC, Skeleton, skeleton, words_of
from ilab_chat_service.privacy.words import Phrases, Vocabulary, word_leaks
from ilab_memory.redaction import REDACTED, private_spans, strip_private

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ilab_chat_service.privacy.text import Span

#: Tags inside a private block, and their lookalikes.
TAG = re.compile(
    "</?private(?:\\s[^<>]*)?/?>|(?:[<\uff1c\ufe64]|&(?:amp;)*+lt;?)/?private/?(?:[>\uff1e\ufe65]|&(?:amp;)*+gt;?)",
    re.IGNORECASE,
)
ATTRIBUTES = re.compile(r"<private\s([^<>]*)>", re.IGNORECASE)

#: A name that shares this many consecutive letters and digits with a message quotes it. Fewer may be the name of a
#: model that the message asks about.
MIN_QUOTED = 12

NAME_WORD = re.compile("[a-z0-9]+")
LETTERS_OR_DIGITS = re.compile("[a-z]+|[0-9]+")


def redact_leaks(reply: str, message: str, unstored: Iterable[str] = ()) -> str:
    """Redact the private text of *message* and *unstored* texts wherever *reply* repeats it.

    Public text of *message* is not redacted. Public text of *unstored* texts is, where it is private elsewhere: nothing
    else of them is stored.
    """
    private = private_texts(message).union(*map(private_texts, unstored))
    if not private:
        return reply
    public = strip_private(message)
    identifying = {word for text in private for word in words_of(text)} - {*words_of(public)} - FUNCTION_WORDS
    codes = {code for text in private for code in codes_of(text)} - {*codes_of(public)}
    verbatim = {letters for text in private if (letters := skeleton(text))}
    verbatim.update(code for code in codes if len(code) >= MIN_EMBEDDED_CODE)
    phrases = Phrases.of(private, public, identifying)
    phrases.anywhere.update(code for code in codes if len(code) < MIN_EMBEDDED_CODE)
    names = EastAsianNames.of(private)
    searched = Skeleton.of(reply)
    leaks = heapq.merge(
        verbatim_leaks(searched, verbatim),
        number_leaks(searched, Numbers.of(private) - Numbers.of([public])),
        phrases.leaks(reply),
        word_leaks(reply, Vocabulary.of(identifying)),
        names.given_leaks(reply, public),
        names.titled_leaks(reply, public),
    )
    return redact(reply, leaks)


def redact(text: str, spans: Iterable[Span]) -> str:
    """Replace *spans* of *text*, which are sorted and may overlap. Adjacent ones get one replacement."""
    pieces = []
    position = 0
    last_end = -1
    for start, end in spans:
        if start > last_end:
            pieces += [text[position:start], REDACTED]
        position = last_end = max(end, last_end)
    return "".join([*pieces, text[position:]])


def private_texts(message: str) -> set[str]:
    """Return the private texts of *message*, without nested tags. Attributes of tags are private too."""
    return {*(TAG.sub(" ", span) for span in private_spans(message)), *ATTRIBUTES.findall(message)}


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
