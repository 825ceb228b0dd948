"""Erasing one observation, wherever it is stored."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ilab_chat_service.memory.executor import MemoryExecutor
    from ilab_chat_service.ports import ResponseStore


async def erase_observation(
    library: MemoryExecutor, responses: ResponseStore, user_id: str, observation_id: int
) -> bool:
    """Erase an observation, what was derived from it alone, and the stored responses that contain any of it.

    Return whether the user had it.

    Raises:
        MemoryUnavailable: not all of it is erased. Calling again completes it.
        NotSupported: the library cannot.
    """
    # Before the library: it then rewrites the pages of both.
    before = await responses.forget_observation(user_id, observation_id)
    deleted = await library.delete(user_id, observation_id)
    after = [await responses.forget_observation(user_id, each) for each in deleted or (observation_id,)]
    if any(after) or (before and not deleted):
        # Stored by another process while this ran, or left by a call that did not finish.
        await library.finish_forgetting()
    return bool(deleted)
