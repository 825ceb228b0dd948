"""The chunks of a streamed chat completion: what the answer needs of their JSON, and nothing else.

https://platform.openai.com/docs/api-reference/chat-streaming. Compatible servers send all sorts of things there, so
what is only passed on may be of any type, and becomes a value that can be passed on.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec

from ilab_chat_service.model.surrogates import whole_text
from ilab_chat_service.ports import FinishReason, Usage, token_count

#: Longest name of a model that is passed on, in characters.
MODEL_CHARACTERS = 256

FINISH_REASONS = {
    "stop": FinishReason.STOP,
    "length": FinishReason.LENGTH,
    "content_filter": FinishReason.CONTENT_FILTER,
}


class Delta(msgspec.Struct, gc=False):
    """What a choice adds."""

    content: str | None = None


class Choice(msgspec.Struct):
    """One of the answers; there is one unless more were asked for."""

    delta: Delta | None = None
    finish_reason: Any = None


class Chunk(msgspec.Struct):
    """One event's data."""

    choices: list[Choice] | None = None
    model: Any = None
    usage: Any = None
    error: Any = None

    @property
    def text(self) -> str:
        """What it adds to the answer."""
        return "".join([choice.delta.content or "" for choice in self.choices or () if choice.delta])


DECODER = msgspec.json.Decoder(Chunk)


def chunk_of(data: bytes) -> Chunk:
    """Return the chunk that an event's *data* is.

    Raises:
        ValueError, RecursionError: it is none.
    """
    try:
        return DECODER.decode(data)
    except msgspec.DecodeError:
        # Strict JSON has no half of a surrogate pair, which some servers send in each of two chunks, and no NaN.
        return msgspec.convert(json.loads(data), Chunk)


def name_of(model: object) -> str:
    """Return a model's name as it may be passed on."""
    return whole_text(model[:MODEL_CHARACTERS]) if isinstance(model, str) else ""


def reason_of(reason: object) -> FinishReason:
    """Return why the model stopped."""
    return FINISH_REASONS.get(reason, FinishReason.OTHER) if isinstance(reason, str) else FinishReason.OTHER


def usage_of(counts: dict[str, Any]) -> Usage:
    """Return what the API counted."""
    return Usage(
        input_tokens=token_count(counts.get("prompt_tokens")),
        output_tokens=token_count(counts.get("completion_tokens")),
        cached_input_tokens=token_count(object_of(counts.get("prompt_tokens_details")).get("cached_tokens")),
        reasoning_tokens=token_count(object_of(counts.get("completion_tokens_details")).get("reasoning_tokens")),
    )


def object_of(value: object) -> dict[str, Any]:
    """Return a JSON object; an empty one for what is none."""
    return value if isinstance(value, dict) else {}
