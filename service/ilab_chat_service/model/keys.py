"""The key of a model's API: fixed, or read from a file that is hot-reloaded."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from ilab_chat_service.file_reload import FileReload


class Key(Protocol):
    """A key that may change while the server runs."""

    async def current(self) -> str:
        """Return the current key. Empty: the API needs none."""


@dataclass(frozen=True, slots=True)
class FixedKey:
    """A key that does not change."""

    value: str = field(repr=False)

    async def current(self) -> str:
        """See `Key.current`."""
        return self.value


def key_in_file(path: str) -> Key:
    """Return the key in a file, without surrounding white space. Blocks.

    Raises:
        OSError: the file cannot be read.
        ValueError: the file contains no valid key.
    """
    return FileReload([path], key_of)


def key_of(content: bytes) -> str:
    """Return the key in the content of a file.

    Raises:
        ValueError: the file is empty, or the key cannot be a header value.
    """
    key = content.decode("latin-1").strip()
    if not key:
        raise ValueError("the file is empty")
    if not is_header_value(key):
        raise ValueError("a key must consist of visible ASCII characters")
    return key


def is_header_value(text: str) -> bool:
    """Return whether *text* consists of visible ASCII characters."""
    return all("!" <= character <= "~" for character in text)
