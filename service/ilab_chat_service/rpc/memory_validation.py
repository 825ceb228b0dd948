"""Check requests of MemoryService against the limits of the contract."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import UTC
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from ilab_chat_service.limits import (
    CONVERSATION_ID_CHARACTERS,
    MASK_PATHS,
    MASK_VIOLATIONS,
    MEMORY_TYPES,
    PAGE_SIZE,
    PAGE_SIZE_MOST,
    REQUEST_ID_CHARACTERS,
    TITLE_CHARACTERS,
    USER_ID_CHARACTERS,
)
from ilab_chat_service.rpc.errors import InvalidFields
from ilab_chat_service.rpc.text_validation import ascii_violations, text_violations
from ilab_chat_service.values import RESERVED_KEYS
from ilab_memory.core.config import FACT_TYPES
from ilab_memory.core.work import SUMMARY_KEY
from ilab_memory.redaction import strip_private

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from ilab_chat.v1 import memory_pb2
    from ilab_chat_service.rpc.errors import Violation

#: Fields of an observation that can be updated.
UPDATABLE = ("content", "title", "type", "pinned", "expire_time")

#: Arguments of the library that have other names than the fields they come from.
FIELDS: Mapping[str, str] = {
    "before": "page_token",
    "limit": "page_size",
    "created_at": "create_time",
    "updated_at": "update_time",
    "started_at": "start_time",
    "ended_at": "end_time",
    "last_activity_at": "last_activity_time",
}


def page_size(requested: int, *, default: int = PAGE_SIZE, most: int = PAGE_SIZE_MOST) -> int:
    """Return the maximum number of items of a page: *default* if 0 is requested.

    Raises:
        InvalidFields: *requested* is negative or above *most*.
    """
    if not 0 <= requested <= most:
        raise InvalidFields([("page_size", f"must be between 0 and {most}")])
    return requested or default


def check_identifiers(request: Any) -> None:
    """Check the identifiers and lists of types that a request of MemoryService has.

    Raises:
        InvalidFields: one of them breaks a limit.
    """
    fields = request.DESCRIPTOR.fields_by_name
    violations = list(text_violations("user_id", request.user_id, USER_ID_CHARACTERS))
    # Before checks that take time per item: a request may contain hundreds of thousands of items.
    violations += [
        (name, f"must have at most {MEMORY_TYPES} types")
        for name in ("types", "types_exclude")
        if name in fields and len(getattr(request, name)) > MEMORY_TYPES
    ]
    for name, most in (("request_id", REQUEST_ID_CHARACTERS), ("conversation_id", CONVERSATION_ID_CHARACTERS)):
        if name in fields:
            violations += ascii_violations(name, getattr(request, name), most)
    if violations:
        raise InvalidFields(violations)


def fact_types(request: memory_pb2.ListFactsRequest) -> list[str]:
    """Return the types by which a list of facts is filtered, sorted.

    Raises:
        InvalidFields: one of them is not a type of facts.
    """
    violations = [
        (f"types[{index}]", f"must be one of {', '.join(FACT_TYPES)}")
        for index, kind in enumerate(request.types)
        if kind not in FACT_TYPES
    ]
    if violations:
        raise InvalidFields(violations[:1])
    return sorted(set(request.types))


def expire_time(
    request: memory_pb2.SaveObservationRequest | memory_pb2.UpdateObservationRequest,
) -> datetime | None:
    """Return the time in expire_time, None if it is not set.

    Raises:
        InvalidFields: it is out of range.
    """
    if not request.HasField("expire_time"):
        return None
    try:
        return request.expire_time.ToDatetime(UTC)
    except (ValueError, OverflowError):
        raise InvalidFields([("expire_time", "must be between the years 1 and 9999")]) from None


def list_types(request: memory_pb2.ListObservationsRequest) -> list[str]:
    """Return the types by which a list is filtered, sorted.

    Raises:
        InvalidFields: one of them is blank or too long.
    """
    named = [violation for kind in request.types for violation in text_violations("types", kind, TITLE_CHARACTERS)]
    if named:
        raise InvalidFields(named[:1])
    return sorted(set(request.types))


def update_of(request: memory_pb2.UpdateObservationRequest) -> dict[str, Any]:
    """Return the new values of an observation's fields, by name.

    Raises:
        InvalidFields: the mask has too many paths or a path that cannot be updated, or no field is given.
    """
    if len(request.update_mask.paths) > MASK_PATHS:
        raise InvalidFields([("update_mask.paths", f"must have at most {MASK_PATHS} paths")])
    paths = list(request.update_mask.paths) or [name for name in UPDATABLE if is_set(request, name)]
    if "*" in paths:
        paths = list(UPDATABLE)
    allowed = ", ".join(UPDATABLE)
    violations = [
        (f"update_mask.paths[{index}]", f"must be one of {allowed}")
        for index, path in enumerate(paths)
        if path not in UPDATABLE
    ]
    if violations:
        raise InvalidFields(violations[:MASK_VIOLATIONS])
    if not paths:
        raise InvalidFields([("update_mask", f"must name at least one of {allowed}, or the request must set one")])
    return {path: expire_time(request) if path == "expire_time" else getattr(request, path) for path in paths}


def is_set(request: memory_pb2.UpdateObservationRequest, name: str) -> bool:
    """Return whether a field of *request* differs from its default."""
    return request.HasField("expire_time") if name == "expire_time" else bool(getattr(request, name))


def caller_key(request: memory_pb2.SaveObservationRequest) -> str | None:
    """Return the topic_key of a caller's observation, None if it has none.

    Raises:
        InvalidFields: the key is reserved for turns and summaries.
    """
    if not request.HasField("topic_key"):
        return None
    reserved = (*RESERVED_KEYS, SUMMARY_KEY)
    if strip_private(request.topic_key).startswith(reserved):
        raise InvalidFields(
            [("topic_key", f"must not begin with {', '.join(reserved)}: reserved for turns and summaries")]
        )
    return request.topic_key


def is_reserved(topic_key: str) -> bool:
    """Return whether *topic_key*, as the library stores it (redacted), is reserved for stored turns."""
    return strip_private(topic_key).startswith(RESERVED_KEYS)


@contextmanager
def library_limits() -> Iterator[None]:
    """Convert the library's ValueError to InvalidFields, so that only the library defines the limits of memory."""
    try:
        yield
    except ValueError as error:
        raise InvalidFields([library_violation(error)]) from error


def library_violation(error: ValueError) -> Violation:
    """Return the field that caused the library's *error*, and a description.

    The library's own errors begin with the argument's name and quote nothing. Pydantic's errors quote the value.
    """
    if isinstance(error, ValidationError):
        [first, *_] = error.errors(include_url=False, include_context=False, include_input=False)
        field, description = ".".join(map(str, first["loc"])), "must have a valid value"
    else:
        field, _, description = str(error).partition(" ")
    return FIELDS.get(field, field), description
