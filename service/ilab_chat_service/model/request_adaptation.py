"""Adapt requests to an API that rejects one of our fields. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ilab_chat_service.model.api_errors import OPTIONS
from ilab_chat_service.model.error_words import Kind
from ilab_chat_service.model.request import is_ours

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ilab_chat_service.model.error_classification import Refusal
    from ilab_chat_service.model.profiles import Profile, TokenLimit
    from ilab_chat_service.model.request import Shape
    from ilab_chat_service.values import Generation

OTHER_LIMIT: dict[TokenLimit, TokenLimit] = {
    "max_tokens": "max_completion_tokens",
    "max_completion_tokens": "max_tokens",
}


def shapes_after(refusal: Refusal, shape: Shape, profile: Profile, generation: Generation) -> Iterator[Shape]:
    """Yield shapes of the same request that avoid the field that *refusal* names, the most likely first.

    Yield nothing unless we added the field ourselves: options of the caller are never dropped.
    """
    if refusal.kind is Kind.SYSTEM_ROLE:
        if shape.system_role == "developer":
            yield replace(shape, system_role="system")
        yield replace(shape, system_role="user")
        return
    match refusal.field:
        case "stream_options":
            yield replace(shape, include_usage=False)
        case "stream":
            yield replace(shape, streaming=False)
        case "max_tokens" | "max_completion_tokens" if (
            refusal.field == shape.token_limit and not refusal.is_about_value
        ):
            yield replace(shape, token_limit=OTHER_LIMIT[shape.token_limit])
        case _:
            pass
    option = OPTIONS.get(refusal.field, "")
    # A cap limits costs, so it is never dropped. An invalid default value is for the operator to correct.
    is_cap = option == "max_output_tokens" and profile.most_output_tokens is not None
    if option and not is_cap and not refusal.is_about_value and is_ours(profile, shape, generation, option):
        yield replace(shape, without_defaults=shape.without_defaults | {option})
