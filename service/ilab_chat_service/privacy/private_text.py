"""The private and the public text of a message."""

from __future__ import annotations

import re

from ilab_memory.redaction import private_spans, strip_private

#: Tags inside a private block, and their lookalikes.
TAG = re.compile(
    "</?private(?:\\s[^<>]*)?/?>|(?:[<\uff1c\ufe64]|&(?:amp;)*+lt;?)/?private/?(?:[>\uff1e\ufe65]|&(?:amp;)*+gt;?)",
    re.IGNORECASE,
)
ATTRIBUTES = re.compile(r"<private\s([^<>]*)>", re.IGNORECASE)


def private_texts(message: str) -> set[str]:
    """Return the private texts of *message*, without nested tags. Attributes of tags are private too."""
    return {*(TAG.sub(" ", span) for span in private_spans(message)), *ATTRIBUTES.findall(message)}


def public_text(message: str) -> str:
    """Return *message* without its private texts."""
    return strip_private(message)
