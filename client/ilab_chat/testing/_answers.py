"""Answers of the scripted server to one call."""

import re
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, NoReturn

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from ilab_chat._calls import ERROR_DOMAIN, STATUS_DETAILS_KEY
from ilab_chat.v1.chat_pb2 import ChatResponse, ChatStarted, FinishReason, StreamChatResponse, TextDelta

REASONS: Final[Mapping[str, grpc.StatusCode]] = MappingProxyType(
    {
        "CONTENT_FILTERED": grpc.StatusCode.FAILED_PRECONDITION,
        "CONTEXT_TOO_LONG": grpc.StatusCode.INVALID_ARGUMENT,
        "DEADLINE_EXCEEDED": grpc.StatusCode.DEADLINE_EXCEEDED,
        "INTERNAL": grpc.StatusCode.INTERNAL,
        "INVALID_CREDENTIALS": grpc.StatusCode.UNAUTHENTICATED,
        "INVALID_FIELD": grpc.StatusCode.INVALID_ARGUMENT,
        "INVALID_REQUEST": grpc.StatusCode.INVALID_ARGUMENT,
        "MEMORY_UNAVAILABLE": grpc.StatusCode.UNAVAILABLE,
        "MISSING_CREDENTIALS": grpc.StatusCode.UNAUTHENTICATED,
        "MODEL_INTERRUPTED": grpc.StatusCode.ABORTED,
        "MODEL_NOT_FOUND": grpc.StatusCode.INVALID_ARGUMENT,
        "MODEL_OPTION_UNSUPPORTED": grpc.StatusCode.INVALID_ARGUMENT,
        "MODEL_QUOTA_EXHAUSTED": grpc.StatusCode.RESOURCE_EXHAUSTED,
        "MODEL_RATE_LIMITED": grpc.StatusCode.RESOURCE_EXHAUSTED,
        "MODEL_REJECTED": grpc.StatusCode.INTERNAL,
        "MODEL_UNAVAILABLE": grpc.StatusCode.UNAVAILABLE,
        "NOT_FOUND": grpc.StatusCode.NOT_FOUND,
        "RATE_LIMITED": grpc.StatusCode.RESOURCE_EXHAUSTED,
        "REQUEST_ID_REUSED": grpc.StatusCode.FAILED_PRECONDITION,
        "SERVER_BUSY": grpc.StatusCode.RESOURCE_EXHAUSTED,
        "SERVER_DRAINING": grpc.StatusCode.UNAVAILABLE,
        "USER_MISMATCH": grpc.StatusCode.PERMISSION_DENIED,
    }
)
"""The code of each reason, as the service sends it before an answer has begun."""

ALWAYS_WITH_WAIT: Final = frozenset(
    {"MEMORY_UNAVAILABLE", "MODEL_RATE_LIMITED", "MODEL_UNAVAILABLE", "RATE_LIMITED", "SERVER_BUSY"}
)
"""Reasons whose errors say how long to wait, unless an answer has begun: docs/errors.md."""

CORRELATION_ID: Final = "0" * 32


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer."""

    response: ChatResponse

    def events(self, request_id: str, _context: grpc.ServicerContext) -> Iterator[StreamChatResponse]:
        """Yield the events of the answer. Its pieces are words."""
        response = ChatResponse(
            session_id="scripted",
            request_id=request_id,
            model="scripted",
            observation_id=1,
            finish_reason=FinishReason.FINISH_REASON_STOP,
            correlation_id=CORRELATION_ID,
        )
        response.MergeFrom(self.response)
        yield from _begun(response.reply, request_id, response)
        yield StreamChatResponse(completed=response)


@dataclass(frozen=True, slots=True)
class Failure:
    """A status of the service, or of gRPC if *reason* is empty."""

    code: grpc.StatusCode
    reason: str
    message: str
    retry_after: float | None
    field: str
    after: str | None

    def events(self, request_id: str, context: grpc.ServicerContext) -> Iterator[StreamChatResponse]:
        """Yield what comes before the failure, then end the call with its status."""
        if self.after is not None:
            yield from _begun(self.after, request_id, ChatResponse())
        self.abort(context)

    def abort(self, context: grpc.ServicerContext) -> NoReturn:
        """End the call with the status."""
        trailers: list[tuple[str, str | bytes]] = []
        message = f"{self.field}: {self.message}" if self.field else self.message
        if self.reason:
            details: list[Message] = [
                error_details_pb2.ErrorInfo(
                    reason=self.reason, domain=ERROR_DOMAIN, metadata={"correlation_id": CORRELATION_ID}
                )
            ]
            if self.field:
                violation = error_details_pb2.BadRequest.FieldViolation(field=self.field, description=self.message)
                details.append(error_details_pb2.BadRequest(field_violations=[violation]))
            if self.retry_after is not None:
                delay = Duration()
                delay.FromMilliseconds(round(self.retry_after * 1000))
                details.append(error_details_pb2.RetryInfo(retry_delay=delay))
            status = status_pb2.Status(code=self.code.value[0], message=message, details=map(_packed, details))
            trailers = [(STATUS_DETAILS_KEY, status.SerializeToString()), ("x-correlation-id", CORRELATION_ID)]
        context.set_trailing_metadata(tuple(trailers))
        context.abort(self.code, message)


@dataclass(frozen=True, slots=True)
class Silence:
    """Nothing more, until the caller leaves or the server is stopped."""

    after: str | None
    stopped: threading.Event

    def events(self, request_id: str, context: grpc.ServicerContext) -> Iterator[StreamChatResponse]:
        """Yield what comes before the silence, then wait."""
        if self.after is not None:
            yield from _begun(self.after, request_id, ChatResponse())
        context.add_callback(self.stopped.set)
        self.stopped.wait()
        context.abort(grpc.StatusCode.UNAVAILABLE, "the scripted server has stopped")


def _begun(reply: str, request_id: str, response: ChatResponse) -> Iterator[StreamChatResponse]:
    started: dict[str, Any] = {"session_id": response.session_id or "scripted", "model": response.model or "scripted"}
    yield StreamChatResponse(
        started=ChatStarted(**started, request_id=request_id, memories=response.memories, correlation_id=CORRELATION_ID)
    )
    for piece in re.findall(r"\s*\S+|\s+$", reply):
        yield StreamChatResponse(text_delta=TextDelta(text=piece))


def _packed(detail: Message) -> AnyMessage:
    message = AnyMessage()
    message.Pack(detail)
    return message
