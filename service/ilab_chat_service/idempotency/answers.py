"""Answers of chat calls in the idempotency store."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from ilab_chat_service.idempotency import codec
from ilab_chat_service.limits import LARGE_BYTES
from ilab_chat_service.values import RequestKey, StoredResponse

if TYPE_CHECKING:
    from ilab_chat_service.ports import Joins, Lease, ResponseStore
    from ilab_chat_service.values import Answered, TurnRequest

#: Chat and StreamChat are one method here: a call of one can repeat a call of the other.
METHOD = "Chat"


class TurnAnswers:
    """The IdempotencyStore port over a ResponseStore."""

    def __init__(self, responses: ResponseStore) -> None:
        self._responses = responses

    async def begin(self, request: TurnRequest, *, joins: Joins) -> Lease[Answered]:
        """See `ports.IdempotencyStore.begin`."""
        return await self._responses.begin(TurnCall(request), joins=joins)


class TurnCall:
    """The RepeatableCall port of a turn."""

    def __init__(self, request: TurnRequest) -> None:
        self.key = RequestKey(user_id=request.user_id, method=METHOD, request_id=request.request_id)
        self.is_new = request.request_id_is_new
        self.is_large = request.text_bytes > LARGE_BYTES
        self._request = request

    @cached_property
    def fingerprint(self) -> str:
        """See `ports.RepeatableCall.fingerprint`."""
        return codec.fingerprint(codec.public(self._request))

    def is_large_response(self, response: Answered) -> bool:
        """See `ports.RepeatableCall.is_large_response`."""
        return len(response.reply) > LARGE_BYTES

    def to_store(self, response: Answered) -> StoredResponse:
        """See `ports.RepeatableCall.to_store`. The reply of *response* is redacted."""
        ids = {
            response.observation_id,
            *(memory.observation_id for memory in response.memories),
            *(fact.observation_id for fact in response.remembered),
        }
        return StoredResponse(text=codec.record(response), observation_ids=tuple(sorted(ids - {0})))

    def from_store(self, text: str) -> Answered:
        """See `ports.RepeatableCall.from_store`."""
        return codec.answered(text)
