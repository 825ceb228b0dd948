"""The parts of an API's error: codes, words, fields and waits, wherever APIs put them. Pure."""

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


#: Characters of an API's message that are looked at. More is a quoted prompt.
MESSAGE_CHARACTERS = 4096

#: Lists of what is wrong with a request.
LISTS = ("errors", "issues")

#: Where an error has another one inside it; a message may be JSON.
INNER = ("innererror", "inner_error", "provider_specific_fields", "errors", "message")

#: Errors inside errors that are looked at: gateways pass the error of the API behind them on as a text.
DEPTH = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorBody:
    """The parts of an error's body."""

    codes: tuple[str, ...]
    """Codes, types and statuses as they came, the innermost error's first."""
    message: str
    """All messages, up to MESSAGE_CHARACTERS."""
    params: tuple[str, ...]
    """Paths of fields, the innermost error's first."""
    errors: tuple[Mapping[str, Any], ...]
    """The error and those inside it, the innermost first."""

    @classmethod
    def of(cls, body: object) -> ErrorBody:
        """Return the parts of *body*: parsed JSON, or text, or None."""
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
        """The HTTP status that the body names, by number or by name; 0 if it names none."""
        numbers = (int(name) for name in self.names if re.fullmatch("[45][0-9][0-9]", name))
        by_name = (STATUS_OF_NAME[name] for name in self.names if name in STATUS_OF_NAME)
        return next(numbers, 0) or next(by_name, 0)

    @property
    def param(self) -> str:
        """The field of ours that a path leads to; empty if none does."""
        return next((name for param in self.params if (name := steps(param)[0]) in SENT), "")

    @property
    def field(self) -> str:
        """The field of ours that the error names, by a path or in words; empty if it names none."""
        if self.param:
            return self.param
        if any(name == "messages" and deeper for name, *deeper in map(steps, self.params)):
            # Its words may quote a message that talks of our fields.
            return ""
        if found := FIELD_WORDS.search(self.message):
            return next(name for name in found.groups() if name).lower()
        return next((name for name, words in OTHER_FIELD_WORDS.items() if words.search(self.message)), "")

    @property
    def is_about_value(self) -> bool:
        """Whether the error is about a value, not about a field being there at all."""
        if not FIELD_CODES.isdisjoint(self.names):
            return False
        return not VALUE_CODES.isdisjoint(self.names) or bool(VALUE_WORDS.search(self.message))


def steps(param: str) -> list[str]:
    """Return the steps of a path, the outermost first: in `messages[0].content` that is `messages`."""
    return re.split(r"[.\[]", param.removeprefix("body.").lstrip("$./"))


def errors_of(body: object) -> Iterator[Mapping[str, Any]]:
    """Yield the error of a body, and errors inside it, outermost first."""
    for _ in range(DEPTH):
        if isinstance(body, str):
            body = json_in(body)
        if isinstance(body, list):
            body = body[0] if body else None
        if not isinstance(body, dict):
            return
        inner = body.get("error")
        if isinstance(inner, str) and not isinstance(json_in(inner), dict):
            # In words, beside a status or a code.
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
    """Return the JSON object that *text* is, or that stands in it behind some words. None: neither."""
    start = text.find("{")
    if start < 0 or len(text) > DEPTH * MESSAGE_CHARACTERS:
        return None
    try:
        return json.JSONDecoder().raw_decode(text, start)[0]
    except (ValueError, RecursionError):
        return None


def listed(value: object) -> list[dict[str, Any]]:
    """Return the objects of a list; none for anything else."""
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def codes_in(error: Mapping[str, Any]) -> Iterator[str | int]:
    """Yield the codes of an error, and of the entries of a FastAPI `detail`."""
    for each in (error, *listed(error.get("detail"))):
        for name in ("code", "type", "status", "reason", "error_code"):
            code = each.get(name)
            if isinstance(code, str | int) and not isinstance(code, bool) and code != "":
                yield code


def messages_in(error: Mapping[str, Any]) -> Iterator[str]:
    """Yield the messages of an error. `detail` is FastAPI's: a text, or a list of what is wrong."""
    for name in ("message", "msg", "detail", "title", *LISTS):
        value = error.get(name)
        texts = value if isinstance(value, list) else [value]
        yield from (text for text in texts if isinstance(text, str))
        yield from (each[key] for each in listed(value) for key in ("msg", "message") if isinstance(each.get(key), str))


def params_in(error: Mapping[str, Any]) -> Iterator[str]:
    """Yield the fields that an error names, as paths."""
    if isinstance(error.get("param"), str):
        yield error["param"]
    for each in (each for name in ("detail", "message", *LISTS) for each in listed(error.get(name))):
        # Pydantic has `loc`, zod `path` and, of fields that it does not know, `keys`.
        location = each.get("loc") or each.get("path")
        if isinstance(location, list) and location:
            yield ".".join(str(step) for step in location if step != "body")
        keys = each.get("keys")
        yield from (key for key in keys if isinstance(key, str)) if isinstance(keys, list) else ()
