"""The scripted server that users of the client test with."""

import inspect
import re
import subprocess
import sys
from pathlib import Path

import grpc
import pytest

from ilab_chat import (
    AsyncChatClient,
    ChatClient,
    ChatError,
    DeadlineExceeded,
    Fact,
    HydratedMemory,
    Interrupted,
    InvalidArgument,
    NotFound,
    Observation,
    ResourceExhausted,
    Unavailable,
    Unimplemented,
)
from ilab_chat.testing import REASONS, ScriptedServer
from ilab_chat.v1.memory_pb2 import (
    ExportUserResponse,
    GetStatsResponse,
    ImportUserResponse,
    ListFactsResponse,
    SearchObservationsResponse,
)
from ilab_chat_service.rpc.error_table import INTERNAL, TABLE

pytest_plugins = ["ilab_chat.testing.fixtures"]

PAGE = Path(__file__).parents[2] / "docs/clients/python.md"
ERRORS = (PAGE.parent.parent / "errors.md").read_text()
#: Reason, status and details of each row of the table.
ROWS = re.findall(r"^\| `([A-Z_]+)` \| `([A-Z_]+)` \|.*\| (.*) \|$", ERRORS, re.MULTILINE)


def test_replies_are_sent_in_order_and_then_a_default(chat_server: ScriptedServer, chat_client: ChatClient) -> None:
    chat_server.reply("Hello Alice.", memories=[HydratedMemory(title="name")], observation_id=7)
    chat_server.reply("Bye.")
    first = chat_client.chat("alice", "hi", request_id="r-1")
    assert (first.reply, first.observation_id, first.request_id) == ("Hello Alice.", 7, "r-1")
    with chat_client.stream_chat("alice", "hi") as stream:
        assert stream.begin().request_id == stream.request_id
        assert "".join(stream.text) == stream.response.reply == "Bye."
    chat_server.default_reply = "ok"
    assert [chat_client.chat("alice", "hi").reply for _ in range(2)] == ["ok", "ok"]
    assert chat_server.unscripted == []


def test_unscripted_call_fails_and_names_the_methods_that_script_it() -> None:
    with ScriptedServer() as server, ChatClient(server.address) as client:
        with pytest.raises(Unimplemented, match=r"no answer to Chat: call reply\(\), fail\(\) or hang\(\)"):
            client.chat("alice", "hi")
        with client.stream_chat("alice", "hi") as stream, pytest.raises(Unimplemented, match="no answer to StreamChat"):
            list(stream)
        for call, method in (
            (lambda: client.memory.forget("alice"), "ForgetUser"),
            (lambda: list(client.memory.export("alice")), "ExportUser"),
            (lambda: client.memory.import_items("alice", []), "ImportUser"),
        ):
            with pytest.raises(
                Unimplemented, match=f'no answer to {method}: call respond\\("{method}", {method}Response'
            ):
                call()
        assert [each.method for each in server.unscripted] == [each.method for each in server.calls]


def test_fixture_fails_a_test_whose_program_has_hidden_such_a_call(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["ilab_chat.testing.fixtures"]')
    (tmp_path / "test_hidden.py").write_text(
        "from contextlib import suppress\n"
        "def test(chat_client):\n"
        "    with suppress(Exception):\n"
        "        chat_client.chat('alice', 'hi')\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert "calls without a scripted answer: Chat" in run.stdout


def test_scripted_failure_that_the_service_never_sends_is_refused(chat_server: ScriptedServer) -> None:
    with pytest.raises(ValueError, match="need a reason"):
        chat_server.fail(retry_after=2)
    with pytest.raises(ValueError, match="need a reason"):
        chat_server.fail(field="message")
    with pytest.raises(TypeError, match=r"code must be a grpc\.StatusCode"):
        chat_server.fail("MEMORY_UNAVAILABLE", code="ABORTED")  # type: ignore[arg-type]


@pytest.mark.parametrize(("reason", "code", "details"), ROWS)
def test_failures_say_how_long_to_wait_where_the_service_does(
    chat_server: ScriptedServer, chat_client: ChatClient, reason: str, code: str, details: str
) -> None:
    chat_server.fail(reason, code=grpc.StatusCode[code])
    with pytest.raises(ChatError) as failed:
        chat_client.chat("alice", "hi")
    assert (failed.value.retry_after == 1) == ("RetryInfo" in details)


def test_refused_field_begins_the_text_as_the_service_has_it(
    chat_server: ScriptedServer, chat_client: ChatClient
) -> None:
    chat_server.fail("INVALID_FIELD", field="message", message="must not be empty")
    with pytest.raises(InvalidArgument, match=r"message: must not be empty$") as refused:
        chat_client.chat("alice", "hi")
    assert refused.value.field_violations[0].description == "must not be empty"


def test_text_of_another_type_is_named(chat_client: ChatClient) -> None:
    with pytest.raises(TypeError, match="conversation_id must be a str, not NoneType"):
        chat_client.chat("alice", "hi", conversation_id=None)  # type: ignore[arg-type]


def test_page_lists_every_option() -> None:
    section = PAGE.read_text().split("## Tests of your program")[1].split("\n## ")[0]
    for method in (ScriptedServer.fail, ScriptedServer.hang, ScriptedServer.__init__):
        for name in list(inspect.signature(method).parameters)[1:]:
            assert re.search(rf"\| `{name}[`=]", section), name
    for name in ("reply", "fail", "hang", "respond", "calls", "unscripted", "address"):
        assert f"`{name}" in section


async def test_streams_send_words_to_asyncio_too(chat_server: ScriptedServer) -> None:
    chat_server.reply(" Hello  Alice \n")
    async with AsyncChatClient(chat_server.address) as client, client.stream_chat("alice", "hi") as stream:
        assert [text async for text in stream.text] == [" Hello", "  Alice", " \n"]


def test_errors_are_those_of_the_service(chat_server: ScriptedServer, chat_client: ChatClient) -> None:
    chat_server.fail("SERVER_BUSY", retry_after=1.5)
    with pytest.raises(ResourceExhausted) as busy:
        chat_client.chat("alice", "hi")
    assert (busy.value.reason, busy.value.retry_after, len(busy.value.correlation_id)) == ("SERVER_BUSY", 1.5, 32)
    chat_server.fail("MODEL_NOT_FOUND", field="generation.model")
    with pytest.raises(InvalidArgument) as refused:
        chat_client.chat("alice", "hi")
    assert refused.value.field_violations[0].field == "generation.model"
    chat_server.fail()
    with pytest.raises(Unavailable) as lost:
        chat_client.chat("alice", "hi")
    assert lost.value.reason == ""
    with pytest.raises(ValueError, match="unknown reason SERVER_LAZY; the reasons are"):
        chat_server.fail("SERVER_LAZY")


@pytest.mark.parametrize("reason", ["", "MODEL_UNAVAILABLE", "MODEL_INTERRUPTED"])
def test_streams_break_after_a_part_of_the_reply(
    reason: str, chat_server: ScriptedServer, chat_client: ChatClient
) -> None:
    chat_server.fail(reason, after="Hello Al")
    seen: list[str] = []
    with chat_client.stream_chat("alice", "hi") as stream, pytest.raises(Interrupted) as broken:
        seen += stream.text
    assert (seen, broken.value.code) == (["Hello", " Al"], grpc.StatusCode.ABORTED)


def test_silent_streams_end_at_the_idle_timeout(chat_server: ScriptedServer, chat_client: ChatClient) -> None:
    chat_server.hang(after="Hel")
    with chat_client.stream_chat("alice", "hi", idle_timeout=1) as stream, pytest.raises(DeadlineExceeded):
        list(stream)


def test_a_server_with_a_silent_call_stops() -> None:
    server = ScriptedServer()
    server.start()
    server.hang(after="Hel")
    with ChatClient(server.address) as client, client.stream_chat("alice", "hi") as stream:
        stream.begin()
        server.stop()
        with pytest.raises(Interrupted):
            list(stream)


def test_memory_methods_answer_what_was_set(chat_server: ScriptedServer, chat_client: ChatClient) -> None:
    chat_server.respond("ListFacts", ListFactsResponse(facts=[Fact(title="name")]))
    assert [fact.title for fact in chat_client.memory.list_facts("alice")] == ["name"]
    chat_server.respond("SearchObservations", SearchObservationsResponse())
    assert chat_client.memory.search("alice", "hiking") == ()
    chat_server.respond("ExportUser", ExportUserResponse(observation=Observation(title="a")))
    assert [item.title for item in chat_client.memory.export("alice") if isinstance(item, Observation)] == ["a"]
    chat_server.respond("ImportUser", ImportUserResponse(observations=1))
    assert chat_client.memory.import_items("alice", [Observation(title="a")]).observations == 1
    chat_server.fail("NOT_FOUND", method="GetObservation")
    for _ in range(2):
        with pytest.raises(NotFound):
            chat_client.memory.get("alice", 1)
    with pytest.raises(TypeError, match="ListFacts answers with ListFactsResponse, not GetStatsResponse"):
        chat_server.respond("ListFacts", GetStatsResponse())
    with pytest.raises(ValueError, match="unknown method Chat"):
        chat_server.respond("Chat", GetStatsResponse())


def test_calls_are_recorded(chat_server: ScriptedServer) -> None:
    chat_server.fail("SERVER_DRAINING")
    chat_server.reply("ok")
    chat_server.respond("ImportUser", ImportUserResponse())
    with ChatClient(chat_server.address, metadata=(("x-team", "a"),)) as client:
        client.chat("alice", "hi", conversation_id="trip")
        client.memory.import_items("alice", [Observation(title="a")])
    repeated, chat, imported = chat_server.calls
    assert (chat.method, chat.request.conversation_id, chat.metadata["x-team"]) == ("Chat", "trip", "a")
    assert repeated.request == chat.request
    assert [each.WhichOneof("item") for each in imported.request][1:] == ["observation"]


def test_reasons_are_those_of_the_service() -> None:
    codes: dict[str, set[grpc.StatusCode]] = {}
    for row in [*TABLE.values(), INTERNAL]:
        codes.setdefault(row.reason, set()).add(row.code)
    assert REASONS.keys() == codes.keys()
    assert all(code in codes[reason] for reason, code in REASONS.items())


def test_the_documented_web_endpoint_passes_its_tests(tmp_path: Path) -> None:
    conftest, _ = re.findall(r"```py\n(.*?)```", PAGE.read_text().split("## Tests of your program")[1], re.DOTALL)[:2]
    section = PAGE.read_text().split("## A web endpoint that streams, and its tests")[1]
    app, tests = re.findall(r"```py\n(.*?)```", section, re.DOTALL)[:2]
    for name, text in {"conftest.py": conftest, "app.py": app, "test_app.py": tests}.items():
        (tmp_path / name).write_text(text)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--rootdir={tmp_path}", str(tmp_path)]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout
    assert "3 passed" in run.stdout


def test_the_documented_example_passes(tmp_path: Path) -> None:
    section = PAGE.read_text().split("## Tests of your program")[1]
    conftest, tests = re.findall(r"```py\n(.*?)```", section, re.DOTALL)[:2]
    (tmp_path / "conftest.py").write_text(conftest)
    (tmp_path / "test_assistant.py").write_text(tests)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout
    assert "3 passed" in run.stdout
