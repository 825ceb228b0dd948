"""Deliver SIGTERM and SIGINT to an event loop."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def end_at_once(number: signal.Signals) -> None:
    """Exit the process at once with 128 + the signal number."""
    os._exit(128 + number)


@contextmanager
def signals(
    stop: asyncio.Event, skip_propagation: asyncio.Event, again: Callable[[signal.Signals], None] = end_at_once
) -> Iterator[None]:
    """Set *stop* on the first SIGTERM or SIGINT, and call *again* on every further one.

    SIGINT also sets *skip_propagation*: it comes from a keyboard, where no load balancer needs time to react.
    """
    loop = asyncio.get_running_loop()

    def received(number: signal.Signals) -> None:
        if stop.is_set():
            again(number)
        stop.set()
        if number == signal.SIGINT:
            skip_propagation.set()

    # Signal handlers, because KeyboardInterrupt does not reach coroutines.
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, received, number)
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
