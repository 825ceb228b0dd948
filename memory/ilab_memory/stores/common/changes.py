"""Whether a save or a change changes anything, and the observation after it."""

from typing import NamedTuple

from ilab_memory.core.store import Change, Redacted


class Stored(NamedTuple):
    """The parts of an observation that a save or a change may replace."""

    type: str
    title: str
    content: str
    normalized_hash: bytes
    about: str | None

    def changed(self, change: Change) -> "Stored":
        """Return the parts after *change*; equal parts mean that nothing changes."""
        return Stored(
            self.type if change.type is None else change.type,
            self.title if change.title is None else change.title,
            self.content if change.content is None else change.content,
            self.normalized_hash if change.normalized_hash is None else bytes.fromhex(change.normalized_hash),
            # It describes the old content.
            self.about if change.content in (None, self.content) else None,
        )


class Keyed(NamedTuple):
    """The parts of an observation that a save under its topic key is compared with."""

    type: str
    title: str
    normalized_hash: bytes
    pinned: bool
    expire_at: str | None
    about: str | None

    def equals(self, redacted: Redacted) -> bool:
        """Tell whether a save under a topic key equals what is stored under it. A save never unpins."""
        return (self.type, self.title, self.normalized_hash.hex(), bool(self.pinned), self.expire_at, self.about) == (
            redacted.type,
            redacted.title,
            redacted.normalized_hash,
            redacted.pinned or bool(self.pinned),
            redacted.expire_at,
            redacted.about,
        )
