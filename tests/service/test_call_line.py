"""The line of a call on a terminal."""

from __future__ import annotations

import re
from typing import Any

import pytest

from ilab_chat_service.telemetry.logs import call_line

ANSWERED: dict[str, Any] = {
    "timestamp": "2026-11-28T17:09:44.123+00:00",
    "level": "info",
    "message": "call",
    "rpc.method": "ilab_chat.v1.ChatService/Chat",
    "rpc.response.status_code": "OK",
    "duration_ms": 415.21,
    "gen_ai.usage.input_tokens": 10,
    "gen_ai.usage.output_tokens": 8,
    "memories.fact": 1,
    "memories.turn": 2,
    "replayed": False,
    "stored": True,
    "user.hash": "4f2a00112233",
}


def test_answer_takes_one_aligned_line() -> None:
    line = call_line(ANSWERED, colors=False)
    assert line[8:] == " OK                Chat                  415 ms  10>8 tokens  3 memories  stored  #4f2a"
    assert re.match(r"\d\d:09:44", line)
    replay = {**ANSWERED, "replayed": True, "memories.turn": 0}
    assert call_line(replay, colors=False).endswith("10>8 tokens  1 memory  replayed  #4f2a")


@pytest.mark.parametrize("estimated", [True, False])
def test_estimated_tokens_are_marked(estimated: bool) -> None:  # noqa: FBT001
    line = call_line({**ANSWERED, "gen_ai.usage.estimated": estimated}, colors=False)
    assert ("~10>8 tokens" in line) is estimated


@pytest.mark.parametrize(("level", "color"), [("info", "33"), ("warning", "33"), ("error", "31")])
def test_failure_has_its_reason_in_colour(level: str, color: str) -> None:
    failed = {
        "timestamp": ANSWERED["timestamp"],
        "level": level,
        "rpc.method": "ilab_chat.v1.MemoryService/GetStats",
        "rpc.response.status_code": "UNAVAILABLE",
        "error.type": "SERVER_DRAINING",
        "status_message": "the server is shutting down",
        "duration_ms": 0.4,
    }
    line = call_line(failed, colors=True)
    assert f"\x1b[{color}mSERVER_DRAINING  \x1b[0m GetStats " in line
    assert line.endswith("0 ms  the server is shutting down")
    assert "\x1b[32mOK" in call_line(ANSWERED, colors=True)
