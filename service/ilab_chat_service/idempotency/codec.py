"""How a finished answer looks in the idempotency store, and back. Pure functions."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from ilab_chat_service.privacy import redact_leaks
from ilab_chat_service.values import Answered, FinishReason, MemorySource, Recalled, Usage, token_count
from ilab_memory.redaction import strip_private

if TYPE_CHECKING:
    from ilab_chat_service.values import TurnRequest


#: Options of generation that the first version did not have.
LATER_OPTIONS = ("reasoning_effort", "response_format")


def fingerprint(request: TurnRequest) -> str:
    """Return what tells one request of a request_id from another, in hexadecimal.

    Private text does not count: even a hash of it would let a reader of the file try what it was.
    """
    generation = asdict(request.generation)
    # What was added later counts only where it is set, so that answers which were stored before are found.
    later = {
        name: repr(getattr(request.generation, name)) for name in LATER_OPTIONS if generation.pop(name) is not None
    }
    body = [
        strip_private(request.message),
        generation | later,
        request.memory_mode.name,
        request.retention.name,
    ]
    return hashlib.sha256(json.dumps(body).encode()).hexdigest()


def record(answered: Answered, message: str) -> str:
    """Return *answered* as JSON, its reply redacted as it is in the memory."""
    stored = replace(answered, reply=redact_leaks(strip_private(answered.reply), message))
    return msgspec.json.encode(stored).decode()


def answered(text: str) -> Answered:
    """Return what `record` stored."""
    fields: dict[str, Any] = json.loads(text)
    reason, usage = fields["finish_reason"], fields["usage"]
    return Answered(
        **fields
        | {
            "memories": tuple(map(recalled, fields["memories"])),
            "finish_reason": reason and FinishReason(reason),
            # Checked here too: what an earlier version stored of them may be anything.
            "usage": usage and Usage(**{name: token_count(tokens) for name, tokens in usage.items()}),
            "create_time": datetime.fromisoformat(fields["create_time"]),
        }
    )


def recalled(fields: dict[str, Any]) -> Recalled:
    """Return a memory of a stored answer."""
    moment = datetime.fromisoformat(fields["updated_at"])
    return Recalled(**fields | {"updated_at": moment, "source": MemorySource(fields["source"])})
