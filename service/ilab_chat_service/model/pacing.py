"""Bound the share of the event loop that reading streams of model APIs takes.

Decoding never waits for I/O while an API sends without a pause, so an API that sends many tiny events, or comments
only, could take the whole loop. Each stream has an allowance of CPU time that few models use up. Streams that need
more share a small part of the CPU: they wait for it, and flow control slows their APIs down.
"""

from __future__ import annotations

#: CPU seconds per second that a stream may always use: enough for about 150 reads of one token each per second. A
#: faster stream waits for some milliseconds, in which more tokens arrive, so its reads become fewer and larger.
OWN_SHARE = 0.01

#: CPU seconds that a stream may use at once.
BURST_SECONDS = 0.01

#: CPU seconds that a read of the socket takes besides parsing and decoding: in the event loop and in the turn.
READ_SECONDS = 50e-6

#: CPU seconds per second for all streams that have used up their allowance.
COMMON_SHARE = 0.1


class LoopShare:
    """The share of the event loop for the streams of a process that have used up their allowances."""

    def __init__(self) -> None:
        #: Event loop time until which the share is used up.
        self._used_until = 0.0

    def use(self, seconds: float, now: float) -> float:
        """Use CPU *seconds* of the share at event loop time *now*. Return how long to wait before using more."""
        self._used_until = max(self._used_until, now) + seconds / COMMON_SHARE
        return self._used_until - now


class Pace:
    """The allowance of one stream.

    Args:
        share: the share for what the stream uses beyond its allowance.
        now: event loop time.
    """

    def __init__(self, share: LoopShare, now: float) -> None:
        self._share = share
        self._left = BURST_SECONDS
        self._at = now

    def use(self, seconds: float, now: float) -> float:
        """Account for CPU *seconds* used up to event loop time *now*. Return how long to wait. 0: within allowance."""
        self._left = min(BURST_SECONDS, self._left + (now - self._at) * OWN_SHARE) - seconds
        self._at = now
        if self._left >= 0:
            return 0.0
        excess, self._left = -self._left, 0.0
        return self._share.use(excess, now)
