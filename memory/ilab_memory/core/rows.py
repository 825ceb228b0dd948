"""All rows of one user, for a copy from one store to another."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ilab_memory.core.models import Observation, Session


@dataclass(frozen=True, slots=True)
class UserRows:
    """All rows of a user, as of one snapshot."""

    user_id: str
    last_number: int
    """The user's largest sequence number so far, see `Store`."""
    largest_id: int
    """The largest id of the user's observations; 0 without observations."""
    sessions: Sequence[Session]
    """The sessions, in the order of their start."""
    observations: Iterator[tuple[int, Observation]]
    """The observations with their sequence numbers, by (created_at, id). Read lazily, only once."""
