"""Text that arrives in pieces, without half surrogate pairs."""

import re

#: Halves that are left when pairs have been joined.
SINGLE = re.compile("[\ud800-\udfff]+")


class SurrogateJoiner:
    """Joins surrogate pairs that were split over two pieces. Protobuf strings must not contain half of one.

    JSON escapes a character above U+FFFF as two surrogates, and some servers split between them. An unpaired surrogate
    becomes U+FFFD.
    """

    def __init__(self) -> None:
        self._held = ""

    def add(self, piece: str) -> str:
        """Return the complete characters that arrived with *piece*."""
        text = self._held + piece
        self._held = text[-1:] if "\ud800" <= text[-1:] <= "\udbff" else ""
        return joined_surrogates(text.removesuffix(self._held))

    def rest(self) -> str:
        """Return the text that was held back. Call it once, at the end."""
        held, self._held = self._held, ""
        return joined_surrogates(held)


def joined_surrogates(text: str) -> str:
    """Return *text* with surrogate pairs joined. Replace unpaired surrogates, and U+0000, which no store accepts."""
    if "\0" in text:
        text = text.replace("\0", "\ufffd")
    if text.isascii():
        return text
    joined = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
    # Not by the codec's own "replace", which takes a microsecond for each: a reply can have a third of a million.
    return SINGLE.sub(lambda run: "\ufffd" * len(run[0]), joined)
