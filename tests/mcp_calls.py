"""Calls of memory tools through the official SDK's client."""

from __future__ import annotations

from typing import Any

from mcp import Client
from mcp_types import TextContent


async def call(client: Client, name: str, /, **arguments: Any) -> Any:
    """Return the structured content of a tool call."""
    answer = await client.call_tool(name, arguments)
    assert not answer.is_error, answer.content
    return answer.structured_content


async def fault(client: Client, name: str, /, **arguments: Any) -> str:
    """Return the text of a tool call that fails."""
    answer = await client.call_tool(name, arguments)
    [content] = answer.content
    assert answer.is_error
    assert isinstance(content, TextContent)
    return content.text
