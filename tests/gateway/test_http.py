"""The gateway's own part of a call: hosts, origins, sizes, headers, credentials, health and OpenAPI."""

import asyncio
import itertools
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import Response

from batch import cases
from http_gateway import Client, gateway, running
from ilab_chat_gateway import middleware
from ilab_chat_gateway.app import create_app
from ilab_chat_gateway.cli import main
from ilab_chat_gateway.endpoints import body_lines
from ilab_chat_gateway.problems import OWN_REASONS
from ilab_chat_gateway.routes import ROUTES
from ilab_chat_gateway.settings import Settings, SettingsError, read
from ilab_chat_service.server import serving
from ilab_chat_service.settings import Settings as ServerSettings
from upstream import Upstream

HI = {"user_id": "alice", "message": "Hi"}
ROOT = Path(__file__).parents[2]
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:8080", "", "localhost.", "[::2]:80"])
async def test_other_host_is_refused(web: Client, host: str) -> None:
    answer = await web.send("POST", "/chat", HI, {"host": host})
    assert (answer.status, answer.json["reason"]) == (400, "HOST_NOT_ALLOWED")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1:99", "[::1]:8080"])
async def test_loopback_host_is_allowed(web: Client, host: str) -> None:
    assert (await web.send("GET", "/openapi.json", headers={"host": host})).status == 200


@pytest.mark.parametrize("second", ["evil.example", "localhost"])
async def test_request_with_two_hosts_is_refused(web: Client, second: str) -> None:
    head = f"GET /openapi.json HTTP/1.1\r\nhost: localhost\r\nhost: {second}\r\n\r\n"
    assert await first_line(web, head) == b"HTTP/1.1 400 Bad Request\r\n"


async def first_line(web: Client, head: str) -> bytes:
    reader, writer = await asyncio.open_connection(*web.address.split(":"))
    writer.write(head.encode())
    line = await reader.readline()
    writer.close()
    return line


async def test_probe_may_name_any_host(web: Client) -> None:
    assert (await web.send("GET", "/readyz", headers={"host": "10.1.2.3:8080"})).status == 200


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
@pytest.mark.parametrize("path", ["/v1/chat", "/chat"])
async def test_body_that_a_form_of_another_page_can_send_is_refused(
    web: Client, upstream: Upstream, path: str, content_type: str
) -> None:
    answer = await web.send("POST", path, HI, {"content-type": content_type})
    assert (answer.status, answer.json["reason"]) == (415, "UNSUPPORTED_MEDIA_TYPE")
    assert "application/json" in answer.json["detail"]
    assert upstream.requests == []


async def test_no_other_origin_may_read_an_answer(web: Client) -> None:
    answer = await web.send("OPTIONS", "/chat", headers={"origin": "https://a.example"})
    assert (answer.status, answer.json["reason"]) == (405, "METHOD_NOT_ALLOWED")
    answer = await web.send("POST", "/chat", HI, {"origin": "https://a.example"})
    assert "access-control-allow-origin" not in answer.headers


async def test_named_origin_may_call(address: str) -> None:
    async with gateway(address, cors_origins="https://a.example") as web:
        asked = {"access-control-request-method": "POST", "access-control-request-headers": "idempotency-key"}
        preflight = await web.send("OPTIONS", "/v1/chat", headers={"origin": "https://a.example", **asked})
        assert preflight.status == 200
        assert preflight.headers["access-control-allow-origin"] == "https://a.example"
        other = await web.send("OPTIONS", "/v1/chat", headers={"origin": "https://b.example", **asked})
        assert other.status == 400
        assert (await web.send("GET", "/livez", headers={"origin": "https://b.example"})).headers.get(
            "access-control-allow-origin"
        ) is None


async def test_pages_of_a_named_origin_may_send_the_headers_of_every_client(address: str) -> None:
    async with gateway(address, cors_origins="https://a.example") as web:
        sent = "authorization, x-user-id, x-conversation-id, x-stainless-os, mcp-protocol-version"
        asked = {"access-control-request-method": "POST", "access-control-request-headers": sent}
        preflight = await web.send("OPTIONS", "/v1/chat", headers={"origin": "https://a.example", **asked})
        assert (preflight.status, preflight.headers["access-control-allow-headers"]) == (200, sent)
        answer = await web.send("GET", "/livez", headers={"origin": "https://a.example"})
        assert answer.headers["access-control-expose-headers"] == "retry-after, x-ignored-messages, x-should-retry"


async def test_declared_length_over_the_limit_is_refused(address: str) -> None:
    async with gateway(address, max_body_bytes=100) as web:
        answer = await web.post("/v1/chat", HI | {"message": "x" * 100})
        assert (answer.status, answer.json["reason"]) == (413, "BODY_TOO_LARGE")
        assert (await web.post("/v1/chat", HI)).status == 200


@pytest.mark.parametrize(
    "line", ["POST /chat", "POST /v1/chat", "POST /v1/users/alice/import", "DELETE /v1/users/import"]
)
async def test_chunked_body_over_the_limit_is_refused_while_it_arrives(address: str, line: str) -> None:
    async with gateway(address, max_body_bytes=1000) as web:
        reader, writer = await asyncio.open_connection(*web.address.split(":"))
        head = f"{line} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        writer.write(f"{head}transfer-encoding: chunked\r\n\r\n".encode() + 2 * (b"258\r\n" + 600 * b"x" + b"\r\n"))
        # The words after the code differ between versions of Python.
        assert (await reader.readline()).startswith(b"HTTP/1.1 413 ")
        writer.close()


@pytest.mark.parametrize("line", ["POST /chat", "POST /v1/chat", "POST /v1/users/alice/import"])
async def test_incomplete_bodies_do_not_keep_out_others(
    address: str, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    monkeypatch.setattr(middleware, "INCOMPLETE_BYTES", 4000)
    async with gateway(address, max_body_bytes=2000) as web:
        head = f"{line} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 2000\r\n\r\n"
        if "import" in line:
            head = head.replace("application/json", "application/x-ndjson")
        connections = [await asyncio.open_connection(*web.address.split(":")) for _ in range(3)]
        for _, writer in connections:
            writer.write(head.encode() + 1500 * b" ")
        answers = [asyncio.create_task(reader.readline()) for reader, _ in connections]
        done, waiting = await asyncio.wait(answers, return_when=asyncio.FIRST_COMPLETED)
        assert [answer.result() for answer in done] == [b"HTTP/1.1 408 Request Timeout\r\n"]
        assert (await web.post("/v1/chat", HI)).status == 200
        for answer in waiting:
            answer.cancel()
        for _, writer in connections:
            writer.close()


async def test_line_of_an_import_may_come_in_small_chunks() -> None:
    length = 1_000_000
    parts = itertools.chain(itertools.repeat(b"x", length), [b"\ny", b"z\n\n"])

    async def receive() -> Any:
        part = next(parts, None)
        return {"type": "http.request", "body": part or b"", "more_body": part is not None}

    lines = [line async for line in body_lines(Request({"type": "http"}, receive), length)]
    assert lines == [b"x" * length, b"yz"]


async def test_unknown_path_and_method_are_problems(web: Client) -> None:
    unknown = await web.get("/nothing")
    assert (unknown.status, unknown.json["reason"]) == (404, "ROUTE_NOT_FOUND")
    wrong = await web.get("/v1/chat")
    assert (wrong.status, wrong.json["reason"]) == (405, "METHOD_NOT_ALLOWED")
    assert wrong.headers["allow"] == "POST"


async def test_every_response_has_the_security_headers(web: Client) -> None:
    for answer in (await web.get("/livez"), await web.get("/nothing"), await web.post("/v1/chat", HI)):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["content-security-policy"].startswith("default-src 'none'")
        assert "server" not in answer.headers or answer.headers["server"] != "ilab"


async def test_defect_is_logged_once_and_answered_like_every_failure(
    address: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(_: Request) -> Response:
        raise LookupError("the cause")

    app = create_app(Settings(target=address, cors_origins="https://a.example"))
    app.add_route("/broken", broken)
    async with running(app) as web:
        answer = await web.send("GET", "/broken", headers={"origin": "https://a.example"})
    assert (answer.status, answer.json["reason"]) == (500, "INTERNAL")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["access-control-allow-origin"] == "https://a.example"
    [record] = [each for each in caplog.records if each.exc_info]
    assert record.getMessage() == answer.json["detail"]


async def test_credentials_are_passed_on(settings: ServerSettings, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text("alices-token-0123456789 user:alice\n")
    from dataclasses import replace  # noqa: PLC0415

    async with (
        serving(replace(settings, auth="tokens", auth_tokens_file=str(tokens))) as address,
        gateway(address) as web,
    ):
        missing = await web.post("/chat", HI)
        assert (missing.status, missing.json["reason"]) == (401, "MISSING_CREDENTIALS")
        assert missing.headers["www-authenticate"] == "Bearer"
        own = {"authorization": "Bearer alices-token-0123456789"}
        assert (await web.send("POST", "/chat", HI, own)).status == 200
        other = await web.send("GET", "/v1/users/bob/facts", headers=own)
        assert (other.status, other.json["reason"]) == (403, "USER_MISMATCH")
        assert (await web.get("/readyz")).status == 200


async def test_trace_is_passed_on(web: Client, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        assert (await web.send("POST", "/v1/chat", HI, {"traceparent": TRACE})).status == 200
    assert any("0af7651916cd43dd8448eb211c80319c" in str(vars(record)) for record in caplog.records)


async def test_header_that_metadata_cannot_contain_is_refused(web: Client) -> None:
    answer = await web.send("POST", "/v1/chat", HI, {"authorization": "Bearer caf\xe9"})
    assert (answer.status, answer.json["reason"]) == (400, "INVALID_FIELD")


async def test_two_different_idempotency_keys_are_refused(web: Client, upstream: Upstream) -> None:
    body = json.dumps(HI)
    head = (
        f"POST /chat HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
    )
    same = head + 2 * "idempotency-key: a\r\n" + "\r\n" + body
    assert await first_line(web, same) == b"HTTP/1.1 200 OK\r\n"
    different = head + "idempotency-key: b\r\nidempotency-key: c\r\n\r\n" + body
    assert await first_line(web, different) == b"HTTP/1.1 400 Bad Request\r\n"
    assert len(upstream.requests) == 1


@pytest.mark.parametrize("path", ["/v1/chat", "/chat", "/v1/chat:stream"])
async def test_headers_that_the_server_would_not_take_are_refused_by_name(web: Client, path: str) -> None:
    longest = "Bearer " + 14_000 * "x"
    assert (await web.send("POST", path, HI, {"authorization": longest})).status == 200
    answer = await web.send("POST", path, HI, {"authorization": longest + 1000 * "x"})
    assert (answer.status, answer.json["field_violations"][0]["field"]) == (400, "authorization")


async def test_different_ids_of_one_request_are_refused(web: Client) -> None:
    answer = await web.post("/v1/chat", HI | {"request_id": "a"}, idempotency_key="b")
    assert (answer.status, answer.json["field_violations"][0]["field"]) == (400, "request_id")
    long = await web.post("/v1/chat", HI, idempotency_key="k" * 65)
    assert long.status == 400


async def test_health(web: Client) -> None:
    assert (await web.get("/livez")).status == 200
    assert (await web.get("/readyz")).status == 200


async def test_openapi_is_served_and_names_every_route(web: Client) -> None:
    document = (await web.get("/openapi.json")).json
    assert document["openapi"] == "3.1.0"
    described = {(method.upper(), path) for path, item in document["paths"].items() for method in item}
    assert {(route.method, route.path) for route in ROUTES} < described
    app = create_app(Settings())
    served = {
        (method, getattr(route, "path", ""))
        for route in app.routes
        for method in getattr(route, "methods", None) or ()
        if method != "HEAD"
    }
    # /mcp has a protocol of its own.
    assert described | {("GET", "/openapi.json"), ("POST", "/mcp")} == served
    names = set(re.findall(r"#/components/schemas/(\w+)", str(document)))
    assert names <= document["components"]["schemas"].keys()


@pytest.mark.process
def test_openapi_is_current() -> None:
    checked = subprocess.run(
        [sys.executable, ROOT / "tools/openapi.py", "--check"], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stderr


@cases(
    ("environment", "named"),
    [
        ({"ILAB_CHAT_GATEWAY_ADDRESS": "0.0.0.0:8080"}, "ILAB_CHAT_GATEWAY_ADDRESS"),
        (
            {"ILAB_CHAT_GATEWAY_ADDRESS": "0.0.0.0:8080", "ILAB_CHAT_GATEWAY_ALLOW_REMOTE": "true"},
            "ILAB_CHAT_GATEWAY_HOSTS",
        ),
        ({"ILAB_CHAT_GATEWAY_ADDRESS": "8080"}, "ILAB_CHAT_GATEWAY_ADDRESS"),
        ({"ILAB_CHAT_TARGET": "server.example:50051"}, "ILAB_CHAT_TARGET"),
        ({"ILAB_CHAT_TARGET": "127.0.0.1:8080"}, "ILAB_CHAT_TARGET: is the gateway's own address; set the gRPC port"),
        ({"ILAB_CHAT_TARGET": "https://chat"}, "ILAB_CHAT_TARGET: .* set chat:443 and ILAB_CHAT_GATEWAY_TLS=true"),
        ({"ILAB_CHAT_GATEWAY_CORS_ORIGINS": "*"}, "ILAB_CHAT_GATEWAY_CORS_ORIGINS"),
        ({"ILAB_CHAT_GATEWAY_CORS_ORIGINS": "https://a.example/"}, "ILAB_CHAT_GATEWAY_CORS_ORIGINS"),
        ({"ILAB_CHAT_GATEWAY_MAX_BODY_BYTES": "0"}, "ILAB_CHAT_GATEWAY_MAX_BODY_BYTES"),
        ({"ILAB_CHAT_GATEWAY_TIMEOUT_SECONDS": "soon"}, "ILAB_CHAT_GATEWAY_TIMEOUT_SECONDS"),
        ({"ILAB_CHAT_GATEWAY_PLAYGROUND": "maybe"}, "ILAB_CHAT_GATEWAY_PLAYGROUND"),
        ({"ILAB_CHAT_GATEWAY_TLS_CERT_FILE": "cert.pem"}, "ILAB_CHAT_GATEWAY_TLS_CERT_FILE"),
    ],
)
def test_setting_that_cannot_be_used_is_named(environment: dict[str, str], named: str) -> None:
    with pytest.raises(SettingsError, match=f"^{named}"):
        read(environment)


def test_misspelt_variables_and_options_say_what_is_meant(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ILAB_CHAT_GATEWAY_PLAYGRUOND", "1")
    monkeypatch.setenv("ILAB_CHAT_GATEWAY_ZZZ", "1")
    monkeypatch.setenv("ILAB_CHAT_TRAGET", "1")
    for name in ("ILAB_CHAT_WORKERS", "ILAB_CHAT_GATEWAY_SERVICE_HOST", "ILAB_CHAT_GATEWAY_PORT_8080_TCP_ADDR"):
        monkeypatch.setenv(name, "1")
    assert main(["--address", "nowhere"]) == 2
    assert capsys.readouterr().err.splitlines()[:3] == [
        (
            "ilab-chat-gateway: warning: ILAB_CHAT_GATEWAY_PLAYGRUOND is set, but the gateway has no such setting:"
            " did you mean ILAB_CHAT_GATEWAY_PLAYGROUND?"
        ),
        "ilab-chat-gateway: warning: ILAB_CHAT_GATEWAY_ZZZ is set, but the gateway has no such setting",
        (
            "ilab-chat-gateway: warning: ILAB_CHAT_TRAGET is set, but the gateway has no such setting:"
            " did you mean ILAB_CHAT_TARGET?"
        ),
    ]
    with pytest.raises(SystemExit, match="2"):
        main(["--targett", "chat:1"])
    assert capsys.readouterr().err == (
        "ilab-chat-gateway: unrecognized arguments: --targett chat:1: did you mean --target?\n"
    )


def test_remote_address_and_target_can_be_asked_for_by_name() -> None:
    settings = read(
        {
            "ILAB_CHAT_GATEWAY_ADDRESS": "0.0.0.0:8080",
            "ILAB_CHAT_GATEWAY_ALLOW_REMOTE": "true",
            "ILAB_CHAT_GATEWAY_HOSTS": "Chat.example, other.example",
            "ILAB_CHAT_TARGET": "dns:///server:50051",
            "ILAB_CHAT_GATEWAY_TLS": "1",
        }
    )
    assert settings.allowed_hosts == {"chat.example", "other.example"}


def test_own_reasons_have_a_status_and_a_text() -> None:
    assert all(400 <= status < 600 and text.endswith(".") for status, text in OWN_REASONS.values())
