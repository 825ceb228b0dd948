"""The command, as a process, against a real server."""

import asyncio
import dataclasses
import json
import os
import re
import signal
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from batch import cases
from client.scripted import (
    REPLY,
    Context,
    Request,
    ScriptedChatService,
    abort,
    abort_raw,
    completed,
    delta,
    events,
    serving,
    silent,
    started,
)
from client.terminal import COMMAND, CTRL_C, CTRL_D, ENTER, UP, Finished, run, terminal
from ilab_chat import (
    ChatResponse,
    ContextDocument,
    Fact,
    FinishReason,
    HydratedMemory,
    MemoryMode,
    MemorySource,
    ReasoningEffort,
    RememberedFact,
    StreamChatResponse,
    TurnRetention,
    Usage,
)
from ilab_chat.cli import environment, is_interrupt, notes, output
from ilab_chat.testing import ScriptedServer
from ilab_chat.v1.memory_pb2 import ForgetUserResponse, ListFactsResponse
from ilab_chat_gateway.settings import Settings as GatewaySettings
from ilab_chat_service.settings import variables

Code = grpc.StatusCode
PROMPT = "alice>"


async def chat(target: str, *arguments: str, stdin: bytes | int = b"") -> Finished:
    return await run("chat", "--address", target, "--user", "alice", *arguments, stdin=stdin)


async def test_the_answer_is_printed(service: ScriptedChatService, target: str) -> None:
    assert await chat(target, "Hi,", "I", "hike.") == Finished(0, f"{REPLY}\n", "")
    assert (service.requests[0].user_id, service.requests[0].message) == ("alice", "Hi, I hike.")


@pytest.mark.parametrize("arguments", [(), ("-",)])
async def test_the_message_is_read_from_a_pipe(
    service: ScriptedChatService, target: str, arguments: tuple[str, ...]
) -> None:
    assert (await chat(target, *arguments, stdin="ä b\nc\n".encode())).out == f"{REPLY}\n"
    assert service.requests[0].message == "ä b\nc"


async def test_every_piece_is_printed_when_it_arrives(service: ScriptedChatService, target: str) -> None:
    read = asyncio.Event()

    async def wait_for_the_reader(_request: Request, _context: Context) -> AsyncIterator[StreamChatResponse]:
        yield delta("one ")
        await read.wait()
        yield delta("two")
        yield completed("one two")

    service.script = wait_for_the_reader
    process = await asyncio.create_subprocess_exec(
        COMMAND,
        "chat",
        "--address",
        target,
        "--user",
        "alice",
        "hi",
        stdout=asyncio.subprocess.PIPE,
        env={name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"},
    )
    assert process.stdout is not None
    assert await process.stdout.readexactly(4) == b"one "
    read.set()
    assert await process.stdout.read() == b"two\n"
    assert await process.wait() == 0


async def test_json_is_the_whole_answer(service: ScriptedChatService, target: str) -> None:
    service.script = events(started(), delta("Grüße"), completed("Grüße", observation_id=7))
    finished = await chat(target, "--json", "hi")
    assert finished.out.count("\n") == 1
    answer = json.loads(finished.out)
    assert (answer["reply"], answer["observation_id"], answer["replayed"], answer["memories"]) == (
        "Grüße",
        "7",
        False,
        [],
    )
    assert "Grüße" in finished.out


async def test_options_reach_the_request(service: ScriptedChatService, target: str) -> None:
    await chat(
        target,
        *("--request-id", "r-1", "--memory-mode", "read-only", "--turn-retention", "latest-only"),
        *("--model", "m", "--temperature", "0", "--top-p", "0.5", "--max-output-tokens", "9", "--seed", "-3"),
        *("--stop", "a", "--stop", "b", "--reasoning-effort", "low", "--json-reply"),
        *("--conversation", "c-1", "--instructions", "Be brief.", "--time-zone", "Asia/Tokyo"),
        *("--memory-type", "profile", "--memory-type", "preference"),
        "hi",
    )
    request = service.requests[0]
    assert request.request_id == "r-1"
    assert request.memory_mode == MemoryMode.MEMORY_MODE_READ_ONLY
    assert request.turn_retention == TurnRetention.TURN_RETENTION_LATEST_ONLY
    generation = request.generation
    assert (generation.model, generation.temperature, generation.top_p) == ("m", 0.0, 0.5)
    assert (generation.max_output_tokens, generation.seed, list(generation.stop_sequences)) == (9, -3, ["a", "b"])
    assert generation.HasField("temperature")
    assert generation.reasoning_effort == ReasoningEffort.REASONING_EFFORT_LOW
    assert generation.response_format.WhichOneof("format") == "json_object"
    assert (request.conversation_id, request.instructions, request.time_zone) == ("c-1", "Be brief.", "Asia/Tokyo")
    assert list(request.memory_types) == ["profile", "preference"]


async def test_files_become_documents_and_a_schema(service: ScriptedChatService, target: str, tmp_path: Path) -> None:
    (tmp_path / "huts.txt").write_text("Opens in May.\n")
    (tmp_path / "an answer.json").write_text('{"type": "object"}')
    files = ("--context", str(tmp_path / "huts.txt"), "--json-schema", str(tmp_path / "an answer.json"))
    assert (await chat(target, *files, "hi")).code == 0
    request = service.requests[0]
    assert list(request.context) == [ContextDocument(title="huts.txt", text="Opens in May.\n")]
    schema = request.generation.response_format.json_schema
    assert (schema.name, dict(schema.schema)) == ("an_answer", {"type": "object"})


@pytest.mark.parametrize(
    ("option", "content", "message"),
    [
        ("--context", None, "cannot read {}: No such file or directory"),
        ("--context", b"\xff", "{} is not UTF-8 text"),
        ("--json-schema", b"[]", "{} is not a JSON object"),
        ("--json-schema", b"{", "{} is not a JSON object"),
        ("--json-schema", b"[" * 100_000, "{} is not a JSON object"),
        ("--json-schema", b'{"a": "\\ud800"}', "an option, a file name or the schema is not valid Unicode"),
    ],
)
async def test_a_file_that_cannot_be_used_is_named(
    target: str, tmp_path: Path, option: str, content: bytes | None, message: str
) -> None:
    file = tmp_path / "file"
    if content is not None:
        file.write_bytes(content)
    assert await chat(target, option, str(file), "hi") == Finished(2, "", f"ilab-chat: {message.format(file)}\n")


@pytest.mark.parametrize("option", ["--stop", "--model"])
async def test_option_that_is_not_unicode_is_one_line(target: str, option: str) -> None:
    message = "ilab-chat: an option, a file name or the schema is not valid Unicode\n"
    assert await chat(target, option, "\udcff", "hi") == Finished(2, "", message)


async def preview(target: str, *arguments: str) -> Finished:
    return await run("preview", "--address", target, "--user", "alice", *arguments)


async def test_preview_prints_the_prompt(service: ScriptedChatService, target: str) -> None:
    finished = await preview(target, "--model", "m", "--conversation", "c-1", "hi")
    assert (finished.code, finished.err) == (0, "")
    assert finished.out.startswith("user:\nhi\n\nmemories:\nsearch 0.50 (preference) Food\nestimated tokens:\n")
    assert ", message 1, " in finished.out
    assert finished.out.endswith("\nmodel scripted, documents 0\n")
    request = service.requests[0]
    assert (request.generation.model, request.conversation_id, request.request_id) == ("m", "c-1", "")


async def test_preview_prints_json(target: str) -> None:
    preview_json = json.loads((await preview(target, "--json", "hi")).out)
    assert preview_json["messages"] == [{"role": "PROMPT_ROLE_USER", "content": "hi"}]


async def test_preview_needs_a_message(target: str) -> None:
    finished = await run("preview", "--address", target, "--user", "alice", stdin=asyncio.subprocess.DEVNULL)
    assert finished.code == 2
    assert "there is no message" in finished.err


async def test_without_options_everything_is_left_to_the_server(service: ScriptedChatService, target: str) -> None:
    await chat(target, "hi")
    assert {field.name for field, _ in service.requests[0].ListFields()} == {"user_id", "message", "request_id"}


async def test_the_address_may_come_from_the_environment(target: str) -> None:
    assert (await run("chat", "--user", "alice", "hi", env={"ILAB_CHAT_ADDRESS": target})).out == f"{REPLY}\n"


async def test_a_reply_that_was_cut_is_noted(service: ScriptedChatService, target: str) -> None:
    service.script = events(delta("Hel"), completed("Hel", finish_reason=FinishReason.FINISH_REASON_LENGTH))
    finished = await chat(target, "hi")
    assert (finished.code, finished.out) == (0, "Hel\n")
    assert finished.err == (
        "ilab-chat: the reply was truncated, by the server's default length or the model's context window:"
        " --max-output-tokens N allows N tokens (on the server: defaults.max_output_tokens)\n"
    )


async def test_nothing_listens() -> None:
    async with serving(None) as target:
        pass
    finished = await chat(target, "hi")
    assert (finished.code, finished.out, finished.err.count("\n")) == (1, "", 1)
    assert finished.err.startswith("ilab-chat: UNAVAILABLE: ")
    assert finished.err.endswith(f" (is the server running at {target}? `make run` starts one)\n")


async def test_a_bad_request_names_its_fields(service: ScriptedChatService, target: str) -> None:
    service.script = abort(
        Code.INVALID_ARGUMENT,
        "the request is not valid",
        error_details_pb2.ErrorInfo(reason="INVALID_FIELD", domain="ilab-chat"),
        error_details_pb2.BadRequest(
            field_violations=[
                error_details_pb2.BadRequest.FieldViolation(
                    field="generation.temperature", description="must be 0 to 2"
                )
            ]
        ),
    )
    assert await chat(target, "--temperature", "3", "hi") == Finished(
        1,
        "",
        "ilab-chat: INVALID_ARGUMENT INVALID_FIELD: the request is not valid; generation.temperature: must be 0 to 2\n",
    )


@pytest.mark.parametrize(
    ("code", "reason", "hint"),
    [
        (Code.RESOURCE_EXHAUSTED, "SERVER_BUSY", " (try again in 2 s)"),
        (Code.UNAVAILABLE, "MODEL_UNAVAILABLE", " (try again in 2 s)"),
        (Code.FAILED_PRECONDITION, "REQUEST_ID_REUSED", " (a new message needs a new --request-id)"),
        (Code.INVALID_ARGUMENT, "CONTEXT_TOO_LONG", " (shorten the message)"),
        (Code.ABORTED, "MODEL_INTERRUPTED", " (ask again)"),
        (Code.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED", " (a larger --timeout waits longer)"),
        (Code.INTERNAL, "INTERNAL", ""),
    ],
)
async def test_a_failure_is_one_line_that_says_what_to_do(
    service: ScriptedChatService, target: str, code: Code, reason: str, hint: str
) -> None:
    retry = error_details_pb2.RetryInfo()
    retry.retry_delay.FromMilliseconds(1500)
    info = error_details_pb2.ErrorInfo(reason=reason, domain="ilab-chat")
    service.script = abort(code, "what\nhappened", info, retry)
    # Where the reason says what the code says, it is there once.
    head = code.name if code.name == reason else f"{code.name} {reason}"
    assert await chat(target, "hi") == Finished(1, "", f"ilab-chat: {head}: what happened{hint}\n")


@cases(
    ("seconds", "shown"),
    [
        (0, "1 s"),
        (0.04, "1 s"),
        (3.66636, "4 s"),
        (120, "120 s"),
        (121, "3 min"),
        (7200, "120 min"),
        (86_399.9, "24 h"),
    ],
)
def test_times_to_wait_are_rounded_up(seconds: float, shown: str) -> None:
    assert output.waiting(seconds) == shown


async def test_exit_codes_are_the_same_for_every_command(target: str, tmp_path: Path) -> None:
    """Also compares --help and the page with the codes."""
    gone = "127.0.0.1:1"
    commands = (
        *(("chat", "hi"), ("preview", "hi")),
        *(("memory", name) for name in ("stats", "facts", "list", "sessions", "export")),
        ("memory", "search", "tea"),
        ("memory", "forget", "--yes"),
        ("memory", "import", os.devnull),
    )
    for command in commands:
        called = (*command, "--user", "a", "--timeout", "5", "--address")
        assert (await run(*called, gone)).code == output.EXIT_FAILED, command
        missing = await run(*called, target, "--token-file", str(tmp_path / "none"))
        assert (missing.code, missing.err) == (
            output.EXIT_USAGE, f"ilab-chat: cannot read {tmp_path / 'none'}: No such file or directory\n",
        )  # fmt: skip
    for option in ("--context", "--json-schema", "--tls-ca"):
        assert (await chat(target, option, str(tmp_path / "none"), "hi")).code == output.EXIT_USAGE
    importing = await run("memory", "import", str(tmp_path / "none"), "--user", "a", "--address", target)
    assert importing.code == output.EXIT_USAGE
    helped = " ".join((await run("--help")).out.split())
    page = (Path(__file__).parents[2] / "docs/clients/python.md").read_text()
    for code, meaning in output.EXIT_CODES.items():
        assert f"{code} {meaning}" in helped
        assert f"| {code} | {meaning} |" in page


async def test_text_before_a_failure_is_printed(service: ScriptedChatService, target: str) -> None:
    service.script = abort_raw(Code.ABORTED, "gone", after=(delta("Hel"),))
    assert await chat(target, "hi") == Finished(1, "Hel\n", "ilab-chat: ABORTED: gone (ask again)\n")


async def test_the_timeout_ends_the_call(service: ScriptedChatService, target: str) -> None:
    service.script = silent
    finished = await chat(target, "--timeout", "0.5", "hi")
    # With a message if the client's clock was first, without one if the server's was.
    message = r"ilab-chat: DEADLINE_EXCEEDED(: .+)? \(a larger --timeout waits longer\)\n"
    assert (finished.code, bool(re.fullmatch(message, finished.err))) == (1, True), finished


@cases(
    ("arguments", "stdin", "complaint"),
    [
        (("chat", "hi"), b"", "the following arguments are required: --user"),
        (("chat", "--user", "a", "--seed", "9999999999", "hi"), b"", "not a 32-bit integer"),
        (("chat", "--user", "a", "--timeout", "-1", "hi"), b"", "not a number of seconds"),
        (("chat", "--user", "a", "--timeout", "nan", "hi"), b"", "not a number of seconds"),
        (("chat", "--user", "a", "--memory-mode", "no", "hi"), b"", "invalid choice"),
        (("chat", "--user", "a"), b"", "there is no message"),
        (("chat", "--user", "a"), b"\xff\xfe", "standard input is not UTF-8 text"),
        ((), b"", "the following arguments are required: COMMAND"),
    ],
)
async def test_wrong_usage(arguments: tuple[str, ...], stdin: bytes, complaint: str) -> None:
    finished = await run(*arguments, stdin=stdin)
    assert (finished.code, finished.out) == (2, "")
    assert complaint in finished.err
    assert "Traceback" not in finished.err


async def test_reader_that_leaves_is_not_reported_as_an_error(service: ScriptedChatService, target: str) -> None:
    closed = asyncio.Event()

    async def long(_request: Request, _context: Context) -> AsyncIterator[StreamChatResponse]:
        yield delta("one\n")
        await closed.wait()
        yield delta("two\n")
        await asyncio.Event().wait()

    service.script = long
    reading, writing = os.pipe()
    process = await asyncio.create_subprocess_exec(
        *(COMMAND, "chat", "--address", target, "--user", "alice", "hi"), stdout=writing, stderr=asyncio.subprocess.PIPE
    )
    os.close(writing)
    assert await asyncio.to_thread(os.read, reading, 4) == b"one\n"
    os.close(reading)
    closed.set()
    _, err = await process.communicate()
    assert (process.returncode, err) == (1, b"")
    await service.left.wait()


@pytest.mark.parametrize("options", [(), ("--json",)])
async def test_an_interrupt_cancels_the_call(
    service: ScriptedChatService, target: str, options: tuple[str, ...]
) -> None:
    service.script = silent
    process = await asyncio.create_subprocess_exec(
        *(COMMAND, "chat", "--address", target, "--user", "alice", *options, "hi"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    await service.entered.wait()
    process.send_signal(signal.SIGINT)
    out, err = await process.communicate()
    assert (process.returncode, out.strip() in {b"", b"Hel"}, err) == (130, True, b"")
    await service.left.wait()


async def test_a_conversation(service: ScriptedChatService, target: str, tmp_path: Path) -> None:
    async with terminal("chat", "--address", target, "--user", "alice", cwd=tmp_path) as person:
        await person.until("Ctrl-D leaves")
        await person.until(PROMPT)
        person.type("hi" + ENTER)
        await person.until(REPLY)
        await person.until(PROMPT)
        person.type(ENTER)
        await person.until(PROMPT)
        person.type(UP + " again" + ENTER)
        await person.until(REPLY)
        await person.until(PROMPT)
        person.type(CTRL_D)
        assert await person.exit_code() == 0
    assert [request.message for request in service.requests] == ["hi", "hi again"]
    assert list(tmp_path.iterdir()) == []  # noqa: ASYNC240


MEMORIES = [
    HydratedMemory(
        observation_id=9, type="preference", snippet="I love hiking.", source=MemorySource.MEMORY_SOURCE_FACT
    ),
    HydratedMemory(observation_id=8, type="discovery", source=MemorySource.MEMORY_SOURCE_TURN),
]
REMEMBERED = [RememberedFact(observation_id=10, type="profile", title="name", content="my name is\x1b[2J Alice")]


async def test_a_terminal_shows_what_memory_did_and_a_pipe_does_not(
    service: ScriptedChatService, target: str, tmp_path: Path
) -> None:
    service.script = events(delta("Hi"), completed("Hi", memories=MEMORIES, remembered=REMEMBERED))
    async with terminal("chat", "--address", target, "--user", "alice", "hi", cwd=tmp_path) as person:
        assert await person.exit_code() == 0
    reply, told, turns, remembered = person.seen.splitlines()
    assert reply == "Hi"
    assert told.startswith("\x1b[2min the prompt: I love hiking. (fact, ")
    assert turns == "\x1b[2min the prompt: 1 earlier turn\x1b[0m"
    assert remembered == "\x1b[2mremembered: my name is[2J Alice (profile)\x1b[0m"
    plain = {"NO_COLOR": "1"}
    async with terminal("chat", "--address", target, "--user", "alice", "hi", cwd=tmp_path, env=plain) as person:
        await person.exit_code()
    assert "\x1b" not in person.seen
    assert (await chat(target, "hi")).out == "Hi\n"


@cases("erased", [0, 9])
def test_notes_name_a_forgotten_turn_or_fact_alike(erased: int) -> None:
    # "Forget everything about Lyle." may erase many turns and facts, of which the response names the newest.
    noted = list(notes.notes(ChatResponse(forgotten_observation_id=erased)))
    assert noted == (["forgotten: what you asked to forget"] if erased else [])


async def test_commands_of_a_conversation_never_reach_the_model(tmp_path: Path) -> None:
    with ScriptedServer(default_reply="ok") as server:
        server.reply("Hello.", memories=MEMORIES)
        server.respond("ListFacts", ListFactsResponse(facts=[Fact(type="profile", content="my name is Alice")]))
        server.respond("ForgetUser", ForgetUserResponse(observations=3))
        async with terminal("chat", "--address", server.address, "--user", "alice", cwd=tmp_path) as person:
            await person.until(PROMPT)
            for typed, seen in [
                ("/why", "There is no answer yet."),
                ("hi", "Hello."),
                ("/why", "turn 8 (turn, "),
                ("/facts", "my name is Alice (profile)"),
                ("/hlep", "ilab-chat: there is no command /hlep: did you mean /help?"),
                ("/help", "/quit     leave, as Ctrl-D does"),
                ("/new", "A new conversation."),
                ("and\x1b\ron", "ok"),
            ]:
                person.type(typed + ENTER)
                await person.until(seen)
                await person.until(PROMPT)
            person.type("/forget" + ENTER)
            await person.until("to confirm: ")
            person.type("bob\n")
            await person.until("nothing was erased")
            await person.until(PROMPT)
            person.type("/forget" + ENTER)
            await person.until("to confirm: ")
            person.type("alice\n")
            await person.until("Erased 3 observations.")
            await person.until(PROMPT)
            person.type("/quit" + ENTER)
            assert await person.exit_code() == 0
        chats = [call.request for call in server.calls if call.method == "StreamChat"]
        assert [call.method for call in server.calls if call.method != "StreamChat"] == ["ListFacts", "ForgetUser"]
    assert [request.message for request in chats] == ["hi", "and\non"]
    assert chats[0].conversation_id == ""
    assert len(chats[1].conversation_id) == 32


@cases(
    ("arguments", "line"),
    [
        (("health", "--address", "http://chat"), "an address has no http://: type --address chat:50051\n"),
        (("health", "--address", "https://chat/x"), "an address has no https://: type --address chat:443 --tls\n"),
        (("health", "--address", "chat"), "the address has no port: type --address chat:50051\n"),
        (
            ("memory", "stats", "--user", "a", "--address", "chat:1/"),
            "an address ends with its port: type --address chat:1\n",
        ),
        (("health", "--adress", "chat:1"), "there is no option --adress: did you mean --address?"),
        (("chat", "--usr", "a", "hi"), "there is no option --usr: did you mean --user?"),
        (("chat", "-user", "a", "hi"), "there is no option -user: did you mean --user?"),
        (
            ("chat", "--user", "a", "--temprature=1", "hi"),
            "there is no option --temprature: did you mean --temperature?",
        ),
        (("chat", "--user", "a", "--zzzzz", "hi"), "there is no option --zzzzz (`ilab-chat chat --help` lists"),
        (("memoryy", "stats"), "there is no command memoryy: did you mean memory? (`ilab-chat --help` lists"),
        (("memory", "searchh", "--user", "a"), "there is no command searchh: did you mean search?"),
        (("chat", "hi"), "the following arguments are required: --user (`ilab-chat chat --help` lists the options)\n"),
    ],
)
async def test_wrong_usage_says_what_to_type_in_one_line(arguments: tuple[str, ...], line: str) -> None:
    finished = await run(*arguments)
    assert (finished.code, finished.out, finished.err.count("\n")) == (2, "", 1)
    assert finished.err.startswith("ilab-chat: ")
    assert line in finished.err


@pytest.mark.parametrize(
    "words", [("--temp", "0.5", "hi"), ("hi", "--", "--usr"), ("-- hi --usr there",), ("--seed", "-3", "hi")]
)
async def test_abbreviations_and_messages_with_dashes_are_not_misspelt(target: str, words: tuple[str, ...]) -> None:
    assert (await chat(target, *words)).code == 0


@pytest.mark.parametrize(
    ("limit", "reply", "said"),
    [
        ((), "Hel", " after 3 tokens, by the server's default length"),
        (("--max-output-tokens", "3"), "Hel", " at --max-output-tokens 3: a larger number allows more"),
        (
            ("--max-output-tokens", "9"),
            "Hel",
            " after 3 tokens, fewer than --max-output-tokens 9, by the model's context",
        ),
        ((), "x" * 2**20, " at 1 MiB, the maximum"),
    ],
)
async def test_a_truncated_reply_says_by_what(
    service: ScriptedChatService, target: str, limit: tuple[str, ...], reply: str, said: str
) -> None:
    service.script = events(
        delta(reply), completed(reply, finish_reason=FinishReason.FINISH_REASON_LENGTH, usage=Usage(output_tokens=3))
    )
    assert (await chat(target, *limit, "hi")).err.startswith(f"ilab-chat: the reply was truncated{said}")


async def test_misspelt_variables_are_warned_of_with_the_nearest_name(target: str) -> None:
    finished = await run(
        *("chat", "--address", target, "--user", "a", "hi"),
        env={"ILAB_CHAT_ADRESS": "secret:1", "ILAB_MEMORY_TOKEN_FLIE": "x", "ILAB_CHAT_WORKERS": "2"},
    )
    assert (finished.code, finished.out) == (0, f"{REPLY}\n")
    assert finished.err == (
        "ilab-chat: warning: ILAB_CHAT_ADRESS is set, but there is no such setting: did you mean ILAB_CHAT_ADDRESS?\n"
        "ilab-chat: warning: ILAB_MEMORY_TOKEN_FLIE is set, but there is no such setting:"
        " did you mean ILAB_CHAT_TOKEN_FILE?\n"
    )


def test_settings_of_the_server_and_the_gateway_are_not_misspelt_ones_of_the_command() -> None:
    theirs = {*variables(), *(field.metadata["env"] for field in dataclasses.fields(GatewaySettings))}
    assert list(environment.misspelt(dict.fromkeys([*theirs, "ILAB_CHAT_URL", "ILAB_MEMORY_TOKEN"], ""))) == []
    assert {*environment.OTHERS} <= theirs | {"ILAB_MEMORY_TOKEN"}


async def test_tls_against_plaintext_says_what_to_type(target: str) -> None:
    finished = await chat(target, "--tls", "hi")
    assert finished.code == 1
    assert f"the server at {target} does not speak TLS: leave out the --tls options" in finished.err
    assert finished.err.count("\n") == 1


@pytest.mark.parametrize("command", [("chat", "hi"), ("memory", "stats"), ("memory", "list")])
async def test_http_port_in_place_of_the_grpc_port_says_what_to_type(command: tuple[str, ...]) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        finished = await run(*command, "--user", "a", "--address", f"127.0.0.1:{port}")
    assert finished.code == 1
    assert finished.err.endswith(
        f"(an HTTP server answers at 127.0.0.1:{port}; give the gRPC port, as in --address 127.0.0.1:50051)\n"
    )


def test_ctrl_c_while_a_lock_is_waited_for_is_an_interrupt() -> None:
    with pytest.raises(RuntimeError) as failed:
        interrupted_wait(threading.Lock())
    assert is_interrupt(failed.value)
    assert not is_interrupt(RuntimeError())


def interrupted_wait(lock: threading.Lock) -> None:
    """Fail as `Condition.wait` does when Ctrl-C comes before it holds its lock again."""
    with lock:
        lock.release()
        raise KeyboardInterrupt


async def test_ctrl_c_stops_an_answer_and_not_the_conversation(
    service: ScriptedChatService, target: str, tmp_path: Path
) -> None:
    async with terminal("chat", "--address", target, "--user", "alice", cwd=tmp_path) as person:
        await person.until(PROMPT)
        service.script = silent
        person.type("hi" + ENTER)
        await person.until("Hel")
        person.type(CTRL_C)
        await service.left.wait()
        await person.until(PROMPT)
        person.type("half a line" + CTRL_C)
        await person.until(PROMPT)
        service.script = abort_raw(Code.ABORTED, "gone")
        person.type("hi" + ENTER)
        await person.until("ilab-chat: ABORTED: gone (ask again)")
        await person.until(PROMPT)
        service.script = events(delta("Back"), completed("Back"))
        person.type("hi" + ENTER)
        await person.until("Back")
        await person.until(PROMPT)
        person.type(CTRL_D)
        assert await person.exit_code() == 0
    assert "Traceback" not in person.seen


async def test_second_ctrl_c_on_an_empty_line_leaves(target: str, tmp_path: Path) -> None:
    async with terminal("chat", "--address", target, "--user", "alice", cwd=tmp_path) as person:
        await person.until(PROMPT)
        person.type(CTRL_C)
        await person.until("Ctrl-C again leaves.")
        await person.until(PROMPT)
        person.type("half a line" + CTRL_C)
        await person.until(PROMPT)
        person.type(CTRL_C)
        await person.until("Ctrl-C again leaves.")
        await person.until(PROMPT)
        person.type(CTRL_C)
        assert await person.exit_code() == 130
    assert "Traceback" not in person.seen


async def test_a_reply_cannot_steer_the_terminal(service: ScriptedChatService, target: str, tmp_path: Path) -> None:
    attack = "\x1b]0;title\x07\x1b[2Jplain\x9b2J"
    service.script = events(delta(attack), completed(attack))
    async with terminal("chat", "--address", target, "--user", "alice", "hi", cwd=tmp_path) as person:
        assert await person.exit_code() == 0
    assert person.seen == "]0;title[2Jplain2J\r\n"
    assert (await chat(target, "hi")).out == f"{attack}\n"


async def test_a_request_id_is_for_one_message(target: str, tmp_path: Path) -> None:
    options = ("--address", target, "--user", "alice", "--request-id", "r-1")
    async with terminal("chat", *options, cwd=tmp_path) as person:
        assert await person.exit_code() == 2
    assert "--request-id is for a single message" in person.seen


@pytest.fixture
async def health_target() -> AsyncIterator[str]:
    server = grpc.aio.server()
    servicer = health.aio.HealthServicer()
    await servicer.set("down", health_pb2.HealthCheckResponse.NOT_SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield f"127.0.0.1:{port}"
    await server.stop(None)


async def test_health_tells_the_status_and_exits_by_it(health_target: str) -> None:
    assert await run("health", "--address", health_target) == Finished(0, "SERVING\n", "")
    down = await run("health", "--address", health_target, "--service", "down")
    assert down == Finished(1, "NOT_SERVING\n", "")
    unknown = await run("health", "--address", health_target, "--service", "unknown")
    assert (unknown.code, unknown.out) == (1, "")
    assert unknown.err.startswith("ilab-chat: NOT_FOUND")


async def test_health_of_something_else(target: str) -> None:
    finished = await run("health", "--address", target)
    assert finished.code == 1
    assert finished.err.endswith(f"(is {target} an ilab-chat server?)\n")


MEMORY = [("memory",), *(("memory", name) for name in ("search", "timeline", "stats", "export", "forget"))]


@cases("command", [(), ("chat",), ("health",), *MEMORY])
async def test_every_command_has_help(command: tuple[str, ...]) -> None:
    finished = await run(*command, "--help")
    assert finished.code == 0
    assert finished.out.startswith(" ".join(["usage: ilab-chat", *command]))
    assert command == ("health",) or "example" in finished.out
