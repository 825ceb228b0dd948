"""Text that arrives in pieces, without halves of characters."""


class WholeCharacters:
    """Joins surrogate pairs that were split over two pieces: half of one cannot be sent as protobuf text.

    JSON escapes a character beyond U+FFFF as two halves, and some servers cut between them. A half without its other
    becomes U+FFFD.
    """

    def __init__(self) -> None:
        self._held = ""

    def add(self, piece: str) -> str:
        """Return what is whole of the text so far and was not returned before."""
        text = self._held + piece
        self._held = text[-1:] if "\ud800" <= text[-1:] <= "\udbff" else ""
        return whole_text(text.removesuffix(self._held))

    def rest(self) -> str:
        """Return what was held back, once."""
        held, self._held = self._held, ""
        return whole_text(held)


def whole_text(text: str) -> str:
    """Return *text* with surrogate pairs joined and single surrogates replaced."""
    return text if text.isascii() else text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
