"""`ilab-chat memory`, as a process and in a terminal, against a real server."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from batch import cases
from client.scripted import Context, serving
from client.scripted_memory import AT, SESSION, ScriptedMemoryService, compact, exported, observation
from client.terminal import COMMAND, CTRL_C, CTRL_D, ENTER, Finished, run, terminal
from ilab_chat.v1 import memory_pb2 as pb

BOLD, PLAIN = "\x1b[1m", "\x1b[0m"
ERASED = pb.ForgetUserResponse(observations=3)
STATS = pb.GetStatsResponse(observations=3, sessions=1)
UTC = {"TZ": "UTC"}


async def cli(target: str, name: str, *arguments: str, **options: Any) -> Finished:
    return await run("memory", name, "--address", target, "--user", "alice", *arguments, **options)


async def screen(
    target: str, name: str, *arguments: str, cwd: Path, columns: int = 80, env: dict[str, str] | None = None
) -> str:
    """Return what a terminal shows of a command that succeeds."""
    options = ("memory", name, "--address", target, "--user", "alice", *arguments)
    async with terminal(*options, cwd=cwd, columns=columns, env=UTC | (env or {})) as person:
        assert await person.exit_code() == 0
        return person.seen.replace("\r\n", "\n")


def failing(code: grpc.StatusCode, message: str, *before: Message) -> Any:
    async def script(_request: Message, context: Context) -> AsyncIterator[Message]:
        for response in before:
            yield response
        await context.abort(code, message)

    return script


async def test_search_options_reach_the_request(memory: ScriptedMemoryService, memory_target: str) -> None:
    memory.says("SearchObservations", pb.SearchObservationsResponse())
    await cli(memory_target, "search", "--limit", "3", "--type", "a", "--type", "b", "love", "hiking")
    await cli(memory_target, "search", "--not-type", "c", "x")
    assert [request for _, request in memory.calls] == [
        pb.SearchObservationsRequest(user_id="alice", query="love hiking", page_size=3, types=["a", "b"]),
        pb.SearchObservationsRequest(user_id="alice", query="x", types_exclude=["c"]),
    ]


async def test_search_in_a_pipe_is_json(memory: ScriptedMemoryService, memory_target: str) -> None:
    memory.says("SearchObservations", pb.SearchObservationsResponse(observations=[compact(2, "Grüße\x1b[2J")]))
    finished = await cli(memory_target, "search", "hi")
    assert (finished.code, finished.err, finished.out.count("\n")) == (0, "", 1)
    assert json.loads(finished.out) == {
        "observations": [
            {
                "id": "2",
                "type": "preference",
                "title": "Grüße\x1b[2J",
                "score": 0.63,
                "snippet": "",
                "update_time": "2026-11-22T23:18:00Z",
            }
        ]
    }
    assert "Grüße" in finished.out


async def test_search_in_a_terminal_is_a_table(
    memory: ScriptedMemoryService, memory_target: str, tmp_path: Path
) -> None:
    found = [
        compact(12, "日本のハイキングが大好きです。毎週末に山へ行きます。"),
        compact(3, "Hobby\x1b]0;x\x07\nnext", score=1),
    ]
    memory.says("SearchObservations", pb.SearchObservationsResponse(observations=found))
    assert await screen(memory_target, "search", "hi", cwd=tmp_path, columns=60) == (
        f"{BOLD}id  updated           type        score  title{PLAIN}\n"
        "12  2026-11-22 23:18  preference   0.63  日本のハイキングが…\n"
        " 3  2026-11-22 23:18  preference   1.00  Hobby]0;x next\n"
    )


@pytest.mark.parametrize("env", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
async def test_a_head_is_plain_where_asked(
    memory: ScriptedMemoryService, memory_target: str, tmp_path: Path, env: dict[str, str]
) -> None:
    memory.says("SearchObservations", pb.SearchObservationsResponse(observations=[compact()]))
    assert "\x1b" not in await screen(memory_target, "search", "hi", cwd=tmp_path, env=env)


async def test_json_in_a_terminal_when_asked(memory: ScriptedMemoryService, memory_target: str, tmp_path: Path) -> None:
    memory.says("SearchObservations", pb.SearchObservationsResponse(observations=[compact(2, "a\x1b[2J\x9b2J")]))
    shown = await screen(memory_target, "search", "--json", "hi", cwd=tmp_path, columns=1000)
    assert json.loads(shown)["observations"][0]["id"] == "2"
    assert "\x1b" not in shown
    assert "\x9b" not in shown


async def test_nothing_found(memory: ScriptedMemoryService, memory_target: str, tmp_path: Path) -> None:
    memory.says("SearchObservations", pb.SearchObservationsResponse())
    assert await screen(memory_target, "search", "hi", cwd=tmp_path) == "Nothing found.\n"
    assert await cli(memory_target, "search", "hi") == Finished(0, '{"observations": []}\n', "")


async def test_a_timeline_marks_what_was_asked_for(
    memory: ScriptedMemoryService, memory_target: str, tmp_path: Path
) -> None:
    seen = [observation(6, "Before", create_time=AT), observation(7, "Asked", create_time=AT)]
    memory.says("GetTimeline", pb.GetTimelineResponse(observations=seen))
    assert await screen(memory_target, "timeline", "7", cwd=tmp_path, env={"NO_COLOR": "1"}) == (
        "   id  created           type        title\n"
        "    6  2026-11-22 23:18  preference  Before\n"
        ">   7  2026-11-22 23:18  preference  Asked\n"
    )
    finished = await cli(memory_target, "timeline", "7")
    assert [each["title"] for each in json.loads(finished.out)["observations"]] == ["Before", "Asked"]
    assert memory.calls[0][1] == pb.GetTimelineRequest(user_id="alice", observation_id=7)


async def test_a_timeline_of_nothing_fails(memory: ScriptedMemoryService, memory_target: str) -> None:
    memory.says("GetTimeline", pb.GetTimelineResponse())
    expected = Finished(1, "", "ilab-chat: the user has no observation 7\n")
    assert await cli(memory_target, "timeline", "7") == expected


async def test_stats(memory: ScriptedMemoryService, memory_target: str, tmp_path: Path) -> None:
    memory.says("GetStats", STATS)
    assert await screen(memory_target, "stats", cwd=tmp_path) == "observations  3\nsessions      1\n"
    times = {"first_time": Timestamp(seconds=1_700_000_000), "last_time": Timestamp(seconds=1_700_086_400)}
    each = pb.TypeStats(type="discovery", observations=2, text_bytes=999, **times)
    other = pb.TypeStats(type="profile", observations=1, text_bytes=1001, **times)
    memory.says("GetStats", pb.GetStatsResponse(
        observations=3, sessions=1, facts=1, text_bytes=2_000, types=[each, other], **times
    ))  # fmt: skip
    seen = " ".join((await screen(memory_target, "stats", cwd=tmp_path, env={"NO_COLOR": "1"})).split())
    first, last = "2023-11-14 22:13", "2023-11-15 22:13"
    assert seen == (
        f"observations 3 sessions 1 facts 1 text 2.0 kB first {first} last {last}"
        f" type observations text first last discovery 2 999 B {first} {last} profile 1 1.0 kB {first} {last}"
    )
    found = json.loads((await cli(memory_target, "stats")).out)
    assert (found["facts"], [each["text_bytes"] for each in found["types"]]) == ("1", ["999", "1001"])
    assert all(request.by_type for rpc, request in memory.calls if rpc == "GetStats")


async def test_a_list_is_a_table_or_json(memory: ScriptedMemoryService, memory_target: str, tmp_path: Path) -> None:
    memory.says("ListObservations", pb.ListObservationsResponse(observations=[observation(2, "New"), observation(1)]))
    assert await screen(memory_target, "list", cwd=tmp_path, env={"NO_COLOR": "1"}) == (
        "id  updated           type        title\n"
        " 2  2026-11-22 23:18  preference  New\n"
        " 1  2026-11-22 23:18  preference  Hobby\n"
    )
    finished = await cli(memory_target, "list", "--limit", "1", "--type", "preference", "--conversation", "")
    assert [each["title"] for each in json.loads(finished.out)["observations"]] == ["New"]
    assert [request for _, request in memory.calls] == [
        pb.ListObservationsRequest(user_id="alice", page_size=50),
        pb.ListObservationsRequest(user_id="alice", page_size=1, types=["preference"], conversation_id=""),
    ]
    memory.says("ListObservations", pb.ListObservationsResponse())
    assert await screen(memory_target, "list", "--limit", "0", cwd=tmp_path) == "Nothing found.\n"
    assert memory.calls[-1][1].page_size == 200


async def test_sessions_are_a_table_or_json(memory: ScriptedMemoryService, memory_target: str, tmp_path: Path) -> None:
    done = pb.Session(
        id="s-2", start_time=AT, end_time=AT, summary="Tea.", state=pb.SESSION_STATE_COMPLETED, conversation_id="c-1"
    )
    memory.says("ListSessions", pb.ListSessionsResponse(sessions=[SESSION, done]))
    assert await screen(memory_target, "sessions", cwd=tmp_path, env={"NO_COLOR": "1"}) == (
        "started           ended             conversation  summary\n"
        "2026-11-22 23:18  active\n"
        "2026-11-22 23:18  2026-11-22 23:18  c-1           Tea.\n"
    )
    finished = await cli(memory_target, "sessions", "--conversation", "c-1")
    assert [each["id"] for each in json.loads(finished.out)["sessions"]] == ["s-1", "s-2"]
    assert memory.calls[-1][1] == pb.ListSessionsRequest(user_id="alice", conversation_id="c-1", page_size=50)
    memory.says("ListSessions", pb.ListSessionsResponse())
    assert await screen(memory_target, "sessions", cwd=tmp_path) == "Nothing found.\n"


async def test_edit_prints_its_outcome(memory: ScriptedMemoryService, memory_target: str, tmp_path: Path) -> None:
    result = pb.SaveResult(id=7, outcome=pb.SAVE_OUTCOME_UPDATED)
    memory.says("UpdateObservation", pb.UpdateObservationResponse(result=result))
    assert await screen(memory_target, "edit", "7", "--title", "New", cwd=tmp_path) == "Updated observation 7.\n"
    request = memory.calls[0][1]
    assert (request.observation_id, request.title, list(request.update_mask.paths)) == (7, "New", ["title"])
    finished = await cli(memory_target, "edit", "7", "--type", "decision", "--content", "c")
    assert json.loads(finished.out)["result"]["outcome"] == "SAVE_OUTCOME_UPDATED"
    result.outcome = pb.SAVE_OUTCOME_DEDUPED
    memory.says("UpdateObservation", pb.UpdateObservationResponse(result=result))
    said = await screen(memory_target, "edit", "7", "--title", "New", cwd=tmp_path)
    assert said == "Observation 7 has these values already.\n"
    nothing = await cli(memory_target, "edit", "7")
    assert nothing == Finished(
        2, "", "ilab-chat: edit needs --title, --content, --type, --pin, --no-pin or --expires\n"
    )
    memory.scripts["UpdateObservation"] = failing(grpc.StatusCode.NOT_FOUND, "no")
    missing = await cli(memory_target, "edit", "7", "--title", "New")
    assert missing == Finished(1, "", "ilab-chat: the user has no observation 7\n")


async def test_an_edit_pins_unpins_and_sets_the_expiry(memory: ScriptedMemoryService, memory_target: str) -> None:
    result = pb.SaveResult(id=7, outcome=pb.SAVE_OUTCOME_UPDATED)
    memory.says("UpdateObservation", pb.UpdateObservationResponse(result=result))
    for option in (("--pin",), ("--no-pin",), ("--expires", "2026-11-22T23:18Z"), ("--expires", "never")):
        assert (await cli(memory_target, "edit", "7", *option)).code == 0
    sent = [(each.pinned, each.expire_time, list(each.update_mask.paths)) for _, each in memory.calls]
    assert sent == [
        (True, Timestamp(), ["pinned"]),
        (False, Timestamp(), ["pinned"]),
        (False, AT, ["expire_time"]),
        (False, Timestamp(), ["expire_time"]),
    ]


async def test_save_stores_what_its_options_say(
    memory: ScriptedMemoryService, memory_target: str, tmp_path: Path
) -> None:
    result = pb.SaveResult(id=7, outcome=pb.SAVE_OUTCOME_CREATED)
    memory.says("SaveObservation", pb.SaveObservationResponse(result=result))
    needed = ("--type", "preference", "--title", "Tea", "Likes tea.")
    assert await screen(memory_target, "save", *needed, cwd=tmp_path) == "Created observation 7.\n"
    more = ("--key", "tea", "--pin", "--expires", "2026-11-23T00:18+01:00", "--conversation", "c-1")
    finished = await cli(memory_target, "save", *needed, *more)
    assert json.loads(finished.out)["result"]["outcome"] == "SAVE_OUTCOME_CREATED"
    for _, request in memory.calls:
        request.ClearField("request_id")
    plain = pb.SaveObservationRequest(user_id="alice", content="Likes tea.", type="preference", title="Tea")
    full = pb.SaveObservationRequest(topic_key="tea", pinned=True, expire_time=AT, conversation_id="c-1")
    full.MergeFrom(plain)
    assert [request for _, request in memory.calls] == [plain, full]
    result.outcome = pb.SAVE_OUTCOME_DEDUPED
    memory.says("SaveObservation", pb.SaveObservationResponse(result=result))
    assert await screen(memory_target, "save", *needed, cwd=tmp_path) == "Already there: observation 7.\n"


async def test_facts_are_a_table_or_json(memory: ScriptedMemoryService, memory_target: str, tmp_path: Path) -> None:
    facts = [
        pb.Fact(observation_id=2, type="decision", title="Style", content="Short.", pinned=True, update_time=AT),
        pb.Fact(observation_id=1, type="profile", title="Name", content="My name is Alice.", update_time=AT),
    ]
    memory.says("ListFacts", pb.ListFactsResponse(facts=facts))
    assert await screen(memory_target, "facts", cwd=tmp_path, env={"NO_COLOR": "1"}) == (
        "id  updated           type      pinned  title  content\n"
        " 2  2026-11-22 23:18  decision  yes     Style  Short.\n"
        " 1  2026-11-22 23:18  profile           Name   My name is Alice.\n"
    )
    finished = await cli(memory_target, "facts", "--limit", "1", "--type", "decision")
    assert [each["content"] for each in json.loads(finished.out)["facts"]] == ["Short."]
    assert [request for _, request in memory.calls] == [
        pb.ListFactsRequest(user_id="alice", page_size=50),
        pb.ListFactsRequest(user_id="alice", page_size=1, types=["decision"]),
    ]
    memory.says("ListFacts", pb.ListFactsResponse())
    assert await screen(memory_target, "facts", cwd=tmp_path) == "No facts.\n"


async def test_show_prints_an_observation_whole(
    memory: ScriptedMemoryService, memory_target: str, tmp_path: Path
) -> None:
    fields = {"create_time": AT, "expire_time": AT, "pinned": True, "topic_key": "fact/taste/hiking"}
    found = observation(7, "Taste", content="I love\nhiking.", source_observation_ids=[5, 6], **fields)
    memory.says("GetObservation", pb.GetObservationResponse(observation=found))
    assert await screen(memory_target, "show", "7", cwd=tmp_path) == (
        "type          preference\n"
        "title         Taste\n"
        "key           fact/taste/hiking\n"
        "pinned        yes\n"
        "created       2026-11-22 23:18\n"
        "updated       2026-11-22 23:18\n"
        "expires       2026-11-22 23:18\n"
        "derived from  5, 6\n"
        "\nI love\nhiking.\n"
    )
    assert json.loads((await cli(memory_target, "show", "7")).out)["observation"]["source_observation_ids"] == [
        "5",
        "6",
    ]
    memory.scripts["GetObservation"] = failing(grpc.StatusCode.NOT_FOUND, "no")
    missing = await cli(memory_target, "show", "7")
    assert missing == Finished(1, "", "ilab-chat: the user has no observation 7\n")


async def test_a_deletion_asks_for_the_id(memory: ScriptedMemoryService, memory_target: str, tmp_path: Path) -> None:
    memory.says("GetObservation", pb.GetObservationResponse(observation=observation(7, "Tea")))
    memory.says("DeleteObservation", pb.DeleteObservationResponse())
    options = ("memory", "delete", "--address", memory_target, "--user", "alice", "7")
    async with terminal(*options, cwd=tmp_path) as person:
        await person.until('This erases "Tea" for good. Type 7 to go on: ')
        person.type("8" + ENTER)
        assert await person.exit_code() == 1
        assert "nothing was erased: that is not the id of the observation" in person.seen
    assert [rpc for rpc, _ in memory.calls] == ["GetObservation"]
    async with terminal(*options, cwd=tmp_path) as person:
        await person.until("go on: ")
        person.type("7" + ENTER)
        await person.until("Erased observation 7.")
        assert await person.exit_code() == 0
    assert memory.calls[-1][1].observation_id == 7


async def test_a_deletion_in_a_script_needs_yes(memory: ScriptedMemoryService, memory_target: str) -> None:
    memory.says("DeleteObservation", pb.DeleteObservationResponse())
    refused = await cli(memory_target, "delete", "7", stdin=b"7\n")
    assert (refused.code, refused.out, memory.calls) == (2, "", [])
    assert await cli(memory_target, "delete", "7", "--yes") == Finished(0, "{}\n", "")
    memory.scripts["DeleteObservation"] = failing(grpc.StatusCode.NOT_FOUND, "no")
    missing = await cli(memory_target, "delete", "7", "--yes")
    assert missing == Finished(1, "", "ilab-chat: the user has no observation 7\n")


async def test_import_reads_the_output_of_export(
    memory: ScriptedMemoryService, memory_target: str, tmp_path: Path
) -> None:
    hashed = observation(1, "Gr\u00fc\u00dfe", content_hash=b"\x00\xff", create_time=AT)
    memory.says("ExportUser", exported(SESSION), exported(hashed))
    memory.says("ImportUser", pb.ImportUserResponse(sessions=1, observations=2))
    file = tmp_path / "alice.jsonl"
    await cli(memory_target, "export", "--output", str(file))
    finished = await cli(memory_target, "import", str(file))
    assert finished == Finished(0, '{"sessions": "1", "observations": "2"}\n', "")
    sent = [
        pb.ImportUserRequest(user_id="alice"),
        pb.ImportUserRequest(session=SESSION),
        pb.ImportUserRequest(observation=hashed),
    ]
    assert memory.calls[-1][1] == sent
    said = await screen(memory_target, "import", str(file), cwd=tmp_path)
    assert said == "Added 1 session and 2 observations.\n"
    await cli(memory_target, "import", "-", stdin=file.read_bytes())
    assert memory.calls[-1][1] == sent


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "cannot read {}: No such file or directory"),
        (b'{"session": {}}\n\nnot this\n', "line 3 is not an item of an export"),
        (b"\xff\n", "cannot read {}: it is not UTF-8"),
    ],
)
async def test_a_file_that_is_not_an_export_is_one_line(
    memory: ScriptedMemoryService, memory_target: str, tmp_path: Path, content: bytes | None, complaint: str
) -> None:
    memory.says("ImportUser", pb.ImportUserResponse())
    file = tmp_path / "alice.jsonl"
    if content is not None:
        file.write_bytes(content)
    finished = await cli(memory_target, "import", str(file))
    assert finished == Finished(2, "", f"ilab-chat: {complaint.format(file)}\n")


async def test_an_export_is_json_lines(memory: ScriptedMemoryService, memory_target: str) -> None:
    memory.says("ExportUser", exported(SESSION), exported(observation(1, "a\nb")))
    finished = await cli(memory_target, "export")
    session, remembered = map(json.loads, finished.out.splitlines())
    assert (session["session"]["id"], session["session"]["start_time"]) == ("s-1", "2026-11-22T23:18:00Z")
    assert (remembered["observation"]["id"], remembered["observation"]["title"]) == ("1", "a\nb")
    assert (finished.code, finished.err) == (0, "")
    # An export may take long: no limit unless one is given.
    assert memory.time_remaining is None or memory.time_remaining > 10**6


async def test_json_loses_nothing_in_an_encoding_that_lacks_it(
    memory: ScriptedMemoryService, memory_target: str
) -> None:
    memory.says("ExportUser", exported(observation(1, "Grüße 日本")))
    finished = await cli(memory_target, "export", env={"PYTHONIOENCODING": "ascii"})
    assert json.loads(finished.out)["observation"]["title"] == "Grüße 日本"


async def test_an_export_to_a_file_replaces_it(
    memory: ScriptedMemoryService, memory_target: str, tmp_path: Path
) -> None:
    memory.says("ExportUser", exported(SESSION), exported(observation(1, "Grüße")))
    file, link = tmp_path / "alice.jsonl", tmp_path / "link"
    file.write_text("old")
    link.symlink_to(file)
    assert await cli(memory_target, "export", "--output", str(link)) == Finished(0, "", "")
    assert [list(json.loads(line)) for line in file.read_text().splitlines()] == [["session"], ["observation"]]
    assert "Grüße" in file.read_text()
    assert sorted(tmp_path.iterdir()) == [file, link]  # noqa: ASYNC240
    assert link.is_symlink()
    assert file.stat().st_mode & 0o777 == 0o600


async def test_an_export_that_fails_leaves_the_file_as_it_was(
    memory: ScriptedMemoryService, memory_target: str, tmp_path: Path
) -> None:
    memory.scripts["ExportUser"] = failing(grpc.StatusCode.ABORTED, "gone", exported(SESSION))
    file = tmp_path / "alice.jsonl"
    file.write_text("old")
    assert await cli(memory_target, "export", "--output", str(file)) == Finished(
        1, "", "ilab-chat: ABORTED: gone (ask again)\n"
    )
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]  # noqa: ASYNC240


async def test_an_interrupted_export_leaves_nothing(
    memory: ScriptedMemoryService, memory_target: str, tmp_path: Path
) -> None:
    memory.scripts["ExportUser"] = memory.endless
    options = ("--address", memory_target, "--user", "alice", "--output", str(tmp_path / "alice.jsonl"))
    process = await asyncio.create_subprocess_exec(
        COMMAND, "memory", "export", *options, stderr=asyncio.subprocess.PIPE
    )
    await memory.sent.wait()
    process.send_signal(signal.SIGINT)
    assert (await process.communicate())[1] == b""
    assert process.returncode == 130
    assert list(tmp_path.iterdir()) == []  # noqa: ASYNC240
    await memory.left.wait()


async def test_a_file_that_cannot_be_written_is_one_line(
    memory: ScriptedMemoryService, memory_target: str, tmp_path: Path
) -> None:
    memory.says("ExportUser", exported(SESSION))
    name = str(tmp_path / "no" / "alice.jsonl")
    assert await cli(memory_target, "export", "--output", name) == Finished(
        1, "", f"ilab-chat: cannot write {name}: No such file or directory\n"
    )
    assert await cli(memory_target, "export", "--output", str(tmp_path)) == Finished(
        1, "", f"ilab-chat: cannot write {tmp_path}: Is a directory\n"
    )
    assert list(tmp_path.iterdir()) == []  # noqa: ASYNC240


async def test_a_reader_that_leaves_an_export_cancels_it(memory: ScriptedMemoryService, memory_target: str) -> None:
    closed = asyncio.Event()

    async def long(_request: Message, _context: Context) -> AsyncIterator[Message]:
        yield exported(SESSION)
        await closed.wait()
        yield exported(SESSION)
        await asyncio.Event().wait()

    memory.scripts["ExportUser"] = long
    reading, writing = os.pipe()
    options = ("--address", memory_target, "--user", "alice")
    process = await asyncio.create_subprocess_exec(
        COMMAND, "memory", "export", *options, stdout=writing, stderr=asyncio.subprocess.PIPE
    )
    os.close(writing)
    assert await asyncio.to_thread(os.read, reading, 10) == b'{"session"'
    os.close(reading)
    closed.set()
    _, err = await process.communicate()
    assert (process.returncode, err) == (1, b"")
    await memory.left.wait()


async def test_forget_asks_for_the_user_id(memory: ScriptedMemoryService, memory_target: str, tmp_path: Path) -> None:
    memory.says("GetStats", STATS)
    memory.says("ForgetUser", ERASED)
    options = ("memory", "forget", "--address", memory_target, "--user", "alice")
    async with terminal(*options, cwd=tmp_path) as person:
        await person.until("This erases 3 observations and 1 session for good. Type the user id to go on: ")
        person.type("alice" + ENTER)
        await person.until("Erased 3 observations.")
        assert await person.exit_code() == 0
    assert memory.calls[-1] == ("ForgetUser", pb.ForgetUserRequest(user_id="alice"))


@pytest.mark.parametrize(
    ("keys", "code"), [("bob" + ENTER, 1), ("\udcff" + ENTER, 1), (ENTER, 1), (CTRL_D, 1), (CTRL_C, 130)]
)
async def test_forget_erases_nothing_without_the_user_id(
    memory: ScriptedMemoryService, memory_target: str, tmp_path: Path, keys: str, code: int
) -> None:
    memory.says("GetStats", STATS)
    options = ("memory", "forget", "--address", memory_target, "--user", "alice")
    async with terminal(*options, cwd=tmp_path, env={"PYTHONIOENCODING": "utf-8:strict"}) as person:
        await person.until("go on: ")
        person.type(keys)
        assert await person.exit_code() == code
    assert code == 130 or "ilab-chat: nothing was erased: that is not the user id" in person.seen
    assert "Traceback" not in person.seen
    assert [rpc for rpc, _ in memory.calls] == ["GetStats"]


#: Sends SIGINT to the process before the first call that waits for a line from standard input.
INTERRUPTING = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <sys/select.h>
#include <unistd.h>

static int is_sent;

static void interrupt(void) {
    if (!is_sent && isatty(0)) {
        is_sent = 1;
        raise(SIGINT);
    }
}

ssize_t read(int file, void *buffer, size_t size) {
    if (file == 0) interrupt();
    return ((ssize_t (*)(int, void *, size_t))dlsym(RTLD_NEXT, "read"))(file, buffer, size);
}

int select(int count, fd_set *reading, fd_set *writing, fd_set *other, struct timeval *longest) {
    if (reading && FD_ISSET(0, reading)) interrupt();
    typedef int (*Select)(int, fd_set *, fd_set *, fd_set *, struct timeval *);
    return ((Select)dlsym(RTLD_NEXT, "select"))(count, reading, writing, other, longest);
}
"""


async def test_ctrl_c_just_before_forget_waits_for_the_user_id_ends_it(
    memory: ScriptedMemoryService, memory_target: str, tmp_path: Path
) -> None:
    source, library = tmp_path / "interrupting.c", tmp_path / "interrupting.so"
    source.write_text(INTERRUPTING)
    compiling = await asyncio.create_subprocess_exec("cc", "-shared", "-fPIC", "-o", library, source, "-ldl")
    assert await compiling.wait() == 0
    memory.says("GetStats", STATS)
    options = ("memory", "forget", "--address", memory_target, "--user", "alice")
    async with terminal(*options, cwd=tmp_path, env={"LD_PRELOAD": str(library)}) as person:
        assert await person.exit_code() == 130
    assert "Traceback" not in person.seen
    assert [rpc for rpc, _ in memory.calls] == ["GetStats"]


async def test_forget_in_a_script_needs_yes(memory: ScriptedMemoryService, memory_target: str) -> None:
    memory.says("ForgetUser", ERASED)
    refused = await cli(memory_target, "forget", stdin=b"alice\n")
    assert (refused.code, refused.out, memory.calls) == (2, "", [])
    assert refused.err == ("ilab-chat: nothing was erased: standard input is not a terminal; confirm with --yes\n")
    assert await cli(memory_target, "forget", "--yes") == Finished(0, '{"observations": "3"}\n', "")
    assert [rpc for rpc, _ in memory.calls] == ["ForgetUser"]


async def test_a_failure_is_one_line(memory: ScriptedMemoryService, memory_target: str) -> None:
    memory.scripts["GetStats"] = failing(grpc.StatusCode.INTERNAL, "what\nhappened\x1b[2J")
    assert await cli(memory_target, "stats") == Finished(1, "", "ilab-chat: INTERNAL: what happened[2J\n")
    async with serving(None) as target:
        pass
    finished = await cli(target, "search", "hi")
    assert (finished.code, finished.out, finished.err.count("\n")) == (1, "", 1)
    assert finished.err.endswith(f" (is the server running at {target}? `make run` starts one)\n")


@cases(
    ("arguments", "complaint"),
    [
        (("search", "hi"), "the following arguments are required: --user"),
        (("search", "--user", "a"), "the following arguments are required: QUERY"),
        (("search", "--user", "a", "--limit", "many", "hi"), "invalid int32 value"),
        (("timeline", "--user", "a", "seven"), "invalid int64 value"),
        (("list", "--user", "a", "--limit", "-1"), "must not be negative"),
        (("timeline", "--user", "a", "9999999999999999999"), "not a 64-bit integer"),
        (("edit", "--user", "a", "--expires", "soon", "7"), "not a time, such as 2027-01-31"),
        (("save", "--user", "a", "x"), "the following arguments are required: --type, --title"),
        (("forget",), "the following arguments are required: --user"),
        ((), "the following arguments are required: COMMAND"),
    ],
)
async def test_wrong_usage(arguments: tuple[str, ...], complaint: str) -> None:
    finished = await run("memory", *arguments)
    assert (finished.code, finished.out) == (2, "")
    assert complaint in finished.err
    assert "Traceback" not in finished.err


async def test_an_export_into_a_pipe_leaves_the_pipe(
    memory: ScriptedMemoryService, memory_target: str, tmp_path: Path
) -> None:
    memory.says("ExportUser", exported(SESSION), exported(observation(1, "Tea")))
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reading = asyncio.create_task(asyncio.to_thread(pipe.read_text))
    assert await cli(memory_target, "export", "--output", str(pipe)) == Finished(0, "", "")
    assert len((await reading).splitlines()) == 2
    assert pipe.is_fifo()
