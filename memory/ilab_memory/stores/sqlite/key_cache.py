"""A cache of keys and index keys of users: a search derives the tokens that it looks up from them."""

import threading
from collections import OrderedDict
from typing import NamedTuple

#: Entries of the cache, those of the last searches. About 300 bytes each.
MAX_USERS = 10_000


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
