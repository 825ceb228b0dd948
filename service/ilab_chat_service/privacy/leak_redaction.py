"""Redact what a reply repeats of the private text of a message.

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

from ilab_chat_service.privacy.codes import MIN_EMBEDDED_CODE, codes_of
from ilab_chat_service.privacy.east_asian_names import EastAsianNames
from ilab_chat_service.privacy.numbers import Numbers, number_leaks
from ilab_chat_service.privacy.patterns import verbatim_leaks
from ilab_chat_service.privacy.phrases import Phrases
from ilab_chat_service.privacy.text import FUNCTION_WORDS, Skeleton, skeleton, words_of
from ilab_chat_service.privacy.words import Vocabulary, word_leaks
from ilab_memory.redaction import REDACTED, private_spans, strip_private

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ilab_chat_service.privacy.text import Span

#: Tags inside a private block, and their lookalikes.
TAG = re.compile(
    "</?private(?:\\s[^<>]*)?/?>|(?:[<\uff1c\ufe64]|&(?:amp;)*+lt;?)/?private/?(?:[>\uff1e\ufe65]|&(?:amp;)*+gt;?)",
    re.IGNORECASE,
)
ATTRIBUTES = re.compile(r"<private\s([^<>]*)>", re.IGNORECASE)


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
