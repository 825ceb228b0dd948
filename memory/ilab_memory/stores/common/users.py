"""The contents of the row of a user."""

import secrets

#: Number of terms in each field, as columns: of a row for that row, of the user's row for all rows.
LENGTHS = ("title_terms", "said_terms", "reply_terms", "tail_terms")

_INDEX_KEY_BYTES = 16


def new_index_key() -> bytes:
    """Return a random index key: no two users have the same one."""
    return secrets.token_bytes(_INDEX_KEY_BYTES)
