"""MemoryService over HTTP: every route, against a real server."""

import json
from urllib.parse import quote

import pytest

from http_gateway import Client
from ilab_chat import AsyncChatClient
from ilab_chat.v1 import chat_pb2, memory_pb2
from ilab_chat_gateway.routes import ROUTES

ALICE = "/v1/users/alice"
FACT = {"content": "I love hiking.", "type": "preference", "title": "taste"}


async def saved(web: Client, user: str = "alice", **more: object) -> str:
    answer = await web.post(f"/v1/users/{quote(user, safe='')}/observations", FACT | more)
    assert answer.status == 200, answer.body
    number: str = answer.json["result"]["id"]
    return number


def test_every_rpc_has_a_route() -> None:
    rpcs = {
        method.full_name.removeprefix("ilab_chat.v1.")
        for file in (chat_pb2.DESCRIPTOR, memory_pb2.DESCRIPTOR)
        for service in file.services_by_name.values()
        for method in service.methods
    }
    assert {f"{route.service}.{route.rpc}" for route in ROUTES} == rpcs


async def test_observation_is_saved_changed_read_and_deleted(web: Client) -> None:
    path = f"{ALICE}/observations/{await saved(web)}"
    changed = await web.send("PATCH", path, {"content": "I love climbing.", "pinned": True})
    assert changed.json["result"]["outcome"] == "SAVE_OUTCOME_UPDATED"
    observation = (await web.get(path)).json["observation"]
    assert (observation["content"], observation["pinned"]) == ("I love climbing.", True)
    unpinned = await web.send("PATCH", path, {"update_mask": "pinned"})
    assert unpinned.status == 200
    assert (await web.get(path)).json["observation"]["pinned"] is False
    assert (await web.send("DELETE", path)).json == {}
    gone = await web.get(path)
    assert (gone.status, gone.json["reason"]) == (404, "NOT_FOUND")


async def test_facts_search_timeline_stats_and_sessions(web: Client) -> None:
    number = await saved(web)
    assert [fact["observation_id"] for fact in (await web.get(f"{ALICE}/facts?types=preference")).json["facts"]] == [
        number
    ]
    assert (await web.get(f"{ALICE}/facts?types=profile&types=decision")).json["facts"] == []
    found = await web.get(f"{ALICE}/search?query=hiking&page_size=1")
    assert [each["id"] for each in found.json["observations"]] == [number]
    line = await web.get(f"{ALICE}/timeline?observation_id={number}")
    assert [each["id"] for each in line.json["observations"]] == [number]
    assert (await web.get(f"{ALICE}/stats")).json == {"observations": "1", "sessions": "1", "types": []}
    by_type = (await web.get(f"{ALICE}/stats?by_type=true")).json
    assert (by_type["facts"], [each["type"] for each in by_type["types"]]) == ("1", ["preference"])
    assert (await web.get(f"{ALICE}/stats?by_type=maybe")).status == 400
    [session] = (await web.get(f"{ALICE}/sessions")).json["sessions"]
    assert session["state"] == "SESSION_STATE_ACTIVE"
    assert (await web.get(f"{ALICE}/sessions?conversation_id=other")).json["sessions"] == []


async def test_session_is_started_summarized_and_ended(web: Client) -> None:
    started = await web.post(f"{ALICE}/sessions:start", {})
    assert started.json["new_session"] is True
    assert (await web.post(f"{ALICE}/sessions:summarize", {"summary": "We met."})).status == 200
    ended = await web.post(f"{ALICE}/sessions:end", {"summary": "We parted."})
    assert ended.json["session"]["summary"] == "We parted."


async def test_list_is_paged(web: Client) -> None:
    numbers = {await saved(web, content=f"text {index}") for index in range(3)}
    first = (await web.get(f"{ALICE}/observations?page_size=2")).json
    second = (await web.get(f"{ALICE}/observations?page_size=2&page_token={quote(first['next_page_token'])}")).json
    assert {each["id"] for page in (first, second) for each in page["observations"]} == numbers
    assert second["next_page_token"] == ""


async def test_preview_shows_the_prompt_and_writes_nothing(web: Client) -> None:
    await saved(web)
    answer = await web.post(f"{ALICE}/preview", {"message": "What do I love?"})
    assert "I love hiking." in answer.json["messages"][0]["content"]
    assert answer.json["tokens"]["facts"] > 0
    assert (await web.get(f"{ALICE}/stats")).json["observations"] == "1"


async def test_export_is_imported_by_another_user(web: Client) -> None:
    for number in range(3):
        await saved(web, content=f"text {number}")
    exported = await web.get(f"{ALICE}/export")
    assert exported.headers["content-type"].startswith("application/x-ndjson")
    assert [next(iter(line)) for line in exported.lines] == ["session"] + 3 * ["observation"]
    imported = await web.send("POST", "/v1/users/bob/import", exported.body, {"content-type": "application/x-ndjson"})
    assert imported.json == {"sessions": "1", "observations": "3"}
    assert (await web.get("/v1/users/bob/stats")).json["observations"] == "3"


async def test_export_of_an_unknown_user_is_empty(web: Client) -> None:
    answer = await web.get("/v1/users/nobody/export")
    assert (answer.status, answer.body) == (200, b"")


async def test_invalid_line_of_an_import_is_named(web: Client) -> None:
    lines = b'{"session": {"id": "x"}}\n\n{"observation": 17}\n'
    answer = await web.send("POST", f"{ALICE}/import", lines, {"content-type": "application/x-ndjson"})
    assert answer.status == 400
    assert answer.json["detail"].startswith("line 2: ")


async def test_forgotten_user_is_gone(web: Client) -> None:
    await saved(web)
    assert (await web.send("DELETE", ALICE)).json == {"observations": "1"}
    assert (await web.get(f"{ALICE}/stats")).json == {"observations": "0", "sessions": "0", "types": []}


@pytest.mark.parametrize("user", ["a/b", "a b?c#d%2F", "Zoë 猫", "..", "a/facts", "alice/observations/1"])
async def test_user_id_may_have_any_character(web: Client, address: str, user: str) -> None:
    number = await saved(web, user)
    async with AsyncChatClient(address) as client:
        assert (await client.memory.get(user, int(number))).content == "I love hiking."


@pytest.mark.parametrize("path", ["/v1/%75sers/a%2541/facts", "/%76%31/users/alice/facts", "/v1/users%2Falice/facts"])
async def test_path_is_not_decoded_twice(web: Client, path: str) -> None:
    answer = await web.get(path)
    assert (answer.status, answer.json["reason"]) == (404, "ROUTE_NOT_FOUND")


async def test_repeated_write_with_the_same_key_stores_once(web: Client) -> None:
    first = await web.post(f"{ALICE}/observations", FACT | {"content": "a"}, idempotency_key="k")
    again = await web.post(f"{ALICE}/observations", FACT | {"content": "a"}, idempotency_key="k")
    assert first.json == again.json
    other = await web.post(f"{ALICE}/observations", FACT | {"content": "b"}, idempotency_key="k")
    assert (other.status, other.json["reason"]) == (422, "REQUEST_ID_REUSED")


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/facts?limit=3", "limit"),
        ("/facts?page_size=three", "page_size"),
        ("/facts?page_size=1&page_size=2", "page_size"),
        ("/facts?user_id=bob", "user_id"),
        ("/observations/x", "observation_id"),
        ("/observations/99999999999999999999", "observation_id"),
        ("/timeline?observation_id=", "observation_id"),
    ],
)
async def test_invalid_parameter_is_named(web: Client, path: str, field: str) -> None:
    answer = await web.get(f"{ALICE}{path}")
    assert answer.status == 400
    assert [each["field"] for each in answer.json["field_violations"]] == [field]


async def test_user_of_the_body_must_be_that_of_the_path(web: Client) -> None:
    assert (await web.post(f"{ALICE}/observations", FACT | {"user_id": "alice"})).status == 200
    answer = await web.post(f"{ALICE}/observations", FACT | {"user_id": "bob"})
    assert (answer.status, answer.json["detail"]) == (400, "user_id: differs from the path")


async def test_large_list_is_answered_whole(web: Client) -> None:
    text = "long " * 40_000
    await saved(web, content=text)
    [only] = (await web.get(f"{ALICE}/observations")).json["observations"]
    assert only["content"].split() == text.split()
    assert json.dumps(only)
