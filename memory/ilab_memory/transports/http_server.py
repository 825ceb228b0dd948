"""`ilab-memory serve`: the documented methods over HTTP, one POST route per method."""

import asyncio
import contextlib
import hmac
import json
import signal
import socket
from collections.abc import Callable, Iterator
from dataclasses import asdict
from http import HTTPStatus
from typing import Final

import uvicorn
from fastapi import FastAPI, Request, Security
from fastapi.exceptions import RequestValidationError
from fastapi.security import HTTPBearer
from pydantic import BaseModel
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ilab_memory.api import ILabMemory
from ilab_memory.core.errors import StorageError
from ilab_memory.limits import MAX_CONTENT_BYTES
from ilab_memory.transports.methods import METHODS, InvalidRequest, Method, Violation, call, violations_of

#: Maximum size of a body. JSON writes one byte of a text as up to six, so every valid request fits.
MAX_BODY_BYTES: Final = 6 * MAX_CONTENT_BYTES + 65_536
#: Maximum size of all bodies that are being received, and the time for one to arrive.
MOST_BODIES_BYTES: Final = 8 * MAX_BODY_BYTES
BODY_SECONDS: Final = 30.0

#: Host names of requests to a server without a token: a page of another site could point its name at this address.
LOOPBACK_NAMES: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})
OPEN_PATHS: Final = frozenset({"/livez", "/openapi.json"})
#: A request that is refused with one of these has a body that was not read to its end.
UNREAD_STATUSES: Final = frozenset({408, 413, 503})
PROBLEM: Final = "application/problem+json"


class Problem(BaseModel):
    """A failure, as RFC 9457 has it."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    field_violations: list[dict[str, str]] = []


def create_app(mem: ILabMemory, *, token: str = "") -> FastAPI:
    """Return the methods of *mem* as an ASGI app.

    Args:
        mem: The memory. The caller closes it.
        token: The token that each request must have. Empty: no token, and only requests to this machine's own names.
    """
    # Its documentation pages load scripts from other hosts.
    app = FastAPI(title="ilab-memory", version="0.1.0", docs_url=None, redoc_url=None)
    for method in METHODS.values():
        app.add_api_route(
            f"/{method.name}",
            _endpoint(mem, method),
            methods=["POST"],
            name=method.name,
            operation_id=method.name,
            description=method.description,
            response_model=method.returns,
            responses={code: {"model": Problem} for code in ("409", "415", "422", "4XX", "5XX")},
            dependencies=[Security(HTTPBearer(auto_error=False))] if token else [],
        )
    app.add_api_route("/livez", _livez, methods=["GET"], include_in_schema=False)
    for kind in (InvalidRequest, RequestValidationError, LookupError, StorageError, HTTPException, Exception):
        app.add_exception_handler(kind, _refuse)
    app.add_middleware(_LimitedBodies)
    app.add_middleware(_Guard, token=token)
    return app


def serve(mem: ILabMemory, listener: socket.socket, *, token: str = "") -> None:
    """Serve *mem* on *listener* until SIGTERM or SIGINT."""
    config = uvicorn.Config(
        create_app(mem, token=token), log_level="warning", access_log=False, server_header=False, proxy_headers=False
    )
    _Server(config).run(sockets=[listener])


class _Server(uvicorn.Server):
    """A server that returns after a signal. uvicorn's own version raises the signal again at the end."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        try:
            yield
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)


def _endpoint(mem: ILabMemory, method: Method) -> Callable[..., Response]:
    # Not a coroutine: FastAPI runs it on a thread, so the library never blocks the event loop.
    def endpoint(request: BaseModel) -> Response:
        result = call(mem, method, request)
        return Response(method.result.dump_json(result), media_type="application/json")

    endpoint.__annotations__["request"] = method.request
    return endpoint


async def _livez() -> Response:
    return Response("ok\n", media_type="text/plain")


async def _refuse(request: Request, error: Exception) -> Response:
    if isinstance(error, RequestValidationError) and _is_json(request):
        error = InvalidRequest(violations_of(error.errors(), skipped=1))
    match error:
        case InvalidRequest():
            return problem(422, str(error), error.violations)
        case RequestValidationError():
            return problem(415, "the Content-Type must be application/json")
        case LookupError():
            return problem(409, str(error.args[0] if error.args else error))
        case StorageError():
            return problem(503, str(error))
        case HTTPException():
            return problem(error.status_code, HTTPStatus(error.status_code).phrase.lower())
        case _:
            return problem(500, "internal error; the server's log has the cause")


def _is_json(request: Request) -> bool:
    """Whether the body is declared as JSON. FastAPI does not parse others, and asks for an object."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return kind.startswith("application/") and kind.removeprefix("application/").rpartition("+")[2] == "json"


def problem(status: int, detail: str, violations: tuple[Violation, ...] = ()) -> Response:
    """Return a failure as RFC 9457 has it."""
    details = Problem(
        title=HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        field_violations=[asdict(each) for each in violations],
    )
    headers = {"connection": "close"} if status in UNREAD_STATUSES else {}
    if status == HTTPStatus.UNAUTHORIZED:
        headers["www-authenticate"] = "Bearer"
    return Response(json.dumps(details.model_dump()), status, headers, PROBLEM)


class _Guard:
    """Refuses requests without the token. If no token is set, refuses those that name another host."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._expected = f"Bearer {token}".encode() if token else b""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = self._refusal(scope) if scope["type"] == "http" else None
        await (refusal or self._app)(scope, receive, send)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        if self._expected:
            given = headers.get("authorization", "").encode()
            scheme, _, value = given.partition(b" ")
            if scope["path"] in OPEN_PATHS or hmac.compare_digest(scheme.title() + b" " + value, self._expected):
                return None
            return problem(401, "the token is missing or wrong")
        host, colon, port = headers.get("host", "").rpartition(":")
        name = host if colon and port.isdigit() else headers.get("host", "")
        if name.lower() in LOOPBACK_NAMES:
            return None
        return problem(400, "the Host header must name this machine: localhost, 127.0.0.1 or [::1]")


class _LimitedBodies:
    """Refuses bodies that are too large, by their declared length or as soon as the limit is exceeded.

    The bodies of all requests share a limit too, and each has a time limit, so that slow ones do not fill the memory.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._left = MOST_BODIES_BYTES

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared = Headers(scope=scope).get("content-length", "0")
        if not declared.isdigit() or int(declared[:20]) > MAX_BODY_BYTES:
            await problem(413, f"the body exceeds {MAX_BODY_BYTES} bytes")(scope, receive, send)
            return
        taken = 0
        deadline: float | None = asyncio.get_running_loop().time() + BODY_SECONDS

        async def limited() -> Message:
            nonlocal taken, deadline
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError:
                raise HTTPException(408) from None
            size = len(message.get("body", b""))
            if taken + size > MAX_BODY_BYTES:
                raise HTTPException(413)
            if size > self._left:
                raise HTTPException(503)
            self._left -= size
            taken += size
            if not message.get("more_body", False):
                # Later calls wait for the client to leave.
                deadline = None
            return message

        try:
            await self._app(scope, limited, send)
        finally:
            self._left += taken
