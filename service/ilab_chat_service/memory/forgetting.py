"""Which turn a message asks to forget."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ilab_memory.recall.analysis import UNSPACED
from ilab_memory.recall.message import content_terms

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ilab_chat_service.statements import Reading
    from ilab_chat_service.values import PastTurn

#: Share of the terms of a subject, in a script without spaces, that a message about it has: they are pairs of
#: characters, also across words.
SHARE = 0.5

_UNSPACED = re.compile(f"[{UNSPACED}]")


def forgotten_turn(reading: Reading, turns: Sequence[PastTurn]) -> int:
    """Return the observation of that of *turns*, which are oldest first, that the message asks to forget; 0: none.

    The last one, or the newest in which the user speaks of the subject that the message names.
    """
    if reading.forget_last:
        return turns[-1].recalled.observation_id if turns else 0
    if not reading.forget_about:
        return 0
    return next(
        (turn.recalled.observation_id for turn in reversed(turns) if is_about(turn.message, reading.forget_about)), 0
    )


def is_about(message: str, subject: str) -> bool:
    """Return whether *message* has the words of *subject* that mean something."""
    terms, said = set(content_terms(subject)), set(content_terms(message))
    if _UNSPACED.search(subject):
        return subject in message or len(terms & said) >= max(1, SHARE * len(terms))
    return bool(terms) and terms <= said
