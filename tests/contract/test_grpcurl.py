"""The service from grpcurl, with nothing but its address."""

import json
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

from contract.process import BIN, Served

SERVICE = "ilab_chat.v1.ChatService"
MEMORY = "ilab_chat.v1.MemoryService"


def grpcurl(
    served: Served, *arguments: str, data: Mapping[str, Any] | None = None, flags: Sequence[str] = ()
) -> subprocess.CompletedProcess[str]:
    sent = () if data is None else ("-d", json.dumps(data))
    command = [BIN / "grpcurl", "-plaintext", *flags, *sent, served.address, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def objects(text: str) -> list[dict[str, Any]]:
    """Return the JSON objects that stand one after the other."""
    found: list[dict[str, Any]] = []
    while text := text.strip():
        value, end = json.JSONDecoder().raw_decode(text)
        found.append(value)
        text = text[end:]
    return found


def test_list_names_the_services(served: Served) -> None:
    listed = grpcurl(served, "list")
    assert listed.returncode == 0, listed.stderr
    assert {SERVICE, MEMORY, "grpc.health.v1.Health"} <= set(listed.stdout.split())


def test_describe_shows_the_contract(served: Served) -> None:
    service = grpcurl(served, "describe", SERVICE).stdout
    assert "rpc Chat ( .ilab_chat.v1.ChatRequest ) returns ( .ilab_chat.v1.ChatResponse );" in service
    assert (
        "rpc StreamChat ( .ilab_chat.v1.StreamChatRequest ) returns ( stream .ilab_chat.v1.StreamChatResponse );"
        in (service)
    )
    message = grpcurl(served, "describe", "ilab_chat.v1.ChatRequest").stdout
    assert "string user_id = 1;" in message
    assert "string message = 2;" in message


def test_chat_takes_two_fields(served: Served) -> None:
    answer = grpcurl(served, f"{SERVICE}/Chat", data={"user_id": "grpcurl-chat", "message": "hi"})
    assert answer.returncode == 0, answer.stderr
    (response,) = objects(answer.stdout)
    assert response["reply"] == "Hello there."
    assert response["session_id"]
    assert response["request_id"]
    assert int(response["observation_id"]) >= 1
    assert response["finish_reason"] == "FINISH_REASON_STOP"


def test_stream_chat_ends_with_the_joined_reply(served: Served) -> None:
    answer = grpcurl(served, f"{SERVICE}/StreamChat", data={"user_id": "grpcurl-stream", "message": "hi"})
    assert answer.returncode == 0, answer.stderr
    first, *deltas, last = objects(answer.stdout)
    assert first["started"]["session_id"]
    assert deltas
    assert "".join(delta["text_delta"]["text"] for delta in deltas) == last["completed"]["reply"] == "Hello there."


def test_the_second_call_remembers_the_first_and_nobody_elses(served: Served) -> None:
    hello = {"user_id": "grpcurl-alice", "message": "Hi, my name is Alice and I love hiking."}
    first = objects(grpcurl(served, f"{SERVICE}/Chat", data=hello).stdout)[0]
    asked = "What is my name and what do I love?"
    second = objects(grpcurl(served, f"{SERVICE}/StreamChat", data={**hello, "message": asked}).stdout)[-1]["completed"]
    assert first["observation_id"] in {memory["observation_id"] for memory in second["memories"]}
    assert "hiking" in json.dumps(served.upstream.requests[-1].messages)

    bob = objects(grpcurl(served, f"{SERVICE}/Chat", data={"user_id": "grpcurl-bob", "message": asked}).stdout)[0]
    assert "memories" not in bob
    assert "hiking" not in json.dumps(served.upstream.requests[-1].messages)


def test_pitfall_14_the_details_of_a_bad_request_are_readable(served: Served) -> None:
    bad = {"user_id": "", "message": "hi", "generation": {"temperature": 3}}
    for method in ("Chat", "StreamChat"):
        answer = grpcurl(served, f"{SERVICE}/{method}", data=bad)
        assert answer.returncode != 0
        assert "Code: InvalidArgument" in answer.stderr
        assert "INVALID_FIELD" in answer.stderr
        assert '"@type":"type.googleapis.com/google.rpc.BadRequest"' in answer.stderr
        assert '"field":"user_id"' in answer.stderr
        assert '"field":"generation.temperature"' in answer.stderr


def test_the_memory_is_there(served: Served) -> None:
    alice = {"user_id": "grpcurl-memory"}
    hobby = {**alice, "type": "preference", "title": "Hobby", "content": "Loves hiking."}
    saved = grpcurl(served, f"{MEMORY}/SaveObservation", data=hobby)
    assert saved.returncode == 0, saved.stderr
    result = objects(saved.stdout)[0]["result"]
    assert result["outcome"] == "SAVE_OUTCOME_CREATED"
    found = objects(grpcurl(served, f"{MEMORY}/SearchObservations", data={**alice, "query": "hiking"}).stdout)
    assert [(each["id"], each["title"]) for each in found[0]["observations"]] == [(result["id"], "Hobby")]
    session, observation = objects(grpcurl(served, f"{MEMORY}/ExportUser", data=alice).stdout)
    assert session["session"]["id"] == observation["observation"]["session_id"] == result["session_id"]
    missing = grpcurl(
        served, f"{MEMORY}/GetObservation", data={"user_id": "grpcurl-bob", "observation_id": result["id"]}
    )
    assert "Code: NotFound" in missing.stderr


def test_the_memory_can_be_listed_changed_moved_and_erased(served: Served) -> None:
    alice = {"user_id": "grpcurl-edit"}

    def answer(method: str, **data: Any) -> dict[str, Any]:
        answered = grpcurl(served, f"{MEMORY}/{method}", data={**alice, **data})
        assert answered.returncode == 0, answered.stderr
        return objects(answered.stdout)[0]

    hobby = {"type": "preference", "title": "Hobby", "content": "Loves hiking."}
    ids = [answer("SaveObservation", **hobby, topic_key=f"key-{number}")["result"]["id"] for number in range(3)]
    first = answer("ListObservations", types=["preference"], page_size=2)
    assert [each["id"] for each in first["observations"]] == ids[:0:-1]
    rest = answer("ListObservations", types=["preference"], page_size=1, page_token=first["next_page_token"])
    assert [each["id"] for each in rest["observations"]] == ids[:1]
    assert "next_page_token" not in rest
    [session] = answer("ListSessions")["sessions"]
    assert session["state"] == "SESSION_STATE_ACTIVE"

    changed = answer(
        "UpdateObservation", observation_id=ids[0], title="Sport", content="x", update_mask={"paths": ["title"]}
    )
    assert changed["result"]["outcome"] == "SAVE_OUTCOME_UPDATED"
    found = answer("GetObservation", observation_id=ids[0])["observation"]
    assert (found["title"], found["content"], found["revision_count"]) == ("Sport", "Loves hiking.", 2)
    bad = grpcurl(
        served,
        f"{MEMORY}/UpdateObservation",
        data={**alice, "observation_id": ids[0], "update_mask": {"paths": ["topic_key"]}},
    )
    assert '"field":"update_mask.paths[0]"' in bad.stderr

    exported = grpcurl(served, f"{MEMORY}/ExportUser", data=alice).stdout
    sent = f'{{"user_id": "grpcurl-moved"}} {exported}'
    moved = grpcurl(served, f"{MEMORY}/ImportUser", flags=("-d", sent))
    assert objects(moved.stdout) == [{"sessions": "1", "observations": "3"}], moved.stderr

    assert answer("DeleteObservation", observation_id=ids[0]) == {}
    gone = grpcurl(served, f"{MEMORY}/GetObservation", data={**alice, "observation_id": ids[0]})
    assert "Code: NotFound" in gone.stderr


def test_health_is_there(served: Served) -> None:
    answer = grpcurl(served, "grpc.health.v1.Health/Check", data={"service": SERVICE})
    assert objects(answer.stdout) == [{"status": "SERVING"}]
