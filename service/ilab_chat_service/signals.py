"""SIGTERM and SIGINT, told to an event loop."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def end_at_once(number: signal.Signals) -> None:
    """End the process, with 128 + the number of the signal."""
    os._exit(128 + number)


@contextmanager
def signals(
    stop: asyncio.Event, skip_propagation: asyncio.Event, again: Callable[[signal.Signals], None] = end_at_once
) -> Iterator[None]:
    """Set *stop* on the first SIGTERM or SIGINT; call *again* on every further one.

    SIGINT also sets *skip_propagation*: it comes from somebody at a keyboard, not from what tells clients where to go.
    """
    loop = asyncio.get_running_loop()

    def received(number: signal.Signals) -> None:
        if stop.is_set():
            again(number)
        stop.set()
        if number == signal.SIGINT:
            skip_propagation.set()

    # Not KeyboardInterrupt: it is not seen in coroutines.
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, received, number)
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
