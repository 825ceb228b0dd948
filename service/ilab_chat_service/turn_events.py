"""The events of a turn, in the order in which callers get them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from ilab_chat_service.values import Answered, Recalled


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """The answer begins. Of a new answer: the model has begun to reason or to write, and is billed from here on.

    The events of a stored answer begin with it too.
    """

    session_id: str
    is_new_session: bool
    model: str
    model_response_id: str
    memories: tuple[Recalled, ...]
    included_documents: int
    forgotten_ids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Delta:
    """The next piece of the reply; never empty."""

    text: str


@dataclass(frozen=True, slots=True)
class ReasoningDelta:
    """The next piece of the model's reasoning; never empty, never stored."""

    text: str


@dataclass(frozen=True, slots=True)
class Generated:
    """The model is done, and memory is being written even if the caller leaves."""


@dataclass(frozen=True, slots=True)
class Completed:
    """The whole answer. A READ_WRITE turn is stored by now, or what it asks to forget is erased.

    `replayed`: it is the answer of an earlier call.
    """

    answered: Answered
    replayed: bool = False


Event: TypeAlias = Started | Delta | ReasoningDelta | Generated | Completed
