"""The exceptions that a caller can catch: every status of a real server, through both clients."""

import asyncio
import copy
import pickle
from collections.abc import AsyncIterator

import grpc
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

import ilab_chat
from batch import cases
from client.scripted import (
    AsyncCaller,
    Caller,
    Context,
    ScriptedChatService,
    SyncCaller,
    abort,
    abort_raw,
    delta,
    serving,
    started,
)
from ilab_chat import (
    Cancelled,
    ChatError,
    ContentFiltered,
    ContextTooLong,
    DeadlineExceeded,
    FailedPrecondition,
    FieldViolation,
    Internal,
    Interrupted,
    InvalidArgument,
    ModelQuotaExhausted,
    NotFound,
    PermissionDenied,
    RequestIdReused,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
    Unimplemented,
    errors,
)

Code = grpc.StatusCode

ROWS = [
    (Code.INVALID_ARGUMENT, "INVALID_FIELD", InvalidArgument),
    (Code.INVALID_ARGUMENT, "CONTEXT_TOO_LONG", ContextTooLong),
    (Code.INVALID_ARGUMENT, "MODEL_NOT_FOUND", InvalidArgument),
    (Code.INVALID_ARGUMENT, "MODEL_OPTION_UNSUPPORTED", InvalidArgument),
    (Code.UNAUTHENTICATED, "MISSING_CREDENTIALS", Unauthenticated),
    (Code.UNAUTHENTICATED, "INVALID_CREDENTIALS", Unauthenticated),
    (Code.PERMISSION_DENIED, "USER_MISMATCH", PermissionDenied),
    (Code.FAILED_PRECONDITION, "REQUEST_ID_REUSED", RequestIdReused),
    (Code.FAILED_PRECONDITION, "CONTENT_FILTERED", ContentFiltered),
    (Code.RESOURCE_EXHAUSTED, "MODEL_QUOTA_EXHAUSTED", ModelQuotaExhausted),
    (Code.RESOURCE_EXHAUSTED, "SERVER_BUSY", ResourceExhausted),
    (Code.RESOURCE_EXHAUSTED, "MODEL_RATE_LIMITED", ResourceExhausted),
    (Code.UNAVAILABLE, "MODEL_UNAVAILABLE", Unavailable),
    (Code.ABORTED, "MODEL_INTERRUPTED", Interrupted),
    (Code.INTERNAL, "MODEL_REJECTED", Internal),
    (Code.UNAVAILABLE, "MEMORY_UNAVAILABLE", Unavailable),
    (Code.ABORTED, "MEMORY_UNAVAILABLE", Interrupted),
    (Code.NOT_FOUND, "NOT_FOUND", NotFound),
    (Code.UNIMPLEMENTED, "LATER_REASON", Unimplemented),
    (Code.UNAVAILABLE, "SERVER_DRAINING", Unavailable),
    (Code.ABORTED, "SERVER_DRAINING", Interrupted),
    (Code.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED", DeadlineExceeded),
    (Code.INTERNAL, "INTERNAL", Internal),
]

BARE = [
    (Code.ABORTED, Interrupted),
    (Code.ALREADY_EXISTS, Internal),
    (Code.CANCELLED, Cancelled),
    (Code.DATA_LOSS, Internal),
    (Code.DEADLINE_EXCEEDED, DeadlineExceeded),
    (Code.FAILED_PRECONDITION, FailedPrecondition),
    (Code.INTERNAL, Internal),
    (Code.INVALID_ARGUMENT, InvalidArgument),
    (Code.NOT_FOUND, NotFound),
    (Code.OUT_OF_RANGE, Internal),
    (Code.PERMISSION_DENIED, PermissionDenied),
    (Code.RESOURCE_EXHAUSTED, ResourceExhausted),
    (Code.UNAUTHENTICATED, Unauthenticated),
    (Code.UNAVAILABLE, Unavailable),
    (Code.UNIMPLEMENTED, Unimplemented),
    (Code.UNKNOWN, Internal),
]


@pytest.fixture(params=[AsyncCaller, SyncCaller], ids=["aio", "sync"])
def caller(request: pytest.FixtureRequest) -> Caller:
    """A client that does not wait to repeat a call; the classes of errors are the same."""
    made: Caller = request.param(max_retries=0)
    return made


def info(reason: str, domain: str = "ilab-chat") -> error_details_pb2.ErrorInfo:
    return error_details_pb2.ErrorInfo(reason=reason, domain=domain)


async def failures(caller: Caller, target: str) -> tuple[ChatError, ChatError]:
    """Return what chat and what reading a stream raise."""
    unary, stream = await asyncio.gather(
        caller.chat(target, "alice", "hi", request_id="r-1"),
        caller.read(target, "alice", "hi", request_id="r-1"),
        return_exceptions=True,
    )
    assert isinstance(unary, ChatError), unary
    assert isinstance(stream, ChatError), stream
    return unary, stream


@pytest.mark.parametrize(("code", "reason", "kind"), ROWS)
async def test_each_failure_of_the_service_has_its_class(
    caller: Caller, service: ScriptedChatService, target: str, code: Code, reason: str, kind: type[ChatError]
) -> None:
    service.script = abort(code, "what happened", info(reason))
    for error in await failures(caller, target):
        assert type(error) is kind
        assert (error.code, error.reason, error.message) == (code, reason, "what happened")
        assert (error.request_id, error.field_violations, error.retry_after) == ("r-1", (), None)
        head = code.name if code.name == reason else f"{code.name} {reason}"
        assert str(error) == f"{head}: what happened"
        assert isinstance(error.__cause__, grpc.RpcError)


@pytest.mark.parametrize(("code", "kind"), BARE)
async def test_a_status_without_details_maps_by_its_code(
    caller: Caller, service: ScriptedChatService, target: str, code: Code, kind: type[ChatError]
) -> None:
    service.script = abort_raw(code, "a proxy's words")
    for error in await failures(caller, target):
        assert type(error) is kind
        assert (error.code, error.reason) == (code, "")


def test_every_code_but_ok_has_a_class() -> None:
    assert set(errors.BY_CODE) == set(Code) - {Code.OK} == {code for code, _ in BARE}


def test_every_narrower_class_belongs_to_a_code() -> None:
    for kind in errors.BY_REASON.values():
        assert errors.BY_CODE[kind.code] in kind.__mro__


async def test_details_are_readable(caller: Caller, service: ScriptedChatService, target: str) -> None:
    violations = [
        error_details_pb2.BadRequest.FieldViolation(field="user_id", description="must not be blank"),
        error_details_pb2.BadRequest.FieldViolation(field="generation.temperature", description="must be 0 to 2"),
    ]
    service.script = abort(
        Code.INVALID_ARGUMENT,
        "the request is not valid",
        info("INVALID_FIELD"),
        error_details_pb2.BadRequest(field_violations=violations),
    )
    for error in await failures(caller, target):
        assert error.field_violations == (
            FieldViolation("user_id", "must not be blank"),
            FieldViolation("generation.temperature", "must be 0 to 2"),
        )
        assert str(error) == (
            "INVALID_ARGUMENT INVALID_FIELD: the request is not valid; "
            "user_id: must not be blank; generation.temperature: must be 0 to 2"
        )
        assert "grpc-status-details-bin" in dict(error.trailing_metadata)


def test_violation_in_the_message_is_not_repeated() -> None:
    violations = [FieldViolation("user_id", "must not be blank"), FieldViolation("seed", "is odd")]
    error = InvalidArgument("user_id: must not be blank", reason="INVALID_FIELD", field_violations=violations)
    assert str(error) == "INVALID_ARGUMENT INVALID_FIELD: user_id: must not be blank; seed: is odd"


async def test_retry_after_is_in_seconds(caller: Caller, service: ScriptedChatService, target: str) -> None:
    delay = error_details_pb2.RetryInfo(retry_delay=Duration(seconds=1, nanos=500_000_000))
    service.script = abort(Code.RESOURCE_EXHAUSTED, "busy", info("SERVER_BUSY"), delay)
    for error in await failures(caller, target):
        assert error.retry_after == 1.5


@pytest.mark.parametrize(
    "details",
    [
        pytest.param(b"\xff\xff\xff", id="not a status"),
        pytest.param(
            status_pb2.Status(
                details=[AnyMessage(type_url="type.googleapis.com/google.rpc.ErrorInfo", value=b"\xff\xff")]
            ).SerializeToString(),
            id="not an ErrorInfo",
        ),
        pytest.param(
            status_pb2.Status(
                details=[AnyMessage(type_url="type.example/of.tomorrow", value=b"x")]
            ).SerializeToString(),
            id="of an unknown type",
        ),
    ],
)
async def test_details_that_cannot_be_read_count_as_not_said(
    caller: Caller, service: ScriptedChatService, target: str, details: bytes
) -> None:
    service.script = abort_raw(Code.UNAVAILABLE, "no", (("grpc-status-details-bin", details),))
    for error in await failures(caller, target):
        assert type(error) is Unavailable
        assert error.reason == ""


@pytest.mark.parametrize(
    ("code", "detail", "kind"),
    [
        pytest.param(Code.FAILED_PRECONDITION, info("REQUEST_ID_REUSED", "other"), FailedPrecondition, id="a domain"),
        pytest.param(Code.INTERNAL, info("REQUEST_ID_REUSED"), Internal, id="a code"),
    ],
)
async def test_a_reason_counts_only_with_our_domain_and_its_code(
    caller: Caller, service: ScriptedChatService, target: str, code: Code, detail: Message, kind: type[ChatError]
) -> None:
    service.script = abort(code, "no", detail)
    for error in await failures(caller, target):
        assert type(error) is kind


@pytest.mark.parametrize("code", [Code.ABORTED, Code.UNAVAILABLE])
async def test_a_stream_that_breaks_off_after_it_began_was_interrupted(
    caller: Caller, service: ScriptedChatService, target: str, code: Code
) -> None:
    service.script = abort(code, "gone", info("MODEL_INTERRUPTED"), after=(started(), delta("Hel")))
    texts: list[str] = []
    with pytest.raises(Interrupted) as caught:
        await caller.read_text(target, texts.append, "alice", "hi")
    # Not UNAVAILABLE: a loop that repeats that code would pay for a second answer.
    assert caught.value.code is Code.ABORTED
    assert texts == ["Hel"]


async def test_nothing_listens(caller: Caller) -> None:
    async with serving(None) as target:
        pass
    for error in await failures(caller, target):
        assert type(error) is Unavailable


async def test_another_program_listens(caller: Caller) -> None:
    async with serving(None) as target:
        for error in await failures(caller, target):
            assert type(error) is Unimplemented


@pytest.fixture
async def target_of_garbage() -> AsyncIterator[str]:
    async def unary(_request: bytes, _context: Context) -> bytes:
        return b"\xff\xff"

    async def stream(_request: bytes, _context: Context) -> AsyncIterator[bytes]:
        yield b"\xff\xff"

    server = grpc.aio.server()
    handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
        "Chat": grpc.unary_unary_rpc_method_handler(unary),
        "StreamChat": grpc.unary_stream_rpc_method_handler(stream),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("ilab_chat.v1.ChatService", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield f"127.0.0.1:{port}"
    await server.stop(None)


async def test_undecodable_answer_is_internal(caller: Caller, target_of_garbage: str) -> None:
    for error in await failures(caller, target_of_garbage):
        assert type(error) is Internal


def tree(kind: type[ChatError]) -> set[type[ChatError]]:
    return {kind}.union(*(tree(child) for child in kind.__subclasses__()))


@cases("kind", sorted(tree(ChatError), key=str))
def test_every_error_is_public_drawn_and_survives_pickle(kind: type[ChatError]) -> None:
    assert kind.__name__ in ilab_chat.__all__
    assert errors.__doc__ is not None
    drawn = [
        line.replace("│", " ").replace("├── ", "    ").replace("└── ", "    ") for line in errors.__doc__.splitlines()
    ]
    depth = 4 * (len(kind.__mro__) - len(Exception.__mro__))
    assert any(line.split(" ")[depth:][:1] == [kind.__name__] for line in drawn)
    error = kind(
        "m", reason="R", field_violations=[FieldViolation("f", "d")], retry_after=1.0, trailing_metadata=[("k", b"v")]
    )
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(twin) is kind
        assert str(twin) == str(error)
        assert vars(twin) == vars(error)
