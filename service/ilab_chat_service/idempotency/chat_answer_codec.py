"""Encode and decode the answers of chat calls for the idempotency store, and tell a repeat by its key."""

from __future__ import annotations

import hashlib
import json
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

import msgspec

from ilab_chat_service.limits import LARGE_BYTES
from ilab_chat_service.values import (
    Answered,
    Document,
    FinishReason,
    Generation,
    JsonSchemaFormat,
    MemorySource,
    Recalled,
    Remembered,
    RequestKey,
    StoredResponse,
    TurnRequest,
    Usage,
    token_count,
)
from ilab_memory.redaction import strip_private

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

#: Chat and StreamChat are one method here: a call of one can repeat a call of the other.
METHOD = "Chat"

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)

#: Encodes the body of a fingerprint. Kept, because making an encoder takes longer than using it.
BODY = json.JSONEncoder(default=repr)

#: The names of the fields of a request and of its generation, and their defaults.
DEFAULTS: Mapping[type, tuple[tuple[str, object], ...]] = {
    kind: tuple((field.name, field.default) for field in fields(kind)) for kind in (TurnRequest, Generation)
}

#: Fields that are not part of a fingerprint: they identify the request or follow from its message.
IDENTITY = ("user_id", "request_id", "request_id_is_new", "reading")


def fingerprint(public: TurnRequest) -> str:
    """Return a hash, in hexadecimal, that detects another request with the same request_id.

    *public* must not contain private text: a reader of the file could guess the text and compare hashes.
    """
    body = {name: value for name, value in set_fields(public) if name not in IDENTITY}
    body["generation"] = dict(set_fields(public.generation))
    return hashlib.sha256(BODY.encode(body).encode()).hexdigest()


def without_private_text(request: TurnRequest) -> TurnRequest:
    """Return *request* with its private texts redacted. Takes long if the texts are large."""
    if all(strip_private(text) == text for text in (request.message, *request.unstored)):
        return request
    response_format = request.generation.response_format
    if isinstance(response_format, JsonSchemaFormat):
        response_format = replace(response_format, schema=strip_private(response_format.schema))
    generation = replace(
        request.generation,
        stop_sequences=tuple(map(strip_private, request.generation.stop_sequences)),
        response_format=response_format,
    )
    return replace(
        request,
        generation=generation,
        message=strip_private(request.message),
        instructions=strip_private(request.instructions),
        documents=tuple(Document(strip_private(each.title), strip_private(each.text)) for each in request.documents),
    )


def set_fields(value: TurnRequest | Generation) -> Iterator[tuple[str, object]]:
    """Yield the fields that differ from their default.

    Defaults are omitted so that a field that a later version adds does not change stored fingerprints.
    """
    for name, default in DEFAULTS[type(value)]:
        if (each := getattr(value, name)) != default:
            yield name, each


def encoded(answered: Answered) -> str:
    """Return *answered*, whose reply is redacted, as JSON without defaults.

    It contains the ids of memories but not their text: the text would be several times as large as the turn, and could
    be changed or erased in the memory later.
    """
    body = {
        field.name: value for field in fields(answered) if (value := getattr(answered, field.name)) != field.default
    }
    body["memories"] = list(map(encoded_memory, answered.memories))
    return msgspec.json.encode(body).decode()


def encoded_memory(memory: Recalled) -> tuple[int | str | float, ...]:
    """Return a memory as stored: id, type, source, microseconds since 1970, and score and is_earlier if set."""
    moment = (memory.updated_at - EPOCH) // MICROSECOND
    stored = (memory.observation_id, memory.type, memory.source.value, moment)
    if memory.is_earlier:
        return (*stored, memory.score, 1)
    return (*stored, memory.score) if memory.score else stored


def decoded(text: str) -> Answered:
    """Decode the JSON of `encoded`."""
    stored: dict[str, Any] = json.loads(text)
    reason, usage = stored.get("finish_reason"), stored.get("usage")
    return Answered(
        **stored
        | {
            "memories": tuple(map(decoded_memory, stored["memories"])),
            "forgotten_ids": tuple(stored.get("forgotten_ids", ())),
            "remembered": tuple(Remembered(**each) for each in stored.get("remembered", ())),
            "finish_reason": reason and FinishReason(reason),
            # An earlier version may have stored any value.
            "usage": usage and Usage(**{name: token_count(tokens) for name, tokens in usage.items()}),
            "create_time": datetime.fromisoformat(stored["create_time"]),
        }
    )


def decoded_memory(stored: list[Any]) -> Recalled:
    """Return a memory of a stored answer. It has no title and no snippet."""
    observation_id, type_, source, moment, *rest = stored
    score, is_earlier = rest + [0.0, 0][len(rest) :]
    return Recalled(
        observation_id=observation_id,
        type=type_,
        title="",
        updated_at=EPOCH + moment * MICROSECOND,
        source=MemorySource(source),
        score=score,
        is_earlier=bool(is_earlier),
    )


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
        return fingerprint(without_private_text(self._request))

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
        return StoredResponse(self.fingerprint, encoded(response), tuple(sorted(ids - {0})))

    def from_store(self, text: str) -> Answered:
        """See `ports.RepeatableCall.from_store`."""
        return decoded(text)
