"""Audit lines of calls that erase, export or import data of a user."""

from __future__ import annotations

import hashlib
import hmac
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import grpc

from batch import cases
from ilab_chat_service.auth.jwt import name_of
from ilab_chat_service.rpc.interceptors.log import AUDITED
from processes import running_server
from rpcs import METHODS, bearer, call

TOKEN = "service-token-0123456789"
AUDITED_METHODS = [each for each in METHODS if f"{each.containing_service.full_name}/{each.name}" in AUDITED]
STATS = next(each for each in METHODS if each.name == "GetStats")
LOG_KEY = "key"


async def test_each_method_that_erases_exports_or_imports_is_audited(tmp_path: Path) -> None:
    (tmp_path / "tokens").write_text(f"{TOKEN}\n")
    with running_server(
        ILAB_MEMORY_DB_PATH=str(tmp_path / "memory.db"),
        OPENAI_API_KEY="unused",
        ILAB_CHAT_AUTH="tokens",
        ILAB_CHAT_AUTH_TOKENS_FILE=str(tmp_path / "tokens"),
        ILAB_CHAT_LOG_KEY=LOG_KEY,
    ) as server:
        async with grpc.aio.insecure_channel(server.address) as channel:
            for method in (*AUDITED_METHODS, STATS):
                await call(channel, method, "alice", bearer(TOKEN))
            for method in AUDITED_METHODS:
                await call(channel, method, "alice", bearer("wrong-token-0123456789"))
        assert server.stop() == 0
    lines: list[dict[str, Any]] = [json.loads(line) for line in server.log if '"audit"' in line]
    assert len(AUDITED_METHODS) == 4
    assert {line["logger"] for line in lines} == {"ilab_chat_service.audit"}
    accepted, rejected = lines[:4], lines[4:]
    assert sorted(line["rpc.method"] for line in accepted) == sorted(AUDITED)
    assert {line["caller"] for line in accepted} == {f"token:{hashlib.sha256(TOKEN.encode()).hexdigest()[:8]}"}
    hashed = hmac.new(LOG_KEY.encode(), b"alice", "sha256").hexdigest()[:16]
    assert {line["user.hash"] for line in accepted} == {hashed}
    assert sorted(line["rpc.method"] for line in rejected) == sorted(AUDITED)
    assert {line["error.type"] for line in rejected} == {"INVALID_CREDENTIALS"}
    assert not any("caller" in line for line in rejected)
    assert "alice" not in "".join(server.log)


def test_audit_lines_are_logged_at_every_log_level() -> None:
    script = (
        "import logging; from ilab_chat_service.telemetry.logs import AUDIT, set_up_logging;"
        "set_up_logging('ERROR', 'json'); logging.getLogger(AUDIT).info('audit', extra={'fields': {'caller': 'c'}});"
        "logging.getLogger('ilab_chat_service.rpc').info('call')"
    )
    logged = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stderr
    [line] = logged.splitlines()
    assert json.loads(line)["caller"] == "c"


@cases(
    ("claims", "name"),
    [
        ({"azp": "orders", "sub": "alice"}, "jwt:orders"),
        ({"client_id": "shop/orders", "sub": "alice"}, "jwt:shop/orders"),
        ({"sub": "alice"}, "jwt"),
        ({"azp": "alice@example.org"}, "jwt"),
        ({"azp": ["orders"]}, "jwt"),
        ({"azp": "x" * 129}, "jwt"),
    ],
)
def test_caller_of_a_jwt_is_its_client_and_never_a_person(claims: dict[str, Any], name: str) -> None:
    assert name_of(claims) == name
