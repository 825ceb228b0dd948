"""Extract codes, messages and fields from an API's error, wherever an API puts them. Pure."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ilab_chat_service.model.error_words import (
    FIELD_CODES,
    FIELD_WORDS,
    OTHER_FIELD_WORDS,
    SENT,
    STATUS_OF_NAME,
    VALUE_CODES,
    VALUE_WORDS,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


#: Maximum length of an API's message that is examined. Longer ones quote the prompt.
MESSAGE_CHARACTERS = 2048

#: Fields with lists of validation errors.
LISTS = ("errors", "issues")

#: Fields that may contain a nested error. A message may be JSON.
INNER = ("innererror", "inner_error", "provider_specific_fields", "errors", "message")

#: Maximum depth of nested errors. Gateways forward the error of another API as a string.
DEPTH = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorBody:
    """The parts of an error's body."""

    codes: tuple[str, ...]
    """Codes, types and statuses, unchanged, those of the innermost error first."""
    message: str
    """All messages, up to MESSAGE_CHARACTERS."""
    params: tuple[str, ...]
    """Paths of fields, those of the innermost error first."""
    errors: tuple[Mapping[str, Any], ...]
    """The error and nested errors, the innermost first."""

    @classmethod
    def of(cls, body: object) -> ErrorBody:
        """Return the parts of *body*, which is parsed JSON, a string or None."""
        errors = tuple(errors_of(body))[::-1]
        message = body if isinstance(body, str) else " ".join(text for each in errors for text in messages_in(each))
        return cls(
            codes=tuple(str(code) for each in errors for code in codes_in(each)),
            message=message[:MESSAGE_CHARACTERS],
            params=tuple(param for each in errors for param in params_in(each)),
            errors=errors,
        )

    @property
    def names(self) -> tuple[str, ...]:
        """The codes in lower case."""
        return tuple(code.lower() for code in self.codes)

    @property
    def status(self) -> int:
        """The HTTP status in the body, by number or name. 0: it contains no status."""
        numbers = (int(name) for name in self.names if re.fullmatch("[45][0-9][0-9]", name))
        by_name = (STATUS_OF_NAME[name] for name in self.names if name in STATUS_OF_NAME)
        return next(numbers, 0) or next(by_name, 0)

    @property
    def param(self) -> str:
        """The field of our request that a path names. Empty: no path names one."""
        return next((name for param in self.params if (name := steps(param)[0]) in SENT), "")

    @property
    def field(self) -> str:
        """The field of our request that the error names, in a path or in its message. Empty: it names none."""
        if self.param:
            return self.param
        if any(name == "messages" and deeper for name, *deeper in map(steps, self.params)):
            # The error may quote a user's message that mentions one of our fields.
            return ""
        if found := FIELD_WORDS.search(self.message):
            return next(name for name in found.groups() if name).lower()
        return next((name for name, words in OTHER_FIELD_WORDS.items() if words.search(self.message)), "")

    @property
    def is_about_value(self) -> bool:
        """Whether the error is about the value of a field, not about its presence."""
        if not FIELD_CODES.isdisjoint(self.names):
            return False
        return not VALUE_CODES.isdisjoint(self.names) or bool(VALUE_WORDS.search(self.message))


def steps(param: str) -> list[str]:
    """Return the steps of a path, the outermost first, such as `messages` in `messages[0].content`."""
    return re.split(r"[.\[]", param.removeprefix("body.").lstrip("$./"))


def errors_of(body: object) -> Iterator[Mapping[str, Any]]:
    """Yield the error in a body and its nested errors, the outermost first."""
    for _ in range(DEPTH):
        if isinstance(body, str):
            body = json_in(body)
        if isinstance(body, list):
            body = body[0] if body else None
        if not isinstance(body, dict):
            return
        inner = body.get("error")
        if isinstance(inner, str) and not isinstance(json_in(inner), dict):
            # A plain message next to a status or a code.
            yield {**body, "message": f"{inner} {body.get('message') or ''}"}
            return
        if inner:
            yield {name: value for name, value in body.items() if name != "error"}
            body = inner
            continue
        yield body
        metadata = body.get("metadata")
        raw = metadata.get("raw") if isinstance(metadata, dict) else None
        body = raw or next((body[name] for name in INNER if body.get(name)), None)


def json_in(text: str) -> object:
    """Return the first JSON object in *text*, or None."""
    start = text.find("{")
    if start < 0 or len(text) > DEPTH * MESSAGE_CHARACTERS:
        return None
    try:
        return json.JSONDecoder().raw_decode(text, start)[0]
    except (ValueError, RecursionError):
        return None


def listed(value: object) -> list[dict[str, Any]]:
    """Return the objects in a list. Empty: *value* is not a list."""
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def codes_in(error: Mapping[str, Any]) -> Iterator[str | int]:
    """Yield the codes of an error, and of the entries of a FastAPI `detail`."""
    for each in (error, *listed(error.get("detail"))):
        for name in ("code", "type", "status", "reason", "error_code"):
            code = each.get(name)
            if isinstance(code, str | int) and not isinstance(code, bool) and code != "":
                yield code


def messages_in(error: Mapping[str, Any]) -> Iterator[str]:
    """Yield the messages of an error. `detail` is FastAPI's: a string, or a list of validation errors."""
    for name in ("message", "msg", "detail", "title", *LISTS):
        value = error.get(name)
        texts = value if isinstance(value, list) else [value]
        yield from (text for text in texts if isinstance(text, str))
        yield from (each[key] for each in listed(value) for key in ("msg", "message") if isinstance(each.get(key), str))


def params_in(error: Mapping[str, Any]) -> Iterator[str]:
    """Yield the paths of fields that an error names."""
    if isinstance(error.get("param"), str):
        yield error["param"]
    for each in (each for name in ("detail", "message", *LISTS) for each in listed(error.get(name))):
        # Pydantic uses `loc`; zod uses `path`, and `keys` for unknown fields.
        location = each.get("loc") or each.get("path")
        if isinstance(location, list) and location:
            yield ".".join(str(step) for step in location if step != "body")
        keys = each.get("keys")
        yield from (key for key in keys if isinstance(key, str)) if isinstance(keys, list) else ()
