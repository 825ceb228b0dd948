"""Counting the fields of a message before it is parsed: an item of a list can be 2 bytes there, and 80 in memory."""

from __future__ import annotations

_VARINT, _EIGHT_BYTES, _WITH_LENGTH, _FOUR_BYTES = 0, 1, 2, 5
_FIXED = {_EIGHT_BYTES: 8, _FOUR_BYTES: 4}


def has_more_fields(message: bytes, most: int) -> bool:
    """Return whether *message* has more than *most* fields, each item of a list counted, those of fields not.

    False for a message that cannot be parsed. https://protobuf.dev/programming-guides/encoding
    """
    at, fields = 0, 0
    try:
        while at < len(message):
            fields += 1
            if fields > most:
                return True
            tag, at = varint(message, at)
            kind = tag & 7
            if kind == _WITH_LENGTH:
                size, at = varint(message, at)
                at += size
            elif kind == _VARINT:
                _, at = varint(message, at)
            else:
                at += _FIXED[kind]
    except (IndexError, KeyError):
        return False
    return False


def varint(message: bytes, at: int) -> tuple[int, int]:
    """Return the number that begins at *at*, and where it ends."""
    number = shift = 0
    while True:
        byte = message[at]
        at += 1
        number |= (byte & 0x7F) << shift
        # A longer one cannot be parsed, and would take time.
        if byte < 0x80 or shift > 63:  # noqa: PLR2004
            return number, at
        shift += 7
