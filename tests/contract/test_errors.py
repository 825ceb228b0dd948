"""Every row of the table of errors, as a person with grpcurl meets it: reached through a real server, and readable."""

from __future__ import annotations

import asyncio
import base64
import re
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, AsyncExitStack, closing, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from contract.process import Served
from contract.test_grpcurl import MEMORY, SERVICE, grpcurl
from ilab_chat.v1 import chat_pb2, chat_pb2_grpc
from ilab_chat.v1.errors_pb2 import ErrorReason
from ilab_chat_service.rpc.error_table import INTERNAL, TABLE
from ilab_chat_service.server import serving
from ilab_chat_service.settings import Settings
from ilab_memory import ILabMemory
from upstream import Reply, Upstream

CHAT = f"{SERVICE}/Chat"
HI = {"user_id": "alice", "message": "Hi"}
#: The header with which grpcurl reads the contract by reflection. The call itself has other headers.
LOOK_UP = ("-reflect-header", "authorization: Bearer service-token-0123456789")
TOKENS = "service-token-0123456789\nalices-token-0123456789 user:alice\n"


UNREADABLE = "ALTER TABLE sessions RENAME TO elsewhere"
UNWRITABLE = "CREATE TRIGGER no BEFORE INSERT ON observations BEGIN SELECT RAISE(ABORT, 'SECRET'); END"


@contextmanager
def mistaken() -> Iterator[None]:
    """Let the memory have a mistake."""

    def fail(*_: object) -> None:
        raise KeyError("SECRET")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ILabMemory, "mem_stats", fail)
        yield


@dataclass(frozen=True, kw_only=True)
class Case:
    """How a row is reached."""

    method: str = CHAT
    data: Mapping[str, Any] = field(default_factory=lambda: HI)
    flags: Sequence[str] = ()
    reply: Reply = field(default_factory=Reply)
    settings: Mapping[str, Any] = field(default_factory=dict)
    tokens: bool = False
    statement: str = ""
    """Done to the file when the server runs."""
    library: Callable[[], AbstractContextManager[None]] = nullcontext
    other: Literal["running", "answered"] | None = None
    """Another call of alice with the same request id."""
    drain: Literal["before", "meanwhile"] | None = None
    """When the server is told to stop."""


CASES: Mapping[tuple[str, str], Case] = {
    ("InvalidArgument", "INVALID_FIELD"): Case(data={"user_id": "alice"}),
    ("InvalidArgument", "CONTEXT_TOO_LONG"): Case(
        reply=Reply(status=400, body=b'{"error": {"code": "context_length_exceeded"}}')
    ),
    ("Unauthenticated", "MISSING_CREDENTIALS"): Case(tokens=True),
    ("Unauthenticated", "INVALID_CREDENTIALS"): Case(
        tokens=True, flags=["-rpc-header", "authorization: Bearer SECRET"]
    ),
    ("PermissionDenied", "USER_MISMATCH"): Case(
        tokens=True,
        flags=["-rpc-header", "authorization: Bearer alices-token-0123456789"],
        data={**HI, "user_id": "bob"},
    ),
    ("FailedPrecondition", "REQUEST_ID_REUSED"): Case(data={**HI, "request_id": "r-1"}, other="answered"),
    ("ResourceExhausted", "SERVER_BUSY"): Case(settings={"max_calls": 1, "max_queued_calls": 0}, other="running"),
    ("ResourceExhausted", "RATE_LIMITED"): Case(settings={"user_turns_per_day": 1}, other="answered"),
    ("InvalidArgument", "MODEL_OPTION_UNSUPPORTED"): Case(
        data={**HI, "generation": {"temperature": 2}},
        reply=Reply(status=400, body=b'{"error": {"param": "temperature", "message": "SECRET"}}'),
    ),
    ("InvalidArgument", "MODEL_NOT_FOUND"): Case(
        data={**HI, "generation": {"model": "no-such"}},
        reply=Reply(status=404, body=b'{"error": {"code": "model_not_found", "message": "SECRET"}}'),
    ),
    ("FailedPrecondition", "CONTENT_FILTERED"): Case(
        reply=Reply(status=400, body=b'{"error": {"code": "content_filter", "message": "SECRET"}}')
    ),
    ("ResourceExhausted", "MODEL_QUOTA_EXHAUSTED"): Case(
        reply=Reply(status=429, body=b'{"error": {"code": "insufficient_quota", "message": "SECRET"}}')
    ),
    ("ResourceExhausted", "MODEL_RATE_LIMITED"): Case(reply=Reply(status=429, headers={"retry-after": "7"})),
    ("Unavailable", "MODEL_UNAVAILABLE"): Case(reply=Reply(status=500)),
    ("Aborted", "MODEL_INTERRUPTED"): Case(reply=Reply(cut_before=1)),
    ("Internal", "MODEL_REJECTED"): Case(reply=Reply(status=401, body=b'{"error": {"message": "SECRET"}}')),
    ("Unavailable", "MEMORY_UNAVAILABLE"): Case(statement=UNREADABLE),
    ("Aborted", "MEMORY_UNAVAILABLE"): Case(statement=UNWRITABLE),
    ("Unavailable", "SERVER_DRAINING"): Case(other="running", drain="before"),
    # The server may be gone before grpcurl can ask what the details are; they are there all the same.
    ("Aborted", "SERVER_DRAINING"): Case(reply=Reply(hold_before=1), settings={"drain_seconds": 0}, drain="meanwhile"),
    ("DeadlineExceeded", "DEADLINE_EXCEEDED"): Case(
        reply=Reply(hold_before=0), settings={"default_deadline_seconds": 0.3}
    ),
    ("NotFound", "NOT_FOUND"): Case(method=f"{MEMORY}/GetObservation", data={"user_id": "alice", "observation_id": 9}),
    ("Internal", "INTERNAL"): Case(method=f"{MEMORY}/GetStats", data={"user_id": "alice"}, library=mistaken),
}

#: grpcurl cannot send these: undecodable bytes, no message, two messages, or one that is too large.
NOT_OF_GRPCURL = {"INVALID_REQUEST"}


def test_the_contract_has_every_reason_and_no_other() -> None:
    names = set(ErrorReason.keys()) - {"ERROR_REASON_UNSPECIFIED"}
    assert names == {f"ERROR_REASON_{row.reason}" for row in (*TABLE.values(), INTERNAL)}


def test_there_is_a_case_for_every_row() -> None:
    rows = {(row.code.name.title().replace("_", ""), row.reason) for row in (*TABLE.values(), INTERNAL)}
    assert set(CASES) == {(code, reason) for code, reason in rows if reason not in NOT_OF_GRPCURL}


@pytest.mark.parametrize(("row", "case"), CASES.items(), ids=[" ".join(row) for row in CASES])
async def test_every_row_is_reached_and_readable(
    settings: Settings, upstream: Upstream, tmp_path: Path, row: tuple[str, str], case: Case
) -> None:
    if case.tokens:
        (tmp_path / "tokens").write_text(TOKENS)
        settings = replace(settings, auth="tokens", auth_tokens_file=str(tmp_path / "tokens"))
    stack = AsyncExitStack()
    with case.library():
        address = await stack.enter_async_context(serving(replace(settings, **case.settings)))
        if case.statement:
            await asyncio.to_thread(execute, settings, case.statement)
        async with grpc.aio.insecure_channel(address) as channel:
            other = await running(channel, upstream) if case.other else None
            if other and case.other == "answered":
                upstream.release()
                await other
            leaving = await told_to_stop(channel, stack) if case.drain == "before" else None
            upstream.replies(case.reply)
            asking = asyncio.create_task(
                asyncio.to_thread(
                    grpcurl, Served(address, upstream), case.method, data=case.data, flags=(*LOOK_UP, *case.flags)
                )
            )
            if case.drain == "meanwhile":
                request = await asyncio.to_thread(upstream.wait_for, 1)
                assert await asyncio.to_thread(request.held.wait, 10)
                leaving = asyncio.create_task(stack.aclose())
            answer = await asking
            upstream.release()
            if other:
                await other
            await (leaving or stack.aclose())
    code, reason = row
    assert f"Code: {code}\n" in answer.stderr
    told = answer.stderr
    if case.drain == "meanwhile":
        told += "".join(repr(base64.b64decode(packed)) for packed in re.findall(r'"@value":"(.*?)"', told))
        assert reason in told
    else:
        assert f'"reason":"{reason}"' in told
        assert '"domain":"ilab-chat"' in told
    assert "SECRET" not in answer.stderr


def execute(settings: Settings, statement: str) -> None:
    with closing(sqlite3.connect(settings.memory_db_path)) as connection, connection:
        connection.execute(statement)


async def running(channel: grpc.aio.Channel, upstream: Upstream) -> Any:
    """Return a call that runs until the upstream is released."""
    upstream.replies(Reply(hold_before=1))
    request = chat_pb2.ChatRequest(user_id="alice", message="Hello", request_id="r-1")
    call: Any = chat_pb2_grpc.ChatServiceStub(channel).Chat(request)
    assert await asyncio.to_thread((await asyncio.to_thread(upstream.wait_for, 1)).held.wait, 10)
    return call


async def told_to_stop(channel: grpc.aio.Channel, stack: AsyncExitStack) -> asyncio.Task[None]:
    """Tell the server to stop; return when it says so."""
    stub: Any = health_pb2_grpc.HealthStub(channel)
    watch = stub.Watch(health_pb2.HealthCheckRequest())
    assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
    leaving = asyncio.create_task(stack.aclose())
    assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
    return leaving
