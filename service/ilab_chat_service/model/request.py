"""Build the JSON of a request to a model's API. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from ilab_chat_service.values import ChatMessage, Generation, JsonObjectFormat, JsonSchemaFormat, TextFormat

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ilab_chat_service.model.profiles import Profile, SystemRole, TokenLimit
    from ilab_chat_service.values import ResponseFormat

#: Fields of a request that we set. A profile must not set them directly.
OURS = frozenset(
    """
    model messages stream stream_options max_tokens max_completion_tokens temperature top_p stop seed reasoning_effort
    response_format
    """.split()
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """The variable parts of a request, from the profile and from what the API has rejected so far."""

    token_limit: TokenLimit
    include_usage: bool
    streaming: bool
    system_role: SystemRole
    without_defaults: frozenset[str] = frozenset()
    """Defaults of the profile that the API rejects, by their names in the proto."""

    @classmethod
    def of(cls, profile: Profile) -> Shape:
        """Return the shape in the profile."""
        return cls(
            token_limit=profile.token_limit,
            include_usage=profile.include_usage,
            streaming=profile.streaming,
            system_role=profile.system_role,
        )


def request_body(profile: Profile, shape: Shape, messages: Sequence[ChatMessage], generation: Generation) -> bytes:
    """Return the JSON body of a request."""
    body: dict[str, Any] = {"model": profile.model, "messages": with_system_as(shape.system_role, messages)}
    if shape.streaming:
        body["stream"] = True
        if shape.include_usage:
            body["stream_options"] = {"include_usage": True}
    body |= options(profile, shape, generation)
    return msgspec.json.encode({**body, **profile.body} if profile.body else body)


def options(profile: Profile, shape: Shape, generation: Generation) -> dict[str, Any]:
    """Return the fields for the generation options of the caller and the profile."""

    def value(name: str) -> Any:
        if name in profile.drop:
            return None
        return getattr(profile.defaults if is_ours(profile, shape, generation, name) else generation, name)

    limit = value("max_output_tokens")
    if profile.most_output_tokens is not None and "max_output_tokens" not in shape.without_defaults:
        limit = min(limit or profile.most_output_tokens, profile.most_output_tokens)
    effort = value("reasoning_effort")
    response_format = value("response_format")
    given = {
        "temperature": value("temperature"),
        "top_p": value("top_p"),
        shape.token_limit: limit,
        "stop": value("stop_sequences") or None,
        "seed": value("seed"),
        "reasoning_effort": effort and effort.value,
        "response_format": response_format and format_field(response_format),
    }
    given.pop("none", None)
    return {name: each for name, each in given.items() if each is not None}


def format_field(requested: ResponseFormat) -> dict[str, Any]:
    """Return the `response_format` field.

    https://platform.openai.com/docs/guides/structured-outputs
    """
    match requested:
        case TextFormat():
            return {"type": "text"}
        case JsonObjectFormat():
            return {"type": "json_object"}
        case JsonSchemaFormat(name=name, schema=schema, strict=strict):
            described: dict[str, Any] = {"name": name, "schema": msgspec.Raw(schema.encode())}
            if strict is not None:
                described["strict"] = strict
            return {"type": "json_schema", "json_schema": described}


def with_system_as(role: SystemRole, messages: Sequence[ChatMessage]) -> Sequence[ChatMessage | dict[str, str]]:
    """Return *messages* with the system message, the first one, in another role."""
    if role == "system" or messages[0].role != "system":
        return messages
    system, *others = messages
    if role == "developer":
        return [{"role": role, "content": system.content}, *others]
    first, *rest = others
    return [ChatMessage("user", f"{system.content}\n\n{first.content}"), *rest]


def is_set(generation: Generation, option: str) -> bool:
    """Return whether *generation* sets an option, by its name in the proto."""
    return getattr(generation, option) not in {None, ()}


def is_ours(profile: Profile, shape: Shape, generation: Generation, option: str) -> bool:
    """Return whether an option comes from the profile, not from the caller."""
    if is_set(generation, option) or option in shape.without_defaults:
        return False
    capped = option == "max_output_tokens" and profile.most_output_tokens is not None
    return capped or is_set(profile.defaults, option)
