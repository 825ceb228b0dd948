"""The blind index: the full-text index contains keyed hashes of words instead of words, with their positions.

A word is a lexeme of ten characters: three for the user, so that the words of a user are neighbours in the index, and
seven of a hash, both made with the user's index key, which is in the user's row. So words of one user never lead to
rows of another, and once the user's row is gone, what the files still contain of the index reveals nothing. STATISTICS
and POSTINGS make lexemes by the same rule in SQL.

A tsvector's positions are numbers below 16,384, at most 256 per lexeme. They cannot store every place in a long text,
but all that a `Posting` promises: each field has a range of its own. The first places in it are exact; the later ones
are only counted, with one position for each bit of the count. The label B is on the places in the title and in what the
user said, so that a query can ask for these, or for the others, alone.
"""

import hashlib
import re
from base64 import b64encode
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from ilab_memory.core.store import EXACT_POSITIONS, Posting
from ilab_memory.recall.analysis import Fields, fields

#: Distinct terms of an observation that are indexed, the first ones: a tsvector has 1 MiB at most.
MAX_DISTINCT = 50_000

#: Endings of a lexeme in a query: in the title or in what the user said; in a reply.
SAID, REPLIED = ":B", ":D"

#: Characters of a lexeme that tell the user, and that are the hash. At 42 bits, one of 50,000 different words of a user
#: meets another one's hash with a chance of 1 in 3,500.
PREFIX, HASH = 3, 7
# First position of each field: below it lie those of the fields before.
_RANGE = 256
_FIRST = {field: 1 + number * _RANGE for number, field in enumerate(Fields._fields)}
_FIELD = dict(enumerate(Fields._fields))
_LEXEME = re.compile(r"'([^']+)':([0-9AB,]+)")


def token(index_key: bytes, term: str) -> str:
    """Return the lexeme of *term* for the user with this index key."""
    digest = b64encode(hashlib.sha256(index_key + term.encode()).digest())
    return (b64encode(index_key)[:PREFIX] + digest[:HASH]).decode()


class IndexEntry:
    """An observation as the index takes it."""

    __slots__ = ("_made", "_positions", "lengths")

    def __init__(self, title: str, content: str) -> None:
        split = fields(title, content)
        self.lengths = {f"{field}_terms": len(terms) for field, terms in split._asdict().items()}
        self._positions = _positions(split)
        self._made: tuple[bytes, str] | None = None

    def vector(self, index_key: bytes) -> str:
        """Return the text of the tsvector. The last result is cached."""
        if self._made is None or self._made[0] != index_key:
            self._made = (index_key, self._vector(index_key))
        return self._made[1]

    def _vector(self, index_key: bytes) -> str:
        return " ".join(
            f"'{token(index_key, term)}':{','.join(map(_labelled, positions))}"
            for term, positions in self._positions.items()
        )


def places(number: int, vector: str, tokens: Mapping[str, str]) -> Iterator[tuple[str, Posting]]:
    """Yield each term of *tokens* with each of its places, as the text of a tsvector has them."""
    for lexeme, positions in _LEXEME.findall(vector):
        term = tokens[lexeme]
        for position in positions.split(","):
            field, place = divmod(int(position.rstrip("AB")) - 1, _RANGE)
            if place < EXACT_POSITIONS:
                yield term, (number, _FIELD[field], place)
            else:
                for _ in range(1 << (place - EXACT_POSITIONS)):
                    yield term, (number, _FIELD[field], EXACT_POSITIONS)


def _labelled(position: int) -> str:
    return f"{position}B" if position < _FIRST["reply"] else str(position)


def _positions(split: Fields) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for field, terms in split._asdict().items():
        first = _FIRST[field]
        for place, term in enumerate(terms[:EXACT_POSITIONS]):
            found.setdefault(term, []).append(first + place)
        for term, times in Counter(terms[EXACT_POSITIONS:]).items():
            if term in found or len(found) < MAX_DISTINCT:
                found.setdefault(term, []).extend(first + EXACT_POSITIONS + bit for bit in _bits(times))
    return found


def _bits(number: int) -> Iterable[int]:
    return (bit for bit in range(number.bit_length()) if number >> bit & 1)
