"""OPENAI_BASE_URL: which host and path is called, over real sockets, and which URLs are refused at start.

A proxy that the environment names sees the whole URL of a request, so that names of hosts need no DNS.
"""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import grpc.aio
import pytest

from ilab_chat.v1 import chat_pb2, chat_pb2_grpc
from ilab_chat_service.server import serving
from ilab_chat_service.settings import Settings
from processes import run_server
from upstream import Request, Upstream

PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


@pytest.fixture
def proxy(upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> Upstream:
    """The fake upstream as the proxy of the environment: the path of its requests is a whole URL."""
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{upstream.server_port}")
    return upstream


async def called(settings: Settings, upstream: Upstream, url: str, **more: Any) -> Request:
    """Make one call with a base URL, and return what the upstream was asked."""
    async with (
        serving(replace(settings, openai_base_url=url, **more)) as address,
        grpc.aio.insecure_channel(address) as channel,
    ):
        stub: chat_pb2_grpc.ChatServiceAsyncStub = chat_pb2_grpc.ChatServiceStub(channel)
        response = await stub.Chat(chat_pb2.ChatRequest(user_id="alice", message="Hi."))
    assert response.reply == "Hello there."
    [request] = upstream.requests
    return request


def header(request: Request, name: str) -> str:
    return {key.lower(): value for key, value in request.headers.items()}.get(name, "")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://api.example", "http://api.example/chat/completions"),
        ("http://api.example/", "http://api.example/chat/completions"),
        ("http://api.example//", "http://api.example/chat/completions"),
        ("http://api.example:8080", "http://api.example:8080/chat/completions"),
        ("http://api.example:8080/", "http://api.example:8080/chat/completions"),
        ("http://api.example/v1", "http://api.example/v1/chat/completions"),
        ("http://api.example/v1/", "http://api.example/v1/chat/completions"),
        ("http://api.example/v1//", "http://api.example/v1/chat/completions"),
        ("http://api.example/v1beta/openai/", "http://api.example/v1beta/openai/chat/completions"),
        ("http://api.example/openai/v1", "http://api.example/openai/v1/chat/completions"),
        ("http://api.example/chat", "http://api.example/chat/chat/completions"),
        ("http://api.example/a%20b/v1", "http://api.example/a%20b/v1/chat/completions"),
        ("http://api.example/a%2Fb/v1", "http://api.example/a%2Fb/v1/chat/completions"),
        (
            "http://api.example/openai/deployments/gpt?api-version=X",
            "http://api.example/openai/deployments/gpt/chat/completions?api-version=X",
        ),
        (
            "http://api.example/openai/deployments/gpt/?api-version=2024-10-21&a=b%20c",
            "http://api.example/openai/deployments/gpt/chat/completions?api-version=2024-10-21&a=b%20c",
        ),
        ("http://api.example?api-version=X", "http://api.example/chat/completions?api-version=X"),
        ("http://api.example/?api-version=X", "http://api.example/chat/completions?api-version=X"),
        ("http://api.example/v1?", "http://api.example/v1/chat/completions"),
        ("http://192.0.2.7/v1", "http://192.0.2.7/v1/chat/completions"),
        ("http://[::1]:8080/v1", "http://[::1]:8080/v1/chat/completions"),
        ("http://[2001:db8::7]", "http://[2001:db8::7]/chat/completions"),
        ("http://a_container:8080/v1", "http://a_container:8080/v1/chat/completions"),
        ("http://api.example.:8080/v1", "http://api.example.:8080/v1/chat/completions"),
        ("http://chat/v1", "http://chat/v1/chat/completions"),
    ],
)
async def test_host_path_and_query_that_are_called(
    settings: Settings, proxy: Upstream, url: str, expected: str
) -> None:
    request = await called(settings, proxy, url)
    assert request.path == expected
    assert header(request, "host") == urlsplit(expected).netloc


@pytest.mark.parametrize(
    "url", ["http://API.Example/v1", "HTTP://api.example/v1", "http://api.example:80/v1", "http://API.EXAMPLE:80/v1/"]
)
async def test_case_and_default_port_make_no_other_host(settings: Settings, proxy: Upstream, url: str) -> None:
    request = await called(settings, proxy, url)
    path = urlsplit(request.path)
    assert (path.scheme, path.hostname, path.port or 80) == ("http", "api.example", 80)
    assert path.path == "/v1/chat/completions"
    assert header(request, "host").lower().removesuffix(":80") == "api.example"


@pytest.mark.parametrize(
    ("url", "credentials"),
    [
        ("http://user:word@api.example/v1", "user:word"),
        ("http://user:word@api.example:8080", "user:word"),
        ("http://user@api.example/v1", "user:"),
        ("http://user:w%40rd%3A%2F@api.example/v1", "user:w@rd:/"),
    ],
)
async def test_credentials_in_the_url_are_sent_as_basic_authentication(
    settings: Settings, proxy: Upstream, url: str, credentials: str
) -> None:
    request = await called(settings, proxy, url)
    path = urlsplit(request.path)
    assert (path.hostname, path.username) == ("api.example", None)
    assert path.path == ("/v1/chat/completions" if "/v1" in url else "/chat/completions")
    assert "@" not in request.path
    assert header(request, "authorization") == f"Basic {base64.b64encode(credentials.encode()).decode()}"


def test_credentials_in_the_url_together_with_a_key_are_refused_at_start(tmp_path: Path) -> None:
    url = "http://user:hunter2@api.example/v1"
    ended = refused(tmp_path, url, OPENAI_API_KEY="sk-secret")
    assert "OPENAI_API_KEY" in ended
    assert "hunter2" not in ended
    assert "sk-secret" not in ended


def refused(folder: Path, url: str, **settings: str) -> str:
    """Start a server with a base URL, which must refuse it. Return what it says."""
    ended = run_server(
        *("--address", "127.0.0.1:0"), OPENAI_BASE_URL=url, ILAB_MEMORY_DB_PATH=str(folder / "m.db"), **settings
    )
    assert ended.returncode == 2, ended.stderr
    assert "OPENAI_BASE_URL" in ended.stderr
    assert ended.stderr.count("\n") == 1
    return ended.stderr


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("", "/chat/completions"),
        ("/", "/chat/completions"),
        ("/v1", "/v1/chat/completions"),
        ("/v1/?a=b", "/v1/chat/completions?a=b"),
    ],
)
async def test_port_is_kept_without_a_proxy(settings: Settings, upstream: Upstream, path: str, expected: str) -> None:
    url = f"http://127.0.0.1:{upstream.server_port}"
    request = await called(settings, upstream, f"{url}{path}")
    assert request.path == expected
    assert header(request, "host") == f"127.0.0.1:{upstream.server_port}"


@asynccontextmanager
async def refusing_proxy(lines: list[str]) -> AsyncIterator[int]:
    """Run a proxy that notes the first line of each request and refuses it. Yield its port."""

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines.append((await reader.readline()).decode().strip())
        writer.write(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("https://api.example", "api.example:443"),
        ("https://api.example/", "api.example:443"),
        ("https://api.example:8443", "api.example:8443"),
        ("https://user:word@api.example/v1?a=b", "api.example:443"),
        ("https://API.example/v1", "api.example:443"),
    ],
)
async def test_host_that_is_called_by_https(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, url: str, place: str
) -> None:
    lines: list[str] = []
    async with refusing_proxy(lines) as port:
        for name in PROXIES:
            monkeypatch.delenv(name, raising=False)
            monkeypatch.delenv(name.lower(), raising=False)
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{port}")
        given = replace(settings, openai_base_url=url)
        async with serving(given) as address, grpc.aio.insecure_channel(address) as channel:
            stub: chat_pb2_grpc.ChatServiceAsyncStub = chat_pb2_grpc.ChatServiceStub(channel)
            with pytest.raises(grpc.aio.AioRpcError):
                await stub.Chat(chat_pb2.ChatRequest(user_id="alice", message="Hi."))
    assert {line.lower() for line in lines} == {f"connect {place} http/1.1"}


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("http://h/v1/chat/completions", "http://h/v1"),
        ("http://h/v1/chat/completions/", "http://h/v1"),
        ("http://h:8080/chat/completions", "http://h:8080"),
        ("http://h/openai/deployments/gpt/chat/completions?api-version=X", "http://h/openai/deployments/gpt"),
        ("api.example/v1", "http"),
        ("localhost:8080/v1", "http"),
        ("//api.example/v1", "http"),
        ("ftp://api.example/v1", "http"),
        ("file:///v1", "http"),
        ("http://", "host"),
        ("http:///v1", "host"),
        ("http://:8080/v1", "host"),
        ("http://api.example/v1#x", "fragment"),
        ("http://api.example:99999/v1", "port"),
        ("http://api.example:http/v1", "port"),
        ("http://api.example:-1/v1", "port"),
        ("http://api example/v1", "space|visible"),
        ("http://api.example/v 1", "space|visible"),
        ("http://api.example/\nv1", "space|visible"),
        ("http://[::1/v1", ""),
        ("http://[::g]/v1", ""),
        ("http://::1/v1", ""),
        ("http://api.example\\v1", ""),
        ("http://b\u00fccher.example/v1", "ASCII"),
    ],
)  # fmt: skip
def test_url_that_cannot_be_called_is_refused_at_start(tmp_path: Path, url: str, told: str) -> None:
    ended = refused(tmp_path, url)
    assert re.search(told, ended.replace("OPENAI_BASE_URL", ""), re.IGNORECASE), ended


@pytest.mark.parametrize(
    "url",
    [
        "http://user:hunter2@h/v1/chat/completions",
        "ftp://user:hunter2@h/v1",
        "user:hunter2@h/v1",
        "http://user:hunter2@/v1",
        "http://user:hunter2@h:99999/v1",
        "http://user:hunter2@h/v1#x",
        "http://user:hunter2 x@h/v1",
        "http://user:hunter2/x@h/v1",
        "http://user:x@hunter2@h:x/v1",
        "http://h/v1/chat/completions?api-key=hunter2#x",
    ],
)
def test_password_is_not_shown(tmp_path: Path, url: str) -> None:
    ended = refused(tmp_path, url)
    assert "hunter2" not in ended
