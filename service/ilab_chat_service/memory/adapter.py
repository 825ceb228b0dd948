"""The Memory port over the library: `hydrate.py` and `persist.py` on its threads."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ilab_chat_service.failures import MemoryUnavailable, TurnNotStored
from ilab_chat_service.memory.forget_requests import Search
from ilab_chat_service.memory.hydrate import hydrated
from ilab_chat_service.memory.persist import save
from ilab_chat_service.time_zones import time_zone
from ilab_chat_service.values import Context, MemoryMode, Persisted, Turn

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ilab_chat_service.memory.executor import MemoryExecutor
    from ilab_chat_service.ports import ResponseStore
    from ilab_chat_service.values import TurnRequest


class MemoryAdapter:
    """The Memory port over the library.

    Args:
        library: the open library.
        responses: stored answers. They are erased with the observations that they contain.
        search_limit: maximum number of observations that the search for the message returns.
        queue_work: queue turns for consolidation.
    """

    def __init__(
        self, library: MemoryExecutor, responses: ResponseStore, *, search_limit: int, queue_work: bool = False
    ) -> None:
        self._library = library
        self._responses = responses
        self._search_limit = search_limit
        self._queue_work = queue_work

    async def hydrate(self, request: TurnRequest) -> Context:
        """See `ports.Memory.hydrate`. All reads of a call run in one visit to a thread, but for a request to forget.

        If it opens or touches a session, that is a thread for writes. So while writes are blocked, no model is asked
        for a reply that cannot be stored.
        """
        zone = await time_zone(request.time_zone)
        visit = self._library.write if request.memory_mode is MemoryMode.READ_WRITE else self._library.read
        context = await visit(
            request.user_id,
            lambda memory: hydrated(memory, request, zone, search_limit=self._search_limit),
            size=len(request.message.encode()),
        )
        if not request.reading.forgets:
            return context
        search = Search(request.user_id, request.reading, context.turns)
        if not request.reading.forget_last:
            await self._library.scan(request.user_id, search.proceed)
        return replace(context, forgotten_ids=tuple(search.found))

    async def persist(self, turn: Turn) -> Persisted:
        """See `ports.Memory.persist`."""
        try:
            return await self._library.write(
                turn.user_id,
                lambda memory: save(memory, turn, queue_work=self._queue_work),
                has_deadline=False,
                saves=True,
                size=len(turn.message.encode()) + len(turn.reply.encode()),
            )
        except MemoryUnavailable as error:
            raise TurnNotStored("the turn could not be stored", cause=error.cause) from error

    async def forget(self, user_id: str, observation_ids: Sequence[int]) -> None:
        """See `ports.Memory.forget`."""
        try:
            await erase_observations(self._library, self._responses, user_id, observation_ids)
        except MemoryUnavailable as error:
            raise TurnNotStored("the turn could not be erased", cause=error.cause) from error


async def erase_observations(
    library: MemoryExecutor, responses: ResponseStore, user_id: str, observation_ids: Sequence[int]
) -> bool:
    """Erase observations, facts derived from each alone, and the stored responses that contain any of them.

    Return whether the user had one of the observations.

    Raises:
        MemoryUnavailable: a part is left. Calling again completes the erasure.
    """
    # Before the library, which then rewrites the pages of both.
    before = await erase_responses(responses, user_id, observation_ids)
    deleted = await library.delete(user_id, observation_ids)
    after = await erase_responses(responses, user_id, {*observation_ids, *deleted})
    if after or (before and not deleted):
        # Another process stored responses while this ran, or an earlier call did not finish.
        await library.finish_forgetting()
    return bool(deleted)


async def erase_responses(responses: ResponseStore, user_id: str, observation_ids: Iterable[int]) -> int:
    """Erase the stored responses that contain any of these observations, and return their number."""
    return sum([await responses.forget_observation(user_id, each) for each in observation_ids])
