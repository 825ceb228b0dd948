"""What the full-text index holds in the place of words.

A word is stored as `<user>_<hash>`, hashed with a secret of the user that lies in the user's row:

- No query can reach a row of another user, and a user's words lie together in the index, so that its size does not
  matter to a query.
- Once the user's row is gone, what is left in pages of the index that SQLite has not rewritten yet says nothing.
  Without that, forgetting would have to merge the whole index (FTS5's 'optimize') before it could return.
"""

import hashlib
from collections.abc import Iterable

from ilab_memory.recall.analysis import INDEXED_CHARACTERS, fields

#: Bytes of a hash. At 5, one of 50,000 different words of a user meets another one's hash with a chance of 1 in 800.
_HASH_BYTES = 5
#: Length of a user's secret, in bytes.
SECRET_BYTES = 16


def tokens(user: int, secret: bytes, terms: Iterable[str]) -> list[str]:
    """Return what stands for each of *terms* of this user in the index."""
    # A copy of one that has its key costs less than another with the same key.
    keyed = hashlib.blake2b(digest_size=_HASH_BYTES, key=secret)
    found = []
    for term in terms:
        digest = keyed.copy()
        digest.update(term.encode())
        found.append(f"{user}_{digest.hexdigest()}")
    return found


class Indexed:
    """An observation as the index takes it. Made by the caller's thread, so that the writer has little to do."""

    __slots__ = ("_fields", "lengths")

    def __init__(self, title: str, content: str, *, most_characters: int = INDEXED_CHARACTERS) -> None:
        self._fields = fields(title, content, most=most_characters)
        self.lengths = {f"{field}_terms": len(terms) for field, terms in self._fields._asdict().items()}

    def tokens(self, user: int, secret: bytes) -> list[str]:
        """Return the text of each column of the index."""
        return [" ".join(tokens(user, secret, terms)) if terms else "" for terms in self._fields]
