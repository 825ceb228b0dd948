"""A backend in another language: @grpc/grpc-js, and stubs made from the .proto at run time."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

import upstream as fake
from contract.process import Served

HERE = Path(__file__).with_name("node")


def call(node: str, served: Served, command: str, **request: Any) -> list[dict[str, Any]]:
    """Return each line that the Node client printed."""
    return send(node, served, command, request)


def send(node: str, served: Served, command: str, request: Any) -> list[dict[str, Any]]:
    """Return each line that the Node client printed of *request*, one message or a list of them."""
    arguments = [node, str(HERE / "client.js"), served.address, command, json.dumps(request)]
    run = subprocess.run(arguments, capture_output=True, text=True, check=True, timeout=60)
    return [json.loads(line) for line in run.stdout.splitlines()]


def test_chat(node: str, served: Served) -> None:
    (response,) = call(node, served, "chat", user_id="node-chat", message="hi", request_id="n-1")
    assert response["reply"] == "Hello there."
    assert response["request_id"] == "n-1"
    assert int(response["observation_id"]) >= 1
    assert response["finish_reason"] == "FINISH_REASON_STOP"


def test_an_import_can_be_listed(node: str, served: Served) -> None:
    at = {"seconds": 1_700_000_000}
    session = {"id": "s-1", "start_time": at, "last_activity_time": at, "state": "SESSION_STATE_ACTIVE"}
    hobby = {"session_id": "s-1", "type": "profile", "title": "Hobby", "content": "hikes", "revision_count": 1}
    observation = {**hobby, "create_time": at, "update_time": at}
    user = {"user_id": "node-import"}
    (added,) = send(node, served, "import", [user, {"session": session}, {"observation": observation}])
    assert added == {"sessions": "1", "observations": "1"}
    (page,) = call(node, served, "list", **user)
    [found] = page["observations"]
    assert (found["title"], found["create_time"]["seconds"]) == ("Hobby", "1700000000")
    (failure,) = send(node, served, "import", [user, {"session": session}, {"observation": hobby}])
    assert failure["code"] == 3
    assert "items[1].observation.create_time" in failure["details"]


def test_the_joined_pieces_of_a_stream_are_the_reply(node: str, served: Served) -> None:
    served.upstream.says("Grüß", "e, ", "👋 Alice")
    first, *deltas, last = call(node, served, "stream", user_id="node-stream", message="hi")
    assert first["event"] == "started"
    assert {delta["event"] for delta in deltas} == {"text_delta"}
    assert "".join(delta["text_delta"]["text"] for delta in deltas) == last["completed"]["reply"] == "Grüße, 👋 Alice"


@pytest.mark.parametrize("command", ["chat", "stream"])
def test_a_bad_request_has_code_3(node: str, served: Served, command: str) -> None:
    (failure,) = call(node, served, command, user_id="node-bad", message="")
    assert failure["code"] == 3
    assert "message" in failure["details"]


def test_cancel_reaches_the_model(node: str, served: Served) -> None:
    served.upstream.replies(fake.Reply(hold_before=1))
    *_, delta, failure = call(node, served, "cancel", user_id="node-cancel", message="hi")
    assert delta["event"] == "text_delta"
    assert failure["code"] == 1
    assert served.upstream.requests[-1].gone.wait(60), "the model's API still has its caller"
