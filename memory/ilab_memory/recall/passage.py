"""The part of a row that answers a message, and what its text tells about the row. Pure."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from ilab_memory.recall.analysis import FOREIGN, UNSPACED, folded, terms, word_forms
from ilab_memory.recall.message_query import asks

#: Longest passage, in characters, and of each row of a complete list.
PASSAGE_CHARACTERS, SHORT_PASSAGE_CHARACTERS = 300, 150
#: Characters of the beginning of a row that its passage and its features are found in; stores read these without the
#: rest. More are read of a result whose match is not in them, ...
HEAD_CHARACTERS = 512
#: ... up to this many.
DEEP_CHARACTERS = 65_536
#: Maximum share of a passage for the user's words if only the reply matches.
CONTEXT_CHARACTERS = 100

# Between two sentences.
_BOUNDARY = re.compile("[.!?\u2026]\\s+|[\u3002\uff01\uff1f]|\n+")
_RUN = re.compile(f"[{UNSPACED}]")
_ASSISTANT = re.compile(r"\n[^\S\n]*Assistant:")
_USER = re.compile(r"\s*User:")
_END = " .!?,;:\u3002\uff01\uff1f\u2026"
#: Maximum number of windows that are compared, so that a row of tiny sentences costs no more than others.
MAX_WINDOWS = 500


class Parts(NamedTuple):
    """A content: what the user said, and the assistant's reply. `reply` is empty if the content is not a turn."""

    said: str
    reply: str


def parts(content: str) -> Parts:
    """Split *content*, which may be truncated, as `analysis.fields` does."""
    user = _USER.match(content)
    if user is None:
        return Parts(content, "")
    reply = _ASSISTANT.search(content, user.end())
    if reply is None:
        return Parts(content[user.end() :] if len(content) >= HEAD_CHARACTERS else content, "")
    return Parts(content[user.end() : reply.start()], content[reply.end() :])


def normalized(said: str) -> str:
    """Return *said* without case, spaces and the end mark, to recognize repetitions."""
    return " ".join(said.casefold().split()).strip(_END)


class Finder:
    """Finds the terms of a message in texts, without analyzing every word of them."""

    def __init__(self, shares: Mapping[str, float], forms: Mapping[str, Iterable[str]]) -> None:
        """Find the terms of *shares*, also in other *forms*, see `analysis.forms`."""
        self._shares = shares
        self._pairs = [term for term in shares if _RUN.match(term)]
        self._forms = {term: frozenset(others) for term, others in forms.items() if term in shares}
        stems = [term for term in shares if not _RUN.match(term)]
        stems += [form for others in self._forms.values() for form in others]
        words = sorted({_prefix(term.removeprefix(FOREIGN)) for term in stems}, key=len, reverse=True)
        self._words = re.compile(f"(?<![^\\W_])(?:{'|'.join(map(re.escape, words)) or '(?!)'})[^\\W_]*")
        self._known: dict[str, frozenset[str]] = {}

    def found(self, text: str) -> set[str]:
        """Return the terms in *text*."""
        plain = folded(text)
        found: set[str] = set()
        for word in self._words.findall(plain):
            found |= self._terms(word)
        if self._pairs:
            found.update(term for term in self._pairs if term in plain)
        return found

    def first(self, text: str) -> int:
        """Return the approximate position of the first term in *text*, 0 if it has none."""
        # Folding changes few lengths, and a passage has room around its first term.
        plain = folded(text)
        places = [match.start() for match in self._words.finditer(plain) if self._terms(match[0])][:1]
        places += [place for term in self._pairs if (place := plain.find(term)) >= 0]
        return min(places, default=0)

    def worth(self, found: Iterable[str]) -> float:
        """Return the share of the message that these terms have."""
        # The exact sum: that of floats depends on the order, and the order of a set on the process.
        return math.fsum(self._shares[term] for term in found)

    def _terms(self, word: str) -> frozenset[str]:
        if word not in self._known:
            others = word_forms(word)
            found = {term for term in (*terms(word), *others) if term in self._shares}
            found.update(term for term, each in self._forms.items() if not each.isdisjoint(others))
            self._known[word] = frozenset(found)
        return self._known[word]


def _prefix(term: str) -> str:
    """Return the beginning that every word with the stem *term* has: a stem may differ in its last letter."""
    return term[:-1] if len(term) > 3 and term.isalpha() else term  # noqa: PLR2004 - short stems are whole words


class Sentence(NamedTuple):
    """A sentence of a text with the terms that it contains."""

    start: int
    text: str
    found: frozenset[str]


def sentences(text: str) -> list[tuple[int, str]]:
    """Return the sentences of *text*, each with its place in it."""
    ends = [match.end() for match in _BOUNDARY.finditer(text)]
    pieces = ((start, text[start:end]) for start, end in pairwise((0, *ends, len(text))))
    return [(start, piece) for start, piece in pieces if piece.strip()]


def is_asked(said: str, finder: Finder, spoken: Iterable[str]) -> bool:
    """Return whether *said* contains a term of the message in questions and requests only.

    *spoken*: languages in which a question or a request is recognized by its beginning.
    """
    matching = [text for _, text in sentences(said) if finder.found(text)]
    return bool(matching) and all(asks(text, spoken) for text in matching)


def passage(content: Parts, finder: Finder, longest: int, *, shows_reply: bool) -> str:
    """Return the part of *content* around the terms: the user's words, and the assistant's, labelled, if it shows them.

    *shows_reply*: terms are in the reply that the user did not say.
    """
    said = window(content.said, finder, longest)
    if not (shows_reply and content.reply):
        return said
    in_said = finder.found(content.said)
    context = said if in_said else cut(content.said, min(CONTEXT_CHARACTERS, longest // 3))
    if len(context) > longest // 2:
        context = window(content.said, finder, longest // 2)
    label = " Assistant: "
    reply = window(content.reply, finder, max(longest // 3, longest - len(context) - len(label)))
    return f"{context}{label}{reply}".strip()


def window(text: str, finder: Finder, longest: int) -> str:
    """Return the sentences of *text* in which the terms are, on one line, at most about *longest* characters."""
    if len(text) <= longest:
        return _line(text)
    pieces = [Sentence(start, piece, frozenset(finder.found(piece))) for start, piece in sentences(text)]
    best = _best_window(pieces, finder, longest)
    if not best:
        return cut(text, longest)
    first, last = best[0], best[-1]
    chosen = text[first.start : last.start + len(last.text)]
    before = "... " if first.start > 0 and text[: first.start].strip() else ""
    after = " ..." if text[last.start + len(last.text) :].strip() else ""
    if len(chosen.strip()) <= longest:
        return f"{before}{_line(chosen)}{after}"
    return _around(chosen, finder, longest, before, after)


def cut(text: str, longest: int) -> str:
    """Return the beginning of *text* on one line, at most *longest* characters."""
    line = _line(text[: longest * 2])
    if len(line) <= longest:
        return line
    head, space, last = line[: longest - 3].rpartition(" ")
    return (head if space and len(last) < longest // 4 else line[: longest - 3]) + "..."


def _best_window(pieces: Sequence[Sentence], finder: Finder, longest: int) -> Sequence[Sentence]:
    """Return the successive sentences within *longest* characters whose terms have the largest share."""
    best: Sequence[Sentence] = ()
    most = 0.0
    matching = [start for start, piece in enumerate(pieces) if piece.found]
    for start in matching[:MAX_WINDOWS]:
        piece = pieces[start]
        found, length, end = set(piece.found), len(piece.text), start + 1
        while end < len(pieces) and length + len(pieces[end].text) <= longest:
            found |= pieces[end].found
            length += len(pieces[end].text)
            end += 1
        worth = finder.worth(found)
        if worth > most:
            most, best = worth, pieces[start:end]
    return best


def _around(text: str, finder: Finder, longest: int, before: str, after: str) -> str:
    """Return *longest* characters of one long sentence from a little before its first term."""
    first = finder.first(text)
    start = max(0, min(first - longest // 4, len(text) - longest))
    while 0 < start < first and not text[start - 1].isspace():
        start += 1
    piece = _line(text[start : start + longest])
    return f"{'... ' if start else before}{piece}{' ...' if start + longest < len(text) else after}"


def _line(text: str) -> str:
    return " ".join(text.split())
