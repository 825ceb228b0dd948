"""Keys and secrets of users, remembered: a search makes what it looks for in the index of them."""

import threading
from collections import OrderedDict
from typing import NamedTuple

#: Users that are remembered, those of the last searches. Some 300 bytes each.
MOST_USERS = 10_000


class User(NamedTuple):
    """What the index knows a user by."""

    key: int
    secret: bytes


class RecentUsers:
    """Remembers users, in the memory of this process alone, for any thread.

    What is remembered may be of the past: the user forgotten by another process, the file replaced. So whoever uses it
    asks for rows of the user who has this secret now; no two users ever have the same.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users: OrderedDict[str, User] = OrderedDict()

    def get(self, user_id: str) -> User | None:
        """Return what is remembered, None if that is nothing."""
        with self._lock:
            user = self._users.get(user_id)
            if user is not None:
                self._users.move_to_end(user_id)
            return user

    def put(self, user_id: str, user: User) -> None:
        """Remember *user*, in the place of whom this id was of."""
        with self._lock:
            self._users[user_id] = user
            self._users.move_to_end(user_id)
            if len(self._users) > MOST_USERS:
                self._users.popitem(last=False)

    def drop(self, user_id: str) -> None:
        """Remember the user of this id no longer."""
        with self._lock:
            self._users.pop(user_id, None)
