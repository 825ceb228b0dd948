"""`ilab-memory mcp`: the documented methods as tools of the Model Context Protocol, over standard input and output."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import anyio
import anyio.to_thread
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from mcp.shared.message import SessionMessage
from mcp_types import (
    PARSE_ERROR,
    CallToolRequestParams,
    CallToolResult,
    ErrorData,
    JSONRPCError,
    JSONRPCNotification,
    JSONRPCRequest,
    JSONRPCResponse,
    ListToolsResult,
    PaginatedRequestParams,
    TextContent,
    Tool,
    ToolAnnotations,
)
from pydantic import ValidationError

from ilab_memory.api import ILabMemory
from ilab_memory.cli import installed
from ilab_memory.core.errors import StorageError
from ilab_memory.transports.methods import METHODS, Method, call, parse

#: Looked up at import: it reads files, which would block the event loop.
VERSION: Final = installed()

#: Time for the last answers when the input has ended.
LAST_ANSWERS_SECONDS: Final = 60.0

INSTRUCTIONS = "Long-term memory of users. Start a session first, search before you answer, and save what should last."


def create_server(mem: ILabMemory) -> Server[Any]:
    """Return an MCP server with one tool per documented method. The caller closes *mem*."""

    async def list_tools(_: ServerRequestContext[Any], __: PaginatedRequestParams | None) -> ListToolsResult:
        return ListToolsResult(tools=[tool(method) for method in METHODS.values()])

    async def call_tool(_: ServerRequestContext[Any], params: CallToolRequestParams) -> CallToolResult:
        method = METHODS.get(params.name)
        if method is None:
            return failed(f"there is no such tool; the tools are {', '.join(METHODS)}")
        # The library blocks. A call that has begun is completed even if the client leaves.
        return await anyio.to_thread.run_sync(_answer, mem, method, params.arguments or {})

    return Server(
        "ilab-memory",
        version=VERSION,
        instructions=INSTRUCTIONS,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
    )


def serve_stdio(mem: ILabMemory) -> None:
    """Serve *mem* on standard input and output until the input ends and every request is answered."""

    async def serve() -> None:
        server = create_server(mem)
        async with stdio_server() as (incoming, outgoing), answering_all(incoming, outgoing) as (requests, answers):
            await server.run(requests, answers, server.create_initialization_options())

    anyio.run(serve)


@asynccontextmanager
async def answering_all(incoming: Any, outgoing: Any) -> AsyncIterator[tuple[Any, Any]]:
    """Yield streams for a server that end when *incoming* has ended and every request in it is answered.

    The SDK's server cancels what runs when its input ends: `printf ... | ilab-memory mcp` would print no last answer.
    """
    to_server, requests = anyio.create_memory_object_stream[SessionMessage | Exception](0)
    answers, from_server = anyio.create_memory_object_stream[SessionMessage](0)
    refusals = answers.clone()
    unanswered: set[str | int] = set()
    progress = anyio.Condition()

    async def read() -> None:
        async with to_server, incoming, refusals:
            async for received in incoming:
                if isinstance(received, Exception):
                    await refusals.send(SessionMessage(refused(received)))
                    continue
                async with progress:
                    note_request(unanswered, received)
                    progress.notify_all()
                await to_server.send(received)
            with anyio.move_on_after(LAST_ANSWERS_SECONDS):
                async with progress:
                    while unanswered:
                        await progress.wait()

    async def write() -> None:
        async with from_server, outgoing:
            async for sent in from_server:
                await outgoing.send(sent)
                if isinstance(sent.message, JSONRPCResponse | JSONRPCError) and sent.message.id is not None:
                    async with progress:
                        unanswered.discard(sent.message.id)
                        progress.notify_all()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read)
        tasks.start_soon(write)
        yield requests, answers


def note_request(unanswered: set[str | int], received: SessionMessage) -> None:
    """Add a request to those that are unanswered, or take one away that the client has cancelled."""
    match received.message:
        case JSONRPCRequest(id=request_id):
            unanswered.add(request_id)
        case JSONRPCNotification(method="notifications/cancelled", params={"requestId": int() | str() as request_id}):
            unanswered.discard(request_id)


def refused(error: Exception) -> JSONRPCError:
    """Return the answer to a line that is not a message: with the id of a request, if it has one.

    Half a surrogate pair is such a line, and clients in JavaScript send it.
    """
    problem = ErrorData(code=PARSE_ERROR, message="the line is not a valid message of JSON-RPC")
    try:
        line = error.errors()[0]["input"] if isinstance(error, ValidationError) else ""
        read = json.loads(line)
        request_id = read["id"] if isinstance(read, dict) and "method" in read else None
    except (ValueError, KeyError, TypeError, RecursionError):
        request_id = None
    is_id = isinstance(request_id, int | str) and not isinstance(request_id, bool) and is_unicode(str(request_id))
    return JSONRPCError(jsonrpc="2.0", id=request_id if is_id else None, error=problem)


def is_unicode(text: str) -> bool:
    """Return whether *text* has no half of a surrogate pair."""
    return not any("\ud800" <= each <= "\udfff" for each in text)


def tool(method: Method) -> Tool:
    """Return the description of *method* as a tool. A result that is not an object is in the member `result`."""
    schema = method.result_schema
    if not method.is_object:
        definitions = schema.pop("$defs", {})
        schema = {"type": "object", "properties": {"result": schema}, "required": ["result"], "$defs": definitions}
    return Tool(
        name=method.name,
        description=method.description,
        input_schema=method.request.model_json_schema(),
        output_schema=schema,
        annotations=ToolAnnotations(read_only_hint=method.only_reads, destructive_hint=False, open_world_hint=False),
    )


def failed(text: str) -> CallToolResult:
    """Return a failure that the model can read."""
    return CallToolResult(content=[TextContent(type="text", text=text)], is_error=True)


def _answer(mem: ILabMemory, method: Method, arguments: dict[str, Any]) -> CallToolResult:
    try:
        result = method.result.dump_python(call(mem, method, parse(method, arguments)), mode="json")
    except (ValueError, LookupError, StorageError) as error:
        return failed(str(error.args[0]))
    text = json.dumps(result, ensure_ascii=False)
    return CallToolResult(
        content=[TextContent(type="text", text=text)],
        structured_content=result if method.is_object else {"result": result},
    )
