"""Find the line of a TOML document that sets a key, for error messages. Pure."""

from __future__ import annotations

import json
import re
import tomllib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")

#: End of a tomllib error message.
LOCATION = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")


def syntax_fault(text: str, error: tomllib.TOMLDecodeError) -> str:
    """Return the line number and the message of a syntax error."""
    message = str(error)
    location = LOCATION.search(message)
    last = len(text.rstrip("\n").split("\n"))
    line = location[1] if location and location[1] else last
    return f"line {line}: not valid TOML: {LOCATION.sub('', message)}"


def path_text(path: Sequence[str]) -> str:
    """Return *path* as a dotted key, quoted where TOML requires it."""
    return ".".join(key if BARE_KEY.fullmatch(key) else json.dumps(key) for key in path)


def line_of(text: str, path: Sequence[str]) -> int:
    """Return the line of a valid document that sets the key at *path*, or of its nearest table if it is not set.

    Every header and every key-value pair is a valid document, so the parser finds the end of each.
    """
    table: tuple[str, ...] = ()
    best_depth, best_line = 0, 1
    statement, first_line = "", 1
    for number, line in enumerate(text.split("\n"), 1):
        statement += f"{line}\n"
        try:
            parsed = tomllib.loads(statement)
        except tomllib.TOMLDecodeError:
            continue
        if statement.lstrip().startswith("["):
            table = table_of(parsed)
            depth = depth_of(parsed, path)
        else:
            inside = depth_of(parsed, path[len(table) :]) if tuple(path[: len(table)]) == table else 0
            depth = len(table) + inside if inside else 0
        if depth > best_depth:
            best_depth, best_line = depth, first_line
        statement, first_line = "", number + 1
    return best_line


def table_of(header: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the keys of a parsed table header."""
    keys: list[str] = []
    while header:
        [(key, value)] = header.items()
        keys.append(key)
        header = value[0] if isinstance(value, list) else value
    return tuple(keys)


def depth_of(document: object, path: Sequence[str]) -> int:
    """Return the number of leading keys of *path* that exist in *document*."""
    for depth, key in enumerate(path):
        if not isinstance(document, dict) or key not in document:
            return depth
        document = document[key]
    return len(path)
