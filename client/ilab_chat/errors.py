"""The exceptions of the client, as a tree.

    ChatError
    ├── InvalidArgument         a field of the request is not acceptable: see field_violations
    │   └── ContextTooLong      message and instructions exceed the model's window
    ├── NotFound                the user has no such observation, or no active session
    ├── Unauthenticated         the credentials are missing or not valid
    ├── PermissionDenied        the caller may not act for this user
    ├── FailedPrecondition      the state that the service is in does not allow the call
    │   ├── RequestIdReused     the request id belongs to an earlier call with another body
    │   └── ContentFiltered     a content filter of the model's API stopped the prompt
    ├── ResourceExhausted       a limit of the service or of the model is reached: wait retry_after seconds
    │   └── ModelQuotaExhausted    the quota of the model's API is used up: waiting does not help
    ├── Unavailable             nothing answers there, or what answers cannot work now
    ├── Interrupted             the answer had begun, and then the call broke off: a repeat may cost a second answer
    ├── IncompleteStream        the stream ended without its last event, or its pieces are not the reply
    ├── DeadlineExceeded        the timeout of the call ran out first
    ├── Cancelled               the call was cancelled: its stream was left, or its client closed
    ├── Unimplemented           what answers there does not have this method
    └── Internal                anything else

A chat call that failed may be repeated with the same `request_id` (each error has it): the service answers it once.

Python's own exceptions stay what they are: `asyncio.CancelledError` when the caller's task is cancelled, `ValueError`
and `TypeError` for an argument that no request can hold, `RuntimeError` for a client or stream used out of order.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from grpc import StatusCode

CORRELATION_TRAILER: Final = "x-correlation-id"


class FieldViolation(NamedTuple):
    """One reason why a request was refused."""

    field: str
    """The field as the proto names it, for instance `user_id` or `generation.temperature`."""
    description: str
    """The fault. Never quotes the content of the field."""


class ChatError(Exception):
    """A call that did not succeed. Base of every error of this module.

    Its text is one line: code, reason, message and field violations, never the user's message or id.

    Attributes:
        code: The gRPC status code; where the client itself gave up, the one that fits best.
        message: The text of the service, of a proxy on the way, or of gRPC itself.
        reason: The service's own word for the situation, for instance `SERVER_BUSY`. Empty: the status did not come
            from the service.
        field_violations: The fields that were refused. Empty unless the request was.
        retry_after: Seconds to wait before the call is repeated. None: the service did not say.
        request_id: The id that the call was sent with. Empty: the method takes none.
        correlation_id: The id of the call in the server's log. Empty: the status did not come from the service.
        trailing_metadata: The metadata of the status: pairs of a key and a value, which is bytes if the key ends
            in `-bin`.
    """

    code: StatusCode = StatusCode.UNKNOWN

    def __init__(
        self,
        message: str,
        *,
        code: StatusCode | None = None,
        reason: str = "",
        field_violations: Sequence[FieldViolation] = (),
        retry_after: float | None = None,
        request_id: str = "",
        trailing_metadata: Sequence[tuple[str, str | bytes]] = (),
    ) -> None:
        super().__init__(message)
        if code is not None:
            self.code = code
        self.message = message
        self.reason = reason
        self.field_violations = tuple(field_violations)
        self.retry_after = retry_after
        self.request_id = request_id
        self.trailing_metadata = tuple(trailing_metadata)
        correlation_id = dict(self.trailing_metadata).get(CORRELATION_TRAILER, "")
        self.correlation_id = correlation_id if isinstance(correlation_id, str) else ""

    def __repr__(self) -> str:
        named = {"reason": self.reason, "request_id": self.request_id, "correlation_id": self.correlation_id}
        return f"{type(self).__name__}({', '.join([self.code.name, *(f'{k}={v!r}' for k, v in named.items() if v)])})"

    def __str__(self) -> str:
        head = self.code.name if self.reason in {"", self.code.name} else f"{self.code.name} {self.reason}"
        fields = [f"{violation.field}: {violation.description}" for violation in self.field_violations]
        # The service's message repeats them for callers that read no details.
        # gRPC's own message may be the code in other letters.
        said = "" if self.message.replace(" ", "_").upper() == self.code.name else f": {self.message}"
        return "; ".join([f"{head}{said}", *(field for field in fields if field not in self.message)])


class InvalidArgument(ChatError):
    """A field of the request is not acceptable. `field_violations` names each; the same request fails again."""

    code = StatusCode.INVALID_ARGUMENT


class ContextTooLong(InvalidArgument):
    """The message and the instructions exceed the model's context window."""


class NotFound(ChatError):
    """The user has no such observation, or no active session. Another user's count as not there."""

    code = StatusCode.NOT_FOUND


class Unauthenticated(ChatError):
    """The credentials of the call are missing or not valid."""

    code = StatusCode.UNAUTHENTICATED


class PermissionDenied(ChatError):
    """The caller is known and may not act for this user."""

    code = StatusCode.PERMISSION_DENIED


class FailedPrecondition(ChatError):
    """The call is well-formed, and the state that the service is in does not allow it."""

    code = StatusCode.FAILED_PRECONDITION


class RequestIdReused(FailedPrecondition):
    """The request id belongs to an earlier call with another body. A new call needs a new id."""


class ContentFiltered(FailedPrecondition):
    """A content filter of the model's API stopped the prompt. The same message is stopped again."""


class ResourceExhausted(ChatError):
    """A limit of the service or of the model is reached. Wait `retry_after` seconds, or longer each time."""

    code = StatusCode.RESOURCE_EXHAUSTED


class ModelQuotaExhausted(ResourceExhausted):
    """The quota or the credit of the service's key for the model's API is used up: waiting does not help."""


class Unavailable(ChatError):
    """Nothing answers at the address, or what answers cannot work now. Of a stream, nothing had arrived."""

    code = StatusCode.UNAVAILABLE


class Interrupted(ChatError):
    """The answer had begun, and then the model, the memory, the service or the connection broke off.

    The code is ABORTED, also for a lost connection, which gRPC reports as UNAVAILABLE: repeating the call may cost a
    second answer of the model, so a loop that repeats UNAVAILABLE must not repeat it.
    """

    code = StatusCode.ABORTED


class IncompleteStream(ChatError):
    """A stream ended with status OK and without its last event, or its pieces do not add up to the reply.

    The service never does this: something between cut the stream or changed it.
    """

    code = StatusCode.INTERNAL


class DeadlineExceeded(ChatError):
    """The timeout of the call ran out before the answer was complete, or the idle timeout before the next event.

    The service was told and has stopped.
    """

    code = StatusCode.DEADLINE_EXCEEDED


class Cancelled(ChatError):
    """The call was cancelled on this side: its stream was left, or its client was closed."""

    code = StatusCode.CANCELLED


class Unimplemented(ChatError):
    """The server at the address does not have this method: it is another program or an older service."""

    code = StatusCode.UNIMPLEMENTED


class Internal(ChatError):
    """The service failed in a way that has no other name here. Its operator finds the details in its log."""

    code = StatusCode.INTERNAL


BY_CODE: Final[dict[StatusCode, type[ChatError]]] = {
    StatusCode.ABORTED: Interrupted,
    StatusCode.ALREADY_EXISTS: Internal,
    StatusCode.CANCELLED: Cancelled,
    StatusCode.DATA_LOSS: Internal,
    StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
    StatusCode.FAILED_PRECONDITION: FailedPrecondition,
    StatusCode.INTERNAL: Internal,
    StatusCode.INVALID_ARGUMENT: InvalidArgument,
    StatusCode.NOT_FOUND: NotFound,
    StatusCode.OUT_OF_RANGE: Internal,
    StatusCode.PERMISSION_DENIED: PermissionDenied,
    StatusCode.RESOURCE_EXHAUSTED: ResourceExhausted,
    StatusCode.UNAUTHENTICATED: Unauthenticated,
    StatusCode.UNAVAILABLE: Unavailable,
    StatusCode.UNIMPLEMENTED: Unimplemented,
    StatusCode.UNKNOWN: Internal,
}
"""The class of a status, by its code alone: a proxy's status has nothing else."""

BY_REASON: Final[dict[str, type[ChatError]]] = {
    "CONTENT_FILTERED": ContentFiltered,
    "CONTEXT_TOO_LONG": ContextTooLong,
    "MODEL_QUOTA_EXHAUSTED": ModelQuotaExhausted,
    "REQUEST_ID_REUSED": RequestIdReused,
}
"""The narrower class of a status whose reason says more than its code."""
