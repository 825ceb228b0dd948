"""Idempotent writes: a repeat with the same request_id gets the stored response and writes nothing."""

from __future__ import annotations

import hashlib
import logging
from functools import cached_property
from typing import TYPE_CHECKING, Generic, TypeVar

from google.protobuf import json_format
from google.protobuf.message import Message

from ilab_chat_service.failures import MemoryUnavailable
from ilab_chat_service.limits import LARGE_BYTES
from ilab_chat_service.telemetry.call_record import CALL
from ilab_chat_service.values import RequestKey, StoredResponse
from ilab_memory.redaction import strip_private

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ilab_chat_service.ports import ResponseStore

log = logging.getLogger(__name__)

M = TypeVar("M", bound=Message)


class WriteCall(Generic[M]):
    """The RepeatableCall port of a write.

    Args:
        request: the request, a message.
        response: the class of its response.
        observation_id: returns the observation that a response refers to, 0 if it refers to none.
    """

    def __init__(self, request: Message, response: type[M], observation_id: Callable[[M], int]) -> None:
        self.is_new = False
        self.is_large = request.ByteSize() > LARGE_BYTES
        self._request = request
        self._response = response
        self._observation_id = observation_id

    @cached_property
    def key(self) -> RequestKey:
        """See `ports.RepeatableCall.key`."""
        return RequestKey(
            user_id=self._request.user_id,  # type: ignore[attr-defined]
            method=self._request.DESCRIPTOR.name.removesuffix("Request"),
            request_id=self._request.request_id,  # type: ignore[attr-defined]
        )

    @cached_property
    def fingerprint(self) -> str:
        """See `ports.RepeatableCall.fingerprint`."""
        body = type(self._request)()
        body.CopyFrom(self._request)
        body.ClearField("request_id")
        for field, value in body.ListFields():
            if isinstance(value, str):
                setattr(body, field.name, strip_private(value))
        return hashlib.sha256(body.SerializeToString(deterministic=True)).hexdigest()

    def is_large_response(self, response: M) -> bool:
        """See `ports.RepeatableCall.is_large_response`."""
        return response.ByteSize() > LARGE_BYTES

    def to_store(self, response: M) -> StoredResponse:
        """See `ports.RepeatableCall.to_store`. The library has redacted what it returned."""
        json = json_format.MessageToJson(response, preserving_proto_field_name=True, indent=None)
        observation_id = self._observation_id(response)
        return StoredResponse(self.fingerprint, json, (observation_id,) if observation_id else ())

    def from_store(self, text: str) -> M:
        """See `ports.RepeatableCall.from_store`."""
        return json_format.Parse(text, self._response(), ignore_unknown_fields=True)


async def once(responses: ResponseStore, call: WriteCall[M], write: Callable[[], Awaitable[M]]) -> M:
    """Return the stored response of *call*, or run *write* and store its response.

    Without a request_id, store nothing.

    Raises:
        RequestIdReused: the request_id belongs to another request.
        MemoryUnavailable: the stored responses cannot be read. Nothing was written.
    """
    if not call.key.request_id:
        return await write()
    lease = await responses.begin(call)
    try:
        if lease.earlier is not None:
            CALL.get().replayed = True
            return lease.earlier
        response = await write()
        try:
            await lease.put(response)
        except MemoryUnavailable:
            # The write succeeded, but a repeat of the call would write again.
            log.warning("a response was not stored for repeats of its call")
        return response
    finally:
        lease.release()
