"""The media types of the gateway that schemathesis does not know. test_openapi.py loads this module."""

from __future__ import annotations

import json
from typing import Any

import schemathesis


@schemathesis.serializer("application/x-ndjson")
def lines(_context: Any, value: Any) -> bytes:
    """Write an import as one line."""
    return json.dumps(value).encode() + b"\n"


@schemathesis.deserializer("application/x-ndjson")
def objects(_context: Any, response: Any) -> Any:
    """Read the first line of an export: its schema is that of a line."""
    first = response.content.splitlines()[:1]
    return json.loads(first[0]) if first else {}


@schemathesis.deserializer("text/event-stream")
def events(_context: Any, _response: Any) -> Any:
    """Read no event: test_chat.py of the gateway does."""
    return {}
