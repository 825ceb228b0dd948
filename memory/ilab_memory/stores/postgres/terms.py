"""What the full-text index holds in the place of words, and how it keeps where they stand.

A word is a lexeme of ten characters: three that tell its user, for the words of a user to lie together in the index,
and seven of a hash, both made with a secret of the user that lies in the user's row. So words of one user lead to rows
of no other, and once the user's row is gone, what is left of the index in files says nothing. STATISTICS and POSTINGS
make lexemes by the same rule in SQL.

A tsvector's positions are numbers below 16,384, at most 256 a lexeme. They cannot hold the places of a long text, but
all that a `Posting` promises: each field has a range of its own, in which the first places are kept as they are, and of
the later ones how many they are, a position for each bit of that number.
"""

import hashlib
import re
from base64 import b64encode
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from ilab_memory.core.store import EXACT_POSITIONS, Posting
from ilab_memory.recall.analysis import Fields, fields

#: Length of a user's secret, in bytes.
SECRET_BYTES = 16
#: Distinct terms of an observation that are indexed, the first ones: a tsvector has 1 MiB at most.
MAX_DISTINCT = 50_000

#: Characters of a lexeme that tell the user, and that are the hash. At 42 bits, one of 50,000 different words of a user
#: meets another one's hash with a chance of 1 in 3,500.
PREFIX, HASH = 3, 7
# First position of each field: below it lie those of the fields before.
_RANGE = 256
_FIRST = {field: 1 + number * _RANGE for number, field in enumerate(Fields._fields)}
_FIELD = dict(enumerate(Fields._fields))
_LEXEME = re.compile(r"'([^']+)':([0-9A,]+)")


def token(secret: bytes, term: str) -> str:
    """Return what stands for *term* of the user with this secret in the index."""
    digest = b64encode(hashlib.sha256(secret + term.encode()).digest())
    return (b64encode(secret)[:PREFIX] + digest[:HASH]).decode()


class Indexed:
    """An observation as the index takes it."""

    __slots__ = ("_positions", "lengths")

    def __init__(self, title: str, content: str) -> None:
        split = fields(title, content)
        self.lengths = {f"{field}_terms": len(terms) for field, terms in split._asdict().items()}
        self._positions = _positions(split)

    def vector(self, secret: bytes) -> str:
        """Return the text of the tsvector."""
        return " ".join(
            f"'{token(secret, term)}':{','.join(map(str, positions))}" for term, positions in self._positions.items()
        )


def places(number: int, vector: str, tokens: Mapping[str, str]) -> Iterator[tuple[str, Posting]]:
    """Yield each term of *tokens* with each of its places, as the text of a tsvector has them."""
    for lexeme, positions in _LEXEME.findall(vector):
        term = tokens[lexeme]
        for position in positions.split(","):
            field, place = divmod(int(position.rstrip("A")) - 1, _RANGE)
            if place < EXACT_POSITIONS:
                yield term, (number, _FIELD[field], place)
            else:
                for _ in range(1 << (place - EXACT_POSITIONS)):
                    yield term, (number, _FIELD[field], EXACT_POSITIONS)


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
