"""Erasing one observation, wherever it is stored."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ilab_chat_service.memory.executor import MemoryExecutor
    from ilab_chat_service.ports import ResponseStore


async def erase_observation(
    library: MemoryExecutor, responses: ResponseStore, user_id: str, observation_id: int
) -> bool:
    """Erase an observation, facts derived from it alone, and the stored responses that contain any of them.

    Return whether the user had the observation.

    Raises:
        MemoryUnavailable: a part is left. Calling again completes the erasure.
        NotSupported: the library cannot.
    """
    # Before the library, which then rewrites the pages of both.
    before = await responses.forget_observation(user_id, observation_id)
    deleted = await library.delete(user_id, observation_id)
    after = [await responses.forget_observation(user_id, each) for each in deleted or (observation_id,)]
    if any(after) or (before and not deleted):
        # Another process stored responses while this ran, or an earlier call did not finish.
        await library.finish_forgetting()
    return bool(deleted)
