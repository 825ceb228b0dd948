"""Rate limits: turns and tokens of a user and of a caller, per minute and per day. In memory, per process.

A limit counts in windows of the clock, minutes and days of UTC, so that the wait in an error is exact.
"""

from __future__ import annotations

from collections import OrderedDict
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

from ilab_chat_service.failures import RateLimited
from ilab_chat_service.telemetry.call_record import CALL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from ilab_chat_service.ports import Answer, Clock
    from ilab_chat_service.settings import Settings

#: Seconds of a window.
PERIODS = {"minute": 60, "day": 86400}
SCOPES = ("user", "caller")
UNITS = ("turns", "tokens")

#: Maximum number of users or callers that a window counts. Beyond it, the least recent one is forgotten
#: and starts again with full limits.
MAX_SUBJECTS = 50_000


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimit:
    """A limit of the turns or tokens of each user, or of each caller."""

    scope: str
    unit: str
    period: str
    most: int

    @property
    def name(self) -> str:
        """Its name in metrics."""
        return f"{self.scope}_{self.unit}_per_{self.period}"

    def __str__(self) -> str:
        unit = self.unit.removesuffix("s") if self.most == 1 else self.unit
        return f"{self.most} {unit} per {self.period}"


#: The name of each limit.
NAMES = [f"{scope}_{unit}_per_{period}" for scope, unit, period in product(SCOPES, UNITS, PERIODS)]


def rate_limits(settings: Settings) -> list[RateLimit]:
    """Return the limits that are set."""
    every = (
        RateLimit(scope=scope, unit=unit, period=period, most=getattr(settings, f"{scope}_{unit}_per_{period}"))
        for scope, unit, period in product(SCOPES, UNITS, PERIODS)
    )
    return [limit for limit in every if limit.most]


class Window:
    """Turns and tokens that each user, or each caller, has used in the current window of *seconds*."""

    def __init__(self, seconds: int) -> None:
        self._seconds = seconds
        self._number = 0
        self._used: OrderedDict[str, dict[str, int]] = OrderedDict()

    def used(self, subject: str, now: float) -> dict[str, int]:
        """Return the mutable counts of *subject*."""
        if (number := int(now // self._seconds)) != self._number:
            self._number = number
            # A new object: charges of running calls still refer to the old one.
            self._used = OrderedDict()
        used = self._used.setdefault(subject, dict.fromkeys(UNITS, 0))
        self._used.move_to_end(subject)
        if len(self._used) > MAX_SUBJECTS:
            self._used.popitem(last=False)
        return used

    def remaining(self, now: float) -> float:
        """Return the seconds until the next window."""
        return self._seconds - now % self._seconds


class Charge:
    """The cost of one turn, 0 until `began` is called."""

    __slots__ = ("_answer", "_estimate")

    def __init__(self) -> None:
        self._answer: Answer | None = None
        self._estimate: Callable[[], int] | None = None

    def began(self, answer: Answer, estimate: Callable[[], int]) -> None:
        """Charge for an answer that has begun. *estimate*: its tokens so far, if the API reports no usage."""
        self._answer, self._estimate = answer, estimate

    @property
    def tokens(self) -> int | None:
        """Tokens that the API counted, or an estimate, for example if the answer was interrupted. None: no charge."""
        if self._answer is None or self._estimate is None:
            return None
        if usage := self._answer.usage:
            return usage.input_tokens + usage.output_tokens
        return self._estimate()


class RateLimits:
    """Counts the turns and tokens of users and callers, and refuses turns beyond a limit.

    Args:
        limits: those that are set.
        clock: for the windows.
    """

    def __init__(self, limits: Sequence[RateLimit], clock: Clock) -> None:
        self._limits = limits
        self._clock = clock
        self._windows = {(limit.scope, limit.period): Window(PERIODS[limit.period]) for limit in limits}

    @contextmanager
    def turn(self, user_id: str) -> Iterator[Charge]:
        """Count a turn of the user and of the running call's caller. At the end of the block, count its tokens.

        Tokens are known only then: calls that run at the same time can exceed a limit together.

        Raises:
            RateLimited: a limit is reached. The turn is not counted.
        """
        charge = Charge()
        if not self._limits:
            yield charge
            return
        call = CALL.get(None)
        subjects = {"user": user_id, "caller": call.caller if call else ""}
        self._check(subjects)
        counted = self._used(subjects)
        for used in counted:
            used["turns"] += 1
        try:
            yield charge
        finally:
            if (tokens := charge.tokens) is None:
                for used in counted:
                    used["turns"] -= 1
            else:
                for used in self._used(subjects):
                    used["tokens"] += tokens

    def _used(self, subjects: Mapping[str, str]) -> list[dict[str, int]]:
        now = self._clock().timestamp()
        return [window.used(subjects[scope], now) for (scope, _), window in self._windows.items()]

    def _check(self, subjects: Mapping[str, str]) -> None:
        now = self._clock().timestamp()
        reached: list[tuple[float, RateLimit]] = []
        for limit in self._limits:
            window = self._windows[limit.scope, limit.period]
            if window.used(subjects[limit.scope], now)[limit.unit] >= limit.most:
                reached.append((window.remaining(now), limit))
        if not reached:
            return
        # Until all reached limits are free again.
        wait, longest = max(reached, key=lambda each: each[0])
        if call := CALL.get(None):
            call.rate_limited_by = longest.name
        raise RateLimited(
            f"the {longest.scope} has used up {longest}",
            retry_after_seconds=wait,
            limits=[(limit.scope, str(limit)) for _, limit in reached],
        )
