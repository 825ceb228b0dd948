"""Ends a wait of a thread for the next event of a stream. asyncio has timeouts for this; gRPC's threads have none."""

import threading
import time
from collections.abc import Callable
from typing import Final

NEVER: Final = float("inf")


class Watch:
    """The wait of one stream. Its thread sets and clears the deadline; the timer's thread reads it."""

    def __init__(self, seconds: float, expire: Callable[[], object]) -> None:
        self.deadline = NEVER
        self.has_expired = False
        self._seconds = seconds
        self._expire = expire

    def __enter__(self) -> None:
        self.deadline = time.monotonic() + self._seconds
        TIMER.watch(self)

    def __exit__(self, *_: object) -> None:
        self.deadline = NEVER

    def expire(self) -> None:
        """End the wait."""
        self.has_expired = True
        self._expire()


class Timer:
    """One thread for all streams of the process; it starts with the first wait.

    It wakes up at the earliest deadline that it saw. A deadline that was cleared is skipped then, so waits that end in
    time, which are nearly all, never wake it.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._watches: set[Watch] = set()
        self._wakes_at = NEVER
        self._thread: threading.Thread | None = None

    def watch(self, watch: Watch) -> None:
        """Expire *watch* at its deadline."""
        with self._changed:
            self._watches.add(watch)
            # After a fork, the thread is that of the parent.
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="ilab-chat-idle", daemon=True)
                self._thread.start()
            if watch.deadline < self._wakes_at:
                self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                now = time.monotonic()
                self._watches = {watch for watch in self._watches if watch.deadline < NEVER}
                expired = {watch for watch in self._watches if watch.deadline <= now}
                self._watches -= expired
                if not expired:
                    self._wakes_at = min((watch.deadline for watch in self._watches), default=NEVER)
                    self._changed.wait(None if self._wakes_at == NEVER else self._wakes_at - now)
            # Without the lock: cancelling a call runs its callbacks.
            for watch in expired:
                watch.expire()


TIMER: Final = Timer()
