"""Whether a statement says enough to be worth a place in the prompt."""

from __future__ import annotations

from ilab_chat_service.statements.outdated import hint

#: Words with content of a statement that says enough.
LEAST_WORDS = 3


def says_much(statement: str) -> bool:
    """Return whether *statement* has a few words with content: "Pray for us." has one."""
    return len(hint(statement).about) >= LEAST_WORDS
