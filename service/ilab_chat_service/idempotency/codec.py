"""How a finished answer looks in the idempotency store, and back. Pure functions."""

from __future__ import annotations

import hashlib
import json
from dataclasses import fields, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from ilab_chat_service.values import (
    Answered,
    Document,
    FinishReason,
    JsonSchemaFormat,
    MemorySource,
    Recalled,
    Remembered,
    Usage,
    token_count,
)
from ilab_memory.redaction import strip_private

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ilab_chat_service.values import Generation, TurnRequest


#: Fields that say which request it is, not what is asked for, and what follows from the message.
IDENTITY = ("user_id", "request_id", "request_id_is_new", "reading")


def fingerprint(public: TurnRequest) -> str:
    """Return the hash, in hexadecimal, that tells one request of a request_id from another.

    *public* has no private text: even a hash of it would let a reader of the file try what it was.
    """
    body = {name: value for name, value in set_fields(public) if name not in IDENTITY}
    body["generation"] = dict(set_fields(public.generation))
    return hashlib.sha256(json.dumps(body, default=repr).encode()).hexdigest()


def public(request: TurnRequest) -> TurnRequest:
    """Return *request* with its private texts redacted. Takes long if the texts are large."""
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

    Defaults are left out so that a field added by a later version does not change the fingerprints stored before.
    """
    for field in fields(value):
        if (each := getattr(value, field.name)) != field.default:
            yield field.name, each


def record(answered: Answered) -> str:
    """Return *answered*, whose reply is redacted, as JSON."""
    return msgspec.json.encode(answered).decode()


def answered(text: str) -> Answered:
    """Return what `record` stored."""
    stored: dict[str, Any] = json.loads(text)
    reason, usage = stored["finish_reason"], stored["usage"]
    return Answered(
        **stored
        | {
            "memories": tuple(map(recalled, stored["memories"])),
            "remembered": tuple(Remembered(**each) for each in stored.get("remembered", ())),
            "finish_reason": reason and FinishReason(reason),
            # Checked here too: an earlier version may have stored any value.
            "usage": usage and Usage(**{name: token_count(tokens) for name, tokens in usage.items()}),
            "create_time": datetime.fromisoformat(stored["create_time"]),
        }
    )


def recalled(stored: dict[str, Any]) -> Recalled:
    """Return a memory of a stored answer."""
    moment = datetime.fromisoformat(stored["updated_at"])
    derived = {"source_ids": tuple(stored.get("source_ids", ())), "source": MemorySource(stored["source"])}
    return Recalled(**stored | derived | {"updated_at": moment})
