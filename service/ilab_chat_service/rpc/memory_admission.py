"""How many calls of MemoryService run and wait, and how long they may take. All limits are of one process."""

from __future__ import annotations

from ilab_chat_service.limits import MEMORY_ERASURES, MEMORY_EXPORTS, MEMORY_IMPORTS, MEMORY_READS, MEMORY_WRITES
from ilab_chat_service.rpc.admission import Admission
from ilab_chat_service.rpc.deadlines import Deadlines

#: Maximum numbers of calls of each kind that run at once.
READS, EXPORTS, WRITES = MEMORY_READS, MEMORY_EXPORTS, MEMORY_WRITES
ERASURES, IMPORTS = MEMORY_ERASURES, MEMORY_IMPORTS
#: Maximum number of calls of each kind that wait for a slot, and their maximum wait.
QUEUED, QUEUE_SECONDS = 128, 5.0
#: Maximum number of calls, exports, imports and erasures of one user that run or wait. One user alone cannot fill the
#: queue, so the calls of another user wait for one of them to end, not for all.
PER_USER, EXPORTS_PER_USER, IMPORTS_PER_USER, ERASURES_PER_USER = 8, 2, 1, 4
#: Maximum number of imports of one caller that run at once: one alone never takes all slots.
IMPORTS_PER_CALLER = IMPORTS - 1
#: Maximum number of reads, of writes, and of erasures of one user that run at once: calls of other users overtake
#: waiting ones.
RUNNING_PER_USER = 2
#: Maximum bytes of the requests that run or wait, in all and per user: each stays in memory until its call ends.
REQUESTS_BYTES, REQUESTS_BYTES_PER_USER = 32 * 1024 * 1024, 4 * 1024 * 1024
#: An erasure is answered after this many seconds at the earliest, so that callers in a loop do not load the server.
ERASURE_SECONDS = 0.05

#: How long a call may take. Its work on a thread then goes on, in its slot.
CALL_TIME = Deadlines(default=60.0, maximum=600.0)
#: The same for exports, imports and erasures.
LONG_CALL_TIME = Deadlines(default=600.0, maximum=3600.0)


def admission(running: int, per_user: int, *, per_share: int | None = None) -> Admission:
    """Return the limits of a kind of calls, of which *running* run at once, *per_share* of one share."""
    return Admission(
        running=running,
        queued=QUEUED,
        per_user=per_user,
        wait_seconds=QUEUE_SECONDS,
        running_per_user=per_share,
        size=REQUESTS_BYTES,
        size_per_user=REQUESTS_BYTES_PER_USER,
    )
