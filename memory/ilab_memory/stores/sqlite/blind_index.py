"""The blind index: the full-text index contains keyed hashes of words instead of words.

A word is stored as `<user>_<hash>`, hashed with the user's index key, which is in the user's row:

- No query can reach a row of another user, and a user's words are neighbours in the index, so that its size does not
  matter to a query.
- Once the user's row is gone, index pages that SQLite has not rewritten yet reveal nothing. Without that, forgetting
  would have to merge the whole index (FTS5's 'optimize') before it could return. Deleting one observation has to,
  because the user's key stays: see `user_erasure.merge_index`.
"""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Iterable
from typing import NamedTuple

from ilab_memory.recall.analysis import fields

#: Bytes of a hash. At 5, one of 50,000 different words of a user meets another one's hash with a chance of 1 in 800.
_HASH_BYTES = 5
#: Entries of the cache of users, those of the last searches. About 300 bytes each.
MAX_USERS = 10_000


def tokens(user: int, index_key: bytes, terms: Iterable[str]) -> list[str]:
    """Return the token of each of *terms* of this user in the index."""
    # A copy of one that has its key costs less than another with the same key.
    keyed = hashlib.blake2b(digest_size=_HASH_BYTES, key=index_key)
    found = []
    for term in terms:
        digest = keyed.copy()
        digest.update(term.encode())
        found.append(f"{user}_{digest.hexdigest()}")
    return found


class IndexEntry:
    """An observation as the index takes it. Made in the caller's thread, to keep work off the writer."""

    __slots__ = ("_fields", "_made", "lengths")

    def __init__(self, title: str, content: str) -> None:
        self._fields = fields(title, content)
        self._made: tuple[int, bytes, list[str]] | None = None
        self.lengths = {f"{field}_terms": len(terms) for field, terms in self._fields._asdict().items()}

    def tokens(self, user: int, index_key: bytes) -> list[str]:
        """Return the text of each column of the index. The last result is cached."""
        if self._made is None or self._made[:2] != (user, index_key):
            self._made = (user, index_key, self._tokens(user, index_key))
        return self._made[2]

    def _tokens(self, user: int, index_key: bytes) -> list[str]:
        return [" ".join(tokens(user, index_key, terms)) if terms else "" for terms in self._fields]


class UserKey(NamedTuple):
    """The keys that separate a user's rows and tokens from those of others."""

    key: int
    index_key: bytes


class KeyCache:
    """An LRU cache for any thread of this process.

    An entry may be stale: another process may have forgotten the user or replaced the file. So statements also ask for
    the index key; no two users ever have the same one.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users: OrderedDict[str, UserKey] = OrderedDict()

    def get(self, user_id: str) -> UserKey | None:
        """Return the cached entry, or None."""
        with self._lock:
            user = self._users.get(user_id)
            if user is not None:
                self._users.move_to_end(user_id)
            return user

    def put(self, user_id: str, user: UserKey) -> None:
        """Cache *user*, replacing the entry of this id."""
        with self._lock:
            self._users[user_id] = user
            self._users.move_to_end(user_id)
            if len(self._users) > MAX_USERS:
                self._users.popitem(last=False)

    def drop(self, user_id: str) -> None:
        """Remove the entry of this id."""
        with self._lock:
            self._users.pop(user_id, None)
