"""Validation of arguments. Pure. Each error names the argument and never quotes it."""

from collections.abc import Collection
from datetime import datetime, tzinfo

from ilab_memory.limits import MAX_CONTENT_BYTES, MAX_CONVERSATION_ID, MAX_USER_ID


def check_user_id(user_id: str) -> None:
    """Raise ValueError unless *user_id* is valid."""
    check_text("user_id", user_id, MAX_USER_ID)


def check_conversation_id(conversation_id: str) -> None:
    """Raise ValueError unless *conversation_id* is empty or valid."""
    if conversation_id != "":
        check_text("conversation_id", conversation_id, MAX_CONVERSATION_ID)


def check_not_blank(name: str, text: str) -> None:
    """Raise ValueError unless *text*, the argument *name*, is text of any length that is not blank."""
    if not isinstance(text, str):
        raise ValueError(f"{name} must be a string")  # noqa: TRY004 - the contract promises ValueError for a bad argument
    if not text.strip():
        raise ValueError(f"{name} must not be blank")
    _check_encoding(name, text)


def check_content(name: str, content: str, *, more: int = 0) -> None:
    """Raise ValueError unless *content*, the argument *name*, is valid. *more*: bytes allowed over the limit."""
    check_not_blank(name, content)
    if len(content.encode()) > MAX_CONTENT_BYTES + more:
        raise ValueError(f"{name} must be at most {MAX_CONTENT_BYTES} bytes of UTF-8")


def check_text(name: str, text: str, longest: int, *, more: int = 0) -> None:
    """Raise ValueError unless *text*, the argument *name*, is not blank and has at most *longest* characters.

    *more*: characters that are allowed over the limit.
    """
    check_not_blank(name, text)
    if len(text) > longest + more:
        raise ValueError(f"{name} must be at most {longest} characters")


def check_pinned(name: str, pinned: object) -> None:
    """Raise ValueError unless *pinned*, the argument *name*, is a bool."""
    if not isinstance(pinned, bool):
        raise ValueError(f"{name} must be True or False")  # noqa: TRY004 - the contract promises ValueError


def check_time_zone(time_zone: object) -> None:
    """Raise ValueError unless *time_zone* is a time zone or None."""
    if time_zone is not None and not isinstance(time_zone, tzinfo):
        raise ValueError("time_zone must be a tzinfo or None")


def check_expire_time(name: str, expire_time: datetime | None) -> None:
    """Raise ValueError unless *expire_time*, the argument *name*, is a datetime with a time zone or None."""
    if expire_time is not None and (not isinstance(expire_time, datetime) or expire_time.tzinfo is None):
        raise ValueError(f"{name} must be a datetime with a time zone")


def check_observation_id(observation_id: int) -> None:
    """Raise ValueError unless *observation_id* is a positive integer."""
    if not isinstance(observation_id, int) or isinstance(observation_id, bool) or observation_id <= 0:
        raise ValueError("observation_id must be an integer greater than 0")


def check_limit(limit: int) -> None:
    """Raise ValueError unless *limit* is a positive integer."""
    if not isinstance(limit, int) or isinstance(limit, bool) or limit < 1:
        raise ValueError("limit must be an integer of at least 1")


def check_max_bytes(max_bytes: int) -> None:
    """Raise ValueError unless *max_bytes* is an integer from 0 to 2**63 - 1."""
    if not isinstance(max_bytes, int) or isinstance(max_bytes, bool) or not 0 <= max_bytes < 2**63:
        raise ValueError("max_bytes must be an integer from 0 to 2**63 - 1")


def check_types(name: str, types: Collection[str] | None) -> None:
    """Raise ValueError unless *types*, the argument *name*, is a collection of valid strings or None."""
    if types is None:
        return
    # A string is a collection of strings too.
    if isinstance(types, str) or not isinstance(types, Collection) or not all(isinstance(kind, str) for kind in types):
        raise ValueError(f"{name} must be a list of strings")
    for kind in types:
        _check_encoding(name, kind)


def _check_encoding(name: str, text: str) -> None:
    if "\0" in text:
        raise ValueError(f"{name} must not contain NUL")
    if not text.isascii() and not _is_encodable(text):
        raise ValueError(f"{name} must not contain lone surrogates")


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
