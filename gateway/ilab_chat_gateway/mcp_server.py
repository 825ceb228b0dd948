"""The Model Context Protocol at /mcp: the gateway's memory tools over streamable HTTP, without sessions of its own."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any, cast

from mcp.server.lowlevel import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp_types import (
    CallToolRequestParams,
    CallToolResult,
    ListToolsResult,
    PaginatedRequestParams,
    TextContent,
    Tool,
    ToolAnnotations,
)
from pydantic import ValidationError

from ilab_chat.errors import ChatError
from ilab_chat_gateway import problems
from ilab_chat_gateway.endpoints import backend_of
from ilab_chat_gateway.mcp_tools import BY_RPC, TOOLS, MemoryTool
from ilab_chat_gateway.problems import Problem
from ilab_chat_gateway.requests import metadata
from ilab_chat_gateway.versions import installed

if TYPE_CHECKING:
    from mcp.server.context import ServerRequestContext
    from starlette.requests import Request
    from starlette.types import Message, Receive, Scope, Send

PATH = "/mcp"
#: Looked up at import: it reads files, which would block the event loop.
VERSION = installed()
INSTRUCTIONS = "Long-term memory of users. Start a session first, recall before you answer, and save what should last."

#: Maximum number of faults that an answer names. A request of 57 KB can have 19,000, whose texts have 800 KB.
MOST_FAULTS = 8

#: Names of the contract's fields that the tools call otherwise.
RENAMED = {"page_size": "limit"}


class McpEndpoint:
    """The ASGI app of /mcp. `manager.run()` must be entered while it serves."""

    def __init__(self, max_body_bytes: int) -> None:
        server: Server[Any] = Server(
            "ilab-chat",
            version=VERSION,
            instructions=INSTRUCTIONS,
            on_list_tools=list_tools,
            on_call_tool=call_tool,
        )
        # Without sessions, any replica can answer a request. The gateway's own layers check hosts.
        self.manager = StreamableHTTPSessionManager(
            server, stateless=True, json_response=True, max_request_body_size=max_body_bytes
        )
        # Its warnings and tracebacks can quote requests.
        logging.getLogger("mcp").setLevel(logging.CRITICAL)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request.

        Refuse an array before it is parsed: the protocol has no batches, and the SDK checks each element for seconds.
        Read the whole body here, because the SDK would answer what `receive` raises by a status of its own.
        """
        parts = [await receive()]
        while parts[-1].get("more_body"):
            parts.append(await receive())
        if next(filter(None, (part.get("body", b"").lstrip() for part in parts)), b"").startswith(b"["):
            details = problems.problem(400, "INVALID_REQUEST", "the body must be one JSON-RPC message, not a batch")
            await problems.response(details)(scope, receive, send)
            return
        waiting = iter(parts)

        async def replayed() -> Message:
            return next(waiting, None) or await receive()

        await self.manager.handle_request(scope, replayed, send)


async def list_tools(_: ServerRequestContext[Any], __: PaginatedRequestParams | None) -> ListToolsResult:
    """Describe the tools."""
    return ListToolsResult(tools=[described(tool) for tool in TOOLS.values()])


async def call_tool(context: ServerRequestContext[Any], params: CallToolRequestParams) -> CallToolResult:
    """Call a tool with the credentials of the HTTP request. A failure is a result that the model can read."""
    tool = TOOLS.get(params.name)
    if tool is None:
        return failed(f"there is no such tool; the tools are {', '.join(TOOLS)}")
    request: Request = cast("Any", context.request)

    async def ask(rpc: str, message: Any) -> Any:
        return await backend_of(request).ask(BY_RPC[rpc], message, metadata(request))

    try:
        given = tool.request.model_validate(params.arguments or {})
        return succeeded(tool, await tool.run(ask, given))
    except ValidationError as error:
        return failed(of_validation(error))
    except Exception as error:  # noqa: BLE001 - like the routes: a defect is logged under an id
        return failed(of_failure(error))


def succeeded(tool: MemoryTool, value: Any) -> CallToolResult:
    """Return a result as text and as structured content. One that is not an object is in the member `result`."""
    result = tool.result.dump_python(value, mode="json")
    text = TextContent(type="text", text=json.dumps(result, ensure_ascii=False))
    return CallToolResult(content=[text], structured_content=result if tool.is_object else {"result": result})


def failed(text: str) -> CallToolResult:
    """Return a failure."""
    return CallToolResult(content=[TextContent(type="text", text=text)], is_error=True)


def of_validation(error: ValidationError) -> str:
    """Return the text of invalid arguments, of many the first. It quotes no value."""
    faults = error.errors(include_url=False, include_context=False, include_input=False)[:MOST_FAULTS]
    return "; ".join(f"{'.'.join(str(part)[:64] for part in each['loc'])}: {each['msg']}" for each in faults)


def of_failure(error: Exception) -> str:
    """Return the text of a failed call: the invalid fields, or reason and detail as in the problems of the routes."""
    violations = error.field_violations if isinstance(error, ChatError) else ()
    if isinstance(error, Problem):
        violations = error.violations
    if violations:
        return "; ".join(f"{RENAMED.get(each.field, each.field)}: {each.description}" for each in violations)
    details = problems.of_exception(error)
    return f"{details['reason']}: {details['detail']}"


def described(tool: MemoryTool) -> Tool:
    """Return the description of *tool*."""
    schema = tool.result.json_schema(mode="serialization")
    if not tool.is_object:
        definitions = schema.pop("$defs", {})
        schema = {"type": "object", "properties": {"result": schema}, "required": ["result"], "$defs": definitions}
    return Tool(
        name=tool.name,
        description=tool.description,
        input_schema=tool.request.model_json_schema(),
        output_schema=schema,
        annotations=ToolAnnotations(
            read_only_hint=tool.only_reads, destructive_hint=tool.destroys, open_world_hint=False
        ),
    )
