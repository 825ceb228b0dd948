"""A real gateway in front of a real server, both in this process, and a plain HTTP client for it."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import uvicorn
from fastapi import FastAPI

from ilab_chat_gateway.app import create_app
from ilab_chat_gateway.connection import Connection
from ilab_chat_gateway.settings import Settings


@dataclass(frozen=True)
class Answer:
    """An HTTP response."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.body.splitlines()]


class Client:
    """Sends requests to one gateway. `address` is HOST:PORT."""

    def __init__(self, address: str) -> None:
        self.address = address

    async def send(
        self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        return await asyncio.to_thread(self._send, method, path, body, headers or {})

    async def get(self, path: str, **headers: str) -> Answer:
        return await self.send("GET", path, headers=headers)

    async def post(self, path: str, body: object, **headers: str) -> Answer:
        return await self.send("POST", path, body, {name.replace("_", "-"): value for name, value in headers.items()})

    def _send(self, method: str, path: str, body: object, headers: Mapping[str, str]) -> Answer:
        connection = http.client.HTTPConnection(self.address, timeout=30)
        try:
            data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
            sent = {"content-type": "application/json"} if body is not None else {}
            connection.request(method, path, data, {**sent, **headers})
            response = connection.getresponse()
            return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        finally:
            connection.close()


def events(body: bytes) -> list[tuple[str, str, Any]]:
    """Return kind, id and data of each server-sent event, without comments."""
    found = []
    for block in body.decode().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n") if line and line[0] != ":")
        if fields:
            found.append((fields["event"], fields.get("id", ""), json.loads(fields["data"])))
    return found


@asynccontextmanager
async def gateway(target: str, **settings: Any) -> AsyncIterator[Client]:
    """Run a gateway for *target* on a free port."""
    async with running(create_app(Settings(target=target, **settings))) as client:
        yield client


@asynccontextmanager
async def running(app: FastAPI) -> AsyncIterator[Client]:
    """Run *app* on a free port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(
            app, http=Connection, lifespan="on", log_config=None, access_log=False, timeout_graceful_shutdown=5
        )
        server = uvicorn.Server(config)
        started = asyncio.Event()
        startup = server.startup

        async def startup_noted(sockets: list[socket.socket] | None = None) -> None:
            await startup(sockets)
            started.set()

        server.startup = startup_noted  # type: ignore[method-assign]
        task = asyncio.create_task(server._serve([listener]))
        await started.wait()
        host, port = listener.getsockname()[:2]
        try:
            yield Client(f"{host}:{port}")
        finally:
            server.should_exit = True
            await task
