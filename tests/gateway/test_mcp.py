"""The memory tools at /mcp, called by the official SDK's client over real sockets."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp import Client as McpClient
from mcp.client.streamable_http import streamable_http_client

from batch import cases
from http_gateway import Client, gateway
from ilab_chat import AsyncChatClient
from ilab_chat_gateway import memory_models
from ilab_chat_gateway.mcp_server import MOST_FAULTS, described
from ilab_chat_gateway.mcp_tools import TOOLS
from ilab_chat_service.server import serving
from ilab_chat_service.settings import Settings
from ilab_memory import Observation, SaveResult
from ilab_memory.transports import mcp_server as library
from ilab_memory.transports.methods import METHODS
from mcp_calls import call, fault

ALICE = {"user_id": "alice"}
TOKEN = "token-of-alice-0123456789"


@asynccontextmanager
async def connected(web: Client, mode: str = "auto", **headers: str) -> AsyncIterator[McpClient]:
    async with (
        httpx2.AsyncClient(headers=headers) as http,
        McpClient(streamable_http_client(f"http://{web.address}/mcp", http_client=http), mode=mode) as client,
    ):
        yield client


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_documented_methods_answer_over_the_grpc_port(web: Client, mode: str) -> None:
    async with connected(web, mode) as client:
        assert [tool.name for tool in (await client.list_tools()).tools] == list(TOOLS)
        session = await call(client, "mem_session_start", **ALICE)
        assert (session["is_new"], session["sessions_context"], session["memories"]) == (True, [], [])
        saved = await call(client, "mem_save", **ALICE, content="I love hiking.", type="preference", title="Hobby")
        assert (saved["outcome"], saved["session_id"], saved["topic_key"]) == ("created", session["session_id"], None)
        one = {**ALICE, "observation_id": saved["id"]}
        observation = (await call(client, "mem_get_observation", **one))["result"]
        assert (observation["content"], observation["revision_count"]) == ("I love hiking.", 1)
        assert (await call(client, "mem_timeline", **one))["result"] == [observation]
        found = (await call(client, "mem_search", **ALICE, query="hiking", types=["preference"]))["result"]
        assert [each["id"] for each in found] == [saved["id"]]
        assert (await call(client, "mem_search", **ALICE, query="hiking", types=[]))["result"] == []
        await call(client, "mem_session_summary", **ALICE, summary="So far.")
        ended = await call(client, "mem_session_end", **ALICE, summary="Talked.")
        assert (ended["status"], ended["summary"], ended["is_auto_generated"]) == ("completed", "Talked.", False)
        assert (await call(client, "mem_stats", **ALICE))["sessions"] == 1
        assert (await call(client, "mem_get_observation", user_id="bob", observation_id=saved["id"]))["result"] is None


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_server_says_its_version(web: Client, mode: str) -> None:
    async with connected(web, mode) as client:
        assert client.server_info is not None
        assert (client.server_info.name, client.server_info.version) == ("ilab-chat", version("ilab-chat-gateway"))


async def test_recalled_memories_have_a_title_a_passage_and_a_score(web: Client) -> None:
    for message in ("I love hiking in the hills.", "And what " + "else " * 40):
        assert (await web.post("/chat", {**ALICE, "message": message})).status == 200
    async with connected(web) as client:
        await call(client, "mem_save", **ALICE, content="Lives in Rome.", type="profile", title="Home")
        memories = (await call(client, "mem_recall", **ALICE, message="Where do I hike?"))["result"]
    assert all(each["title"] and each["passage"] and 0 < each["score"] <= 1 for each in memories)
    first, second = [each for each in memories if each["source"] == "turn"]
    assert (first["title"], first["passage"]) == (
        "I love hiking in the hills.", "user: I love hiking in the hills.\nassistant: Hello there."
    )  # fmt: skip
    assert (second["title"][:14], len(second["title"]) <= 80) == ("And what else ", True)


async def test_memory_is_recalled_listed_corrected_and_forgotten(web: Client) -> None:
    async with connected(web) as client:
        kept = await call(client, "mem_save", **ALICE, content="I love hiking.", type="preference", title="Hobby")
        other = await call(client, "mem_save", **ALICE, content="Lives in Rome.", type="profile", title="Home")
        [page] = [await call(client, "mem_list", **ALICE, limit=1)]
        assert [each["id"] for each in page["observations"]] == [other["id"]]
        rest = await call(client, "mem_list", **ALICE, page_token=page["next_page_token"], limit=1)
        assert [each["id"] for each in rest["observations"]] == [kept["id"]]
        one = {**ALICE, "observation_id": kept["id"]}
        assert (await call(client, "mem_correct", **one, content="I love climbing."))["outcome"] == "updated"
        memories = (await call(client, "mem_recall", **ALICE, message="What do I love?"))["result"]
        assert ("I love climbing.", "fact") in {(each["passage"], each["source"]) for each in memories}
        assert await call(client, "mem_forget", **one) == {"observations": 1}
        assert (await call(client, "mem_get_observation", **one))["result"] is None
        assert (await call(client, "mem_forget", **ALICE, everything=True))["observations"] >= 1
        assert (await call(client, "mem_list", **ALICE))["observations"] == []


async def test_error_names_the_argument_and_quotes_nothing(web: Client) -> None:
    async with connected(web) as client:
        whole = {**ALICE, "content": "x", "type": "decision", "title": "x"}
        for field, value in {
            "title": " ", "type": "secret", "content": "secret\0", "user_id": "secret" * 50, "unknown": "secret",
        }.items():  # fmt: skip
            text = await fault(client, "mem_save", **{**whole, field: value})
            assert text.startswith(field), text
            assert "secret" not in text
        assert (await fault(client, "mem_search", **ALICE, query="x", limit=101)).startswith("limit: ")
        assert (await fault(client, "mem_search", **ALICE, query="x", types=["a"], types_exclude=["b"])).startswith(
            "types"
        )
        assert (await fault(client, "mem_correct", **ALICE, observation_id=1)).startswith("content: ")
        for both in ({}, {"observation_id": 1, "everything": True}):
            assert (await fault(client, "mem_forget", **ALICE, **both)).startswith("observation_id: ")
        assert "no active session" in await fault(client, "mem_session_end", **ALICE, summary="x")
        assert "mem_recall" in await fault(client, "mem_nothing", **ALICE)


async def test_of_many_faults_the_first_are_named(web: Client) -> None:
    async with connected(web) as client:
        text = await fault(client, "mem_search", **ALICE, query="x", types=[1] * 1000)
    assert text.split("; ") == [f"types.{number}: Input should be a valid string" for number in range(MOST_FAULTS)]


async def test_credentials_are_passed_on_and_bind_the_user(settings: Settings, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text(f"{TOKEN} user:alice\n")
    required = dataclasses.replace(settings, auth="tokens", auth_tokens_file=str(tokens))
    async with serving(required) as address, gateway(address) as web:
        async with connected(web) as client:
            for name in ("mem_stats", "mem_list", "mem_session_start"):
                assert (await fault(client, name, **ALICE)).startswith("MISSING_CREDENTIALS: ")
        async with connected(web, authorization=f"Bearer {TOKEN}") as client:
            assert (await call(client, "mem_stats", **ALICE))["observations"] == 0
            assert (await fault(client, "mem_stats", user_id="bob")).startswith("USER_MISMATCH: ")
            assert (await fault(client, "mem_forget", user_id="bob", everything=True)).startswith("USER_MISMATCH: ")


INITIALIZE = {
    "jsonrpc": "2.0", "id": 1, "method": "initialize",
    "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}},
}  # fmt: skip
ACCEPT = {"accept": "application/json, text/event-stream"}


async def test_requests_are_guarded_like_all_others(address: str) -> None:
    async with gateway(address, max_body_bytes=2000) as web:
        allowed = await web.send("POST", "/mcp", INITIALIZE, ACCEPT)
        assert (allowed.status, allowed.json["result"]["serverInfo"]["name"]) == (200, "ilab-chat")
        assert allowed.headers["cache-control"] == "no-store"
        other = await web.send("POST", "/mcp", INITIALIZE, {**ACCEPT, "host": "evil.example"})
        assert (other.status, other.json["reason"]) == (400, "HOST_NOT_ALLOWED")
        simple = await web.send("POST", "/mcp", INITIALIZE, {**ACCEPT, "content-type": "text/plain"})
        assert simple.status == 400
        large = await web.send("POST", "/mcp", {**INITIALIZE, "more": "x" * 3000}, ACCEPT)
        assert (large.status, large.json["reason"]) == (413, "BODY_TOO_LARGE")


async def test_server_that_does_not_answer_is_a_readable_failure() -> None:
    async with gateway("127.0.0.1:1") as web, connected(web) as client:
        assert (await fault(client, "mem_stats", **ALICE)).startswith("SERVER_UNREACHABLE: ")


async def test_no_log_line_quotes_a_request(web: Client, caplog: pytest.LogCaptureFixture) -> None:
    for body in (b'{"secret', b'"secret"', json.dumps({**INITIALIZE, "method": "secret"}).encode(), b"[]"):
        assert (await web.send("POST", "/mcp", body, ACCEPT)).status in {200, 400}
    assert "secret" not in caplog.text


def plain(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the properties of a schema, without descriptions and limits that differ on purpose."""
    definitions = schema.get("$defs", {})

    def resolve(part: Any) -> Any:
        if isinstance(part, list):
            return [resolve(each) for each in part]
        if not isinstance(part, Mapping):
            return part
        if "$ref" in part:
            return resolve(definitions[part["$ref"].rpartition("/")[2]])
        return {name: resolve(value) for name, value in part.items() if name not in {"description", "maximum", "$defs"}}

    properties: dict[str, Any] = resolve(schema.get("properties", {}))
    return properties


@cases("name", METHODS)
def test_tools_are_those_of_the_library(name: str) -> None:
    ours, theirs = described(TOOLS[name]), library.tool(METHODS[name])
    assert ours.description == theirs.description
    assert plain(ours.input_schema) == plain(theirs.input_schema)
    assert ours.input_schema["required"] == theirs.input_schema["required"]
    if name in {"mem_save", "mem_session_summary", "mem_get_observation", "mem_timeline"}:
        return  # The library's models have fields that the contract does not: `facts`, `about`, `earlier_source_ids`.
    assert plain(ours.output_schema or {}) == plain(theirs.output_schema or {})


def test_fields_of_results_are_those_of_the_library() -> None:
    missing = {"about", "earlier_source_ids"}
    assert set(memory_models.Observation.model_fields) == set(Observation.model_fields) - missing
    assert set(memory_models.SaveResult.model_fields) == set(SaveResult.model_fields) - {"facts"}


async def test_tools_and_routes_see_the_same_memory(web: Client, address: str) -> None:
    async with connected(web) as client, AsyncChatClient(address) as chat:
        saved = await call(client, "mem_save", **ALICE, content="I hike.", type="preference", title="Hobby")
        assert (await chat.memory.get("alice", saved["id"])).content == "I hike."


def test_docs_list_the_tools() -> None:
    docs = (Path(__file__).parents[2] / "docs/gateway.md").read_text()
    table = docs.partition("<!-- tools -->")[2].partition("<!-- /tools -->")[0]
    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == list(TOOLS)


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_methods_of_sessions_are_refused_at_once(web: Client, method: str) -> None:
    answer = await web.send(method, "/mcp")
    assert (answer.status, answer.json["reason"], answer.headers["allow"]) == (405, "METHOD_NOT_ALLOWED", "POST")


async def test_batch_is_refused_before_it_is_parsed(web: Client) -> None:
    for batch in (b"[]", b" \n[{}]", b"[" * 10_000, b" " * 200_000 + b"["):
        answer = await web.post("/mcp", batch, accept="application/json, text/event-stream")
        assert answer.status == 400
        assert answer.json["reason"] == "INVALID_REQUEST"
        assert "not a batch" in answer.json["detail"]
