"""Everything about a call that does no I/O. `aio` and `sync`, which is generated from `aio`, are shells around it.

Build a request, fold the events of a stream into a reply, turn a status into an exception.
"""

import dataclasses
import enum
import sys
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeVar, cast

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from ilab_chat import errors
from ilab_chat._security import Token, authorization
from ilab_chat.options import (
    ContextOption,
    GenerationOption,
    MemoryModeOption,
    TurnRetentionOption,
    context_messages,
    enum_value,
    generation_message,
)
from ilab_chat.v1.chat_pb2 import (
    ChatRequest,
    ChatResponse,
    ChatStarted,
    MemoryMode,
    PreviewPromptRequest,
    StreamChatRequest,
    StreamChatResponse,
    TurnRetention,
)

Metadata = Sequence[tuple[str, str | bytes]]

DEFAULT_TIMEOUT: Final = 60.0
DEFAULT_IDLE_TIMEOUT: Final = 60.0
ERROR_DOMAIN: Final = "ilab-chat"
STATUS_DETAILS_KEY: Final = "grpc-status-details-bin"


class FromClient(enum.Enum):
    """Stands for "as the client was made", because None means "no limit"."""

    TIMEOUT = "the client's timeout"
    IDLE_TIMEOUT = "the client's idle timeout"
    TOKEN = "the client's token"  # noqa: S105 - a sentinel
    METADATA = "the client's metadata"


@dataclass(frozen=True, slots=True)
class CallDefaults:
    """Defaults that a client sends with each call."""

    timeout: float | None
    idle_timeout: float | None
    metadata: Metadata
    token: Token | None = dataclasses.field(default=None, repr=False)

    def timeout_of(self, call: float | FromClient | None) -> float | None:
        """Return the seconds that a call may take, None for no limit."""
        return self.timeout if isinstance(call, FromClient) else call

    def idle_timeout_of(self, call: float | FromClient | None) -> float | None:
        """Return the seconds that a stream may be silent, None for no limit."""
        return self.idle_timeout if isinstance(call, FromClient) else call

    def changed(
        self,
        timeout: float | FromClient | None,
        idle_timeout: float | FromClient | None,
        metadata: Metadata | FromClient,
        token: Token | FromClient | None,
    ) -> "CallDefaults":
        """Return these defaults with those that are given in their place."""
        return CallDefaults(
            self.timeout_of(timeout),
            self.idle_timeout_of(idle_timeout),
            self.metadata if isinstance(metadata, FromClient) else tuple(metadata),
            self.token if isinstance(token, FromClient) else token,
        )

    def metadata_of(self, call: Metadata) -> tuple[tuple[str, str | bytes], ...]:
        """Return the client's metadata, its token, the call's own, then the active trace context.

        Raises:
            ValueError: the token is empty or contains invalid characters.
        """
        token = () if self.token is None else (authorization(self.token),)
        pairs = (*self.metadata, *token, *call)
        return (*pairs, *trace_context(pairs))


def trace_context(given: Metadata) -> Metadata:
    """Return the W3C headers of the span that is active in the caller, if there is one and *given* has none.

    A program that does not use OpenTelemetry has no active span.
    """
    # Imported by every program that has a span: https://opentelemetry.io/docs/languages/python
    if "opentelemetry.trace" not in sys.modules or any(name == "traceparent" for name, _ in given):
        return ()
    from opentelemetry.trace.propagation.tracecontext import (  # noqa: PLC0415 - optional
        TraceContextTextMapPropagator,
    )

    headers: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(headers)
    return tuple(headers.items())


Request = TypeVar("Request", ChatRequest, StreamChatRequest, PreviewPromptRequest)


def build_request(
    kind: type[Request],
    user_id: str,
    message: str,
    *,
    conversation_id: str,
    instructions: str,
    context: ContextOption,
    time_zone: str,
    memory_types: Sequence[str],
    generation: GenerationOption | None,
    memory_mode: MemoryModeOption,
    request_id: str | None = None,
    turn_retention: TurnRetentionOption = TurnRetention.TURN_RETENTION_UNSPECIFIED,
) -> Request:
    """Return a request with *request_id*, or with a new id if it is None or empty.

    A preview has no request id.

    Raises:
        InvalidArgument: a text is not valid Unicode (a lone surrogate, as from bytes read in a wrong encoding).
        TypeError: *memory_types* is one string, or a dictionary has an unknown key.
        ValueError: *memory_mode*, *turn_retention* or a name in *generation* is unknown.
    """
    memory_types = several(memory_types)
    request_id = "" if kind is PreviewPromptRequest else request_id or uuid.uuid4().hex
    texts = {
        "user_id": user_id,
        "message": message,
        "request_id": request_id,
        "conversation_id": conversation_id,
        "instructions": instructions,
        "time_zone": time_zone,
    } | {f"memory_types[{index}]": name for index, name in enumerate(memory_types)}
    for field, text in texts.items():
        check_unicode(field, text, request_id)
    return kind(
        user_id=user_id,
        message=message,
        request_id=request_id,
        generation=generation_message(generation),
        memory_mode=enum_value(MemoryMode, "memory_mode", memory_mode),
        turn_retention=enum_value(TurnRetention, "turn_retention", turn_retention),
        conversation_id=conversation_id,
        instructions=instructions,
        context=context_messages(context),
        time_zone=time_zone,
        memory_types=memory_types,
    )


def several(types: Sequence[str]) -> tuple[str, ...]:
    """Return *types* as a tuple.

    Raises:
        TypeError: it is one string, whose characters would count as types.
    """
    if isinstance(types, str):
        raise TypeError("types must be a sequence of strings, for example ('decision',), not one string")
    return tuple(types)


def check_unicode(field: str, text: object, request_id: str) -> None:
    """Refuse what protobuf cannot encode, in the words of the service and without quoting it.

    Raises:
        InvalidArgument: *text* has a lone surrogate.
        TypeError: *text* is not a string, such as None of a header that a web framework did not find.
    """
    if not isinstance(text, str):
        raise TypeError(f"{field} must be a str, not {type(text).__name__}")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        violation = errors.FieldViolation(
            field, f"must be valid Unicode: character {error.start + 1} is a lone surrogate"
        )
    else:
        return
    # Raised outside the handler: the UnicodeEncodeError holds the text and must not travel along as the context.
    raise errors.InvalidArgument("the request cannot be encoded", field_violations=(violation,), request_id=request_id)


Response = TypeVar("Response")


def check_response(response: Response | None, request_id: str) -> Response:
    """Return *response*, or raise Internal for None: that is how grpc.aio hands over bytes it cannot decode."""
    if response is None:
        raise errors.Internal("the answer is not a message of this contract", request_id=request_id)
    return response


class StreamedAnswer:
    """One streamed answer, as far as it was read. The two streams add the reading."""

    def __init__(self, request_id: str) -> None:
        self._request_id = request_id
        self._started: ChatStarted | None = None
        self._completed: ChatResponse | None = None
        self._pieces: list[str] = []

    @property
    def request_id(self) -> str:
        """The id that the call is sent with."""
        return self._request_id

    @property
    def started(self) -> ChatStarted | None:
        """The `started` event of the stream. None: it was not read yet."""
        return self._started

    @property
    def response(self) -> ChatResponse:
        """The finished answer, the same as `chat` returns.

        Raises:
            RuntimeError: the stream was not read to its end.
        """
        if self._completed is None:
            raise RuntimeError("the answer is not complete: read the stream to its end before you ask for its response")
        return self._completed

    def __repr__(self) -> str:
        state = "completed" if self._completed else "begun" if self._begun else "not begun"
        return f"<{type(self).__name__} {self._request_id}, {state}>"

    @property
    def _begun(self) -> bool:
        return self._started is not None or bool(self._pieces)

    def _take(self, event: StreamChatResponse | None) -> bool:
        """Add one event. Return False when it is of a kind that this client does not know: skip it.

        Raises:
            IncompleteStream: the joined pieces are not the reply, or something follows the last event.
            Internal: None, which is how grpc.aio hands over bytes it cannot decode.
        """
        if event is None:
            raise errors.Internal("an event is not a message of this contract", request_id=self._request_id)
        kind = event.WhichOneof("event")
        if kind is None:
            return False
        if self._completed is not None:
            raise self._incomplete(f"{kind} came after completed")
        if kind == "started":
            self._started = event.started
        elif kind == "text_delta":
            self._pieces.append(event.text_delta.text)
        elif kind == "completed":
            self._complete(event.completed)
        return True

    def _end(self) -> None:
        """Note that the stream ended with status OK.

        Raises:
            IncompleteStream: the last event never came.
        """
        if self._completed is None:
            raise self._incomplete("the stream ended without completed")

    def _complete(self, response: ChatResponse) -> None:
        if "".join(self._pieces) != response.reply:
            raise self._incomplete("the joined pieces are not the reply")
        self._completed = response

    def _incomplete(self, message: str) -> errors.IncompleteStream:
        return errors.IncompleteStream(message, request_id=self._request_id)


def error_of(failure: grpc.RpcError, request_id: str, *, begun: bool = False) -> errors.ChatError:
    """Return the exception that a failed call becomes. *begun* says that part of the answer had arrived."""
    # Pairs, whatever the type stubs say; grpc has None where no trailers came.
    received = cast("Metadata | None", failure.trailing_metadata())
    trailing_metadata = tuple((key, value) for key, value in received or ())
    details = read_details(trailing_metadata)
    code = failure.code()
    if begun and code is grpc.StatusCode.UNAVAILABLE:
        # A lost connection has this code at any time. Only before the first event does it mean that nothing was done.
        code = errors.Interrupted.code
    kind = errors.BY_CODE[code]
    narrower = errors.BY_REASON.get(details.reason, kind)
    return (narrower if issubclass(narrower, kind) else kind)(
        failure.details() or "no message",
        code=code,
        reason=details.reason,
        field_violations=details.field_violations,
        retry_after=details.retry_after,
        request_id=request_id,
        trailing_metadata=trailing_metadata,
    )


@dataclass(slots=True)
class Details:
    """The details of a status: reason, metadata and invalid fields."""

    reason: str = ""
    field_violations: tuple[errors.FieldViolation, ...] = ()
    retry_after: float | None = None


def read_details(trailing_metadata: Metadata) -> Details:
    """Return the details that the service put into the status. Missing, foreign or malformed details are empty."""
    details = Details()
    for key, value in trailing_metadata:
        if key == STATUS_DETAILS_KEY and isinstance(value, bytes):
            try:
                for packed in status_pb2.Status.FromString(value).details:
                    _read_detail(packed, details)
            except DecodeError:
                continue
    return details


def _read_detail(packed: AnyMessage, details: Details) -> None:
    info = error_details_pb2.ErrorInfo()
    bad_request = error_details_pb2.BadRequest()
    retry_info = error_details_pb2.RetryInfo()
    if packed.Unpack(info) and info.domain == ERROR_DOMAIN:
        details.reason = info.reason
    elif packed.Unpack(bad_request):
        details.field_violations = tuple(
            errors.FieldViolation(violation.field, violation.description) for violation in bad_request.field_violations
        )
    elif packed.Unpack(retry_info):
        details.retry_after = retry_info.retry_delay.ToTimedelta().total_seconds()
