"""Analysis of long texts: one thread at a time.

It is Python code. Threads that run it at the same time are done no sooner, since they share the GIL, and every other
thread of the process, such as an event loop, waits for a turn of each of them whenever it wakes up.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from ilab_memory.forks import kept_over_forks

#: Characters up to which a text is short: several are analyzed at the same time. 4,096 take 1 to 2 ms.
SHORT_CHARACTERS = 4096

_analyzing = kept_over_forks(threading.Lock())


@contextmanager
def one_at_a_time(characters: int) -> Iterator[None]:
    """Inside the block, no other thread analyzes a long text. Waits for that if a text of *characters* is long.

    Only for code that does not wait for anything. Not reentrant.
    """
    if characters <= SHORT_CHARACTERS:
        yield
        return
    with _analyzing:
        yield
