"""Build the JSON of a request to a model's API, and adapt it to an API that rejects one of our fields. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec

from ilab_chat_service.model.error_words import Kind
from ilab_chat_service.values import ChatMessage, Generation, JsonObjectFormat, JsonSchemaFormat, TextFormat

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ilab_chat_service.model.error_classification import Refusal
    from ilab_chat_service.model.profiles import Profile, SystemRole, TokenLimit
    from ilab_chat_service.values import ResponseFormat

#: Fields of a request that we set. A profile must not set them directly.
OURS = frozenset(
    """
    model messages stream stream_options max_tokens max_completion_tokens temperature top_p stop seed reasoning_effort
    response_format
    """.split()
)

#: Options of callers, by their names in APIs.
OPTIONS: Mapping[str, str] = {
    "temperature": "temperature",
    "top_p": "top_p",
    "max_tokens": "max_output_tokens",
    "max_completion_tokens": "max_output_tokens",
    "stop": "stop_sequences",
    "seed": "seed",
    "reasoning_effort": "reasoning_effort",
    "response_format": "response_format",
}

OTHER_LIMIT: Mapping[TokenLimit, TokenLimit] = {
    "max_tokens": "max_completion_tokens",
    "max_completion_tokens": "max_tokens",
}


def request_body(profile: Profile, messages: Sequence[ChatMessage], generation: Generation) -> bytes:
    """Return the JSON body of a request."""
    body: dict[str, Any] = {"model": profile.model, "messages": with_system_as(profile.system_role, messages)}
    if profile.streaming:
        body["stream"] = True
        if profile.include_usage:
            body["stream_options"] = {"include_usage": True}
    body |= options(profile, generation)
    return msgspec.json.encode({**body, **profile.body} if profile.body else body)


def options(profile: Profile, generation: Generation) -> dict[str, Any]:
    """Return the fields for the generation options of the caller and the profile."""

    def value(name: str) -> Any:
        if name in profile.drop:
            return None
        return getattr(profile.defaults if is_ours(profile, generation, name) else generation, name)

    limit = value("max_output_tokens")
    if profile.most_output_tokens is not None:
        limit = min(limit or profile.most_output_tokens, profile.most_output_tokens)
    effort = value("reasoning_effort")
    response_format = value("response_format")
    given = {
        "temperature": value("temperature"),
        "top_p": value("top_p"),
        profile.token_limit: limit,
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


def is_ours(profile: Profile, generation: Generation, option: str) -> bool:
    """Return whether an option comes from the profile, not from the caller."""
    if is_set(generation, option) or option in profile.without_defaults:
        return False
    capped = option == "max_output_tokens" and profile.most_output_tokens is not None
    return capped or is_set(profile.defaults, option)


def variants_after(refusal: Refusal, profile: Profile, generation: Generation) -> Iterator[Profile]:
    """Yield profiles whose requests avoid the field that *refusal* names, the most likely first.

    Yield nothing unless we added the field ourselves: options of the caller are never dropped.
    """
    if refusal.kind is Kind.SYSTEM_ROLE:
        if profile.system_role == "developer":
            yield replace(profile, system_role="system")
        yield replace(profile, system_role="user")
        return
    match refusal.field:
        case "stream_options":
            yield replace(profile, include_usage=False)
        case "stream":
            yield replace(profile, streaming=False)
        case "max_tokens" | "max_completion_tokens" if (
            refusal.field == profile.token_limit and not refusal.is_about_value
        ):
            yield replace(profile, token_limit=OTHER_LIMIT[profile.token_limit])
        case _:
            pass
    option = OPTIONS.get(refusal.field, "")
    # A cap limits costs, so it is never dropped. An invalid default value is for the operator to correct.
    is_cap = option == "max_output_tokens" and profile.most_output_tokens is not None
    if option and not is_cap and not refusal.is_about_value and is_ours(profile, generation, option):
        yield replace(profile, without_defaults=profile.without_defaults | {option})
