"""The events of a turn, in the order in which callers get them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from ilab_chat_service.values import Answered, Recalled


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """The model has begun to work, by reasoning or by answering: from here on the work is billed."""

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
    """The model is done, and its turn is being stored even if the caller leaves."""


@dataclass(frozen=True, slots=True)
class Completed:
    """The whole answer. The turn is stored. `replayed`: it is the answer of an earlier call."""

    answered: Answered
    replayed: bool = False


Event: TypeAlias = Started | Delta | ReasoningDelta | Generated | Completed
