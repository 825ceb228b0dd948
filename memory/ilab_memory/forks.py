"""A memory after a fork: a child process must not use the memory of its parent.

The parent's threads do not exist in the child, and its connections would be shared by both: calls in the child would
wait forever, or read answers that are meant for the parent.
"""

import os
import threading

_FORKED = (
    "the memory was opened before this process was forked: open another one in the child, with ILabMemory.from_path or"
    " ILabMemory.from_url"
)

_generation = 0


class Process:
    """The process that it was made in."""

    def __init__(self) -> None:
        self._generation = _generation

    @property
    def is_this(self) -> bool:
        """Whether this is still that process, and not a child of it."""
        # Not by the process id: this takes a tenth of the time.
        return self._generation == _generation

    def check(self) -> None:
        """Raise RuntimeError in a child."""
        if self._generation != _generation:
            raise RuntimeError(_FORKED)


def kept_over_forks(lock: threading.Lock) -> threading.Lock:
    """Return *lock*. No thread has it while a child is made, because no thread of the child would release it."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=lock.acquire, after_in_parent=lock.release, after_in_child=lock.release)
    return lock


def _count() -> None:
    global _generation  # noqa: PLW0603 - one number for the process
    _generation += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_count)
