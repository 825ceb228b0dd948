"""Identifiers of calls: none comes twice."""

import re

from ilab_chat_service.rpc.identifiers import AT_ONCE, new_identifier


def test_identifiers_are_32_digits_and_differ() -> None:
    made = {new_identifier() for _ in range(3 * AT_ONCE)}
    assert len(made) == 3 * AT_ONCE
    assert all(re.fullmatch("[0-9a-f]{32}", identifier) for identifier in made)
