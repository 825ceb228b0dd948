"""All that a store keeps of one user, as it is: what a copy takes from one store into another."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ilab_memory.core.models import Observation, Session


@dataclass(frozen=True, slots=True)
class UserRows:
    """What a store keeps of a user at one moment."""

    user_id: str
    last_number: int
    """The largest number of the user's observations so far, see `Store`."""
    largest_id: int
    """The largest id of the user's observations, 0 if there are none."""
    sessions: Sequence[Session]
    """In the order in which they were opened."""
    observations: Iterator[tuple[int, Observation]]
    """Each with its number, by (created_at, id). Read as they are asked for, once."""
