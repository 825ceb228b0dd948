"""Bodies of very many JSON values are refused before they are parsed, on every route that takes JSON."""

import json

import pytest

from http_gateway import Client
from ilab_chat_gateway.values import MOST_VALUES, has_too_many_values

MANY = {
    "arrays": b"[" * (MOST_VALUES + 1),
    "objects": b'{"a":' * (MOST_VALUES + 1),
    "numbers": b"[" + b"1," * MOST_VALUES + b"1]",
    "members": json.dumps({str(number): number for number in range(MOST_VALUES + 1)}).encode(),
    "strings": json.dumps(['\\"'] * (MOST_VALUES + 1)).encode(),
    "UTF-16": json.dumps([1] * (MOST_VALUES + 1)).encode("utf-16"),
}
ROUTES = ("/chat", "/v1/chat", "/v1/users/alice/observations", "/v1/openai/chat/completions", "/mcp")
HEADERS = {"content-type": "application/json", "accept": "application/json, text/event-stream"}


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("kind", MANY)
async def test_body_of_too_many_values_is_refused_unparsed(web: Client, route: str, kind: str) -> None:
    inside = MANY[kind]
    if kind != "UTF-16":
        inside = b'{"generation": ' + inside + b"}"
    answer = await web.send("POST", route, inside, HEADERS)
    assert answer.status == 413
    problem = answer.json.get("error") or answer.json
    assert problem.get("code") == "TOO_MANY_VALUES" or problem["reason"] == "TOO_MANY_VALUES"
    assert "20,000 JSON values" in (problem.get("message") or problem["detail"])


async def test_line_of_an_import_with_too_many_values_is_refused(web: Client) -> None:
    lines = {"content-type": "application/x-ndjson"}
    answer = await web.send("POST", "/v1/users/alice/import", b"\n" + MANY["numbers"] + b"\n", lines)
    assert (answer.status, answer.json["reason"]) == (413, "TOO_MANY_VALUES")
    assert answer.json["detail"].startswith("line 1: ")


@pytest.mark.parametrize("text", [",:[{" * 10_000, '{"a": [1, 2]}, ' * 3_000, '\\",' * 8_000])
async def test_text_may_have_any_characters(web: Client, text: str) -> None:
    message = text[:32_000]
    answer = await web.post("/v1/chat", {"user_id": "alice", "message": message})
    assert answer.status == 200, answer.json
    assert not has_too_many_values(json.dumps({"message": text * 20}).encode())
