"""The scripted server."""

import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

import grpc
from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message

from ilab_chat.testing._answers import ALWAYS_WITH_WAIT, REASONS, Failure, Reply, Silence
from ilab_chat.v1 import chat_pb2, memory_pb2
from ilab_chat.v1.chat_pb2 import ChatResponse, StreamChatResponse

CHAT_METHODS: Final = {"Chat", "StreamChat"}
#: Calls that are answered at the same time.
THREADS: Final = 32


@dataclass(frozen=True, slots=True)
class RecordedCall:
    """One call that arrived."""

    method: str
    """Its name, for example `Chat` or `SaveObservation`."""
    request: Any
    """Its message. For `ImportUser`, the list of its messages."""
    metadata: Mapping[str, str | bytes]
    """Sent by the caller. The last value of a key that was sent more than once."""


class ScriptedServer:
    """A gRPC server in this process, on a free port of 127.0.0.1, whose answers a test writes.

    `reply`, `fail` and `hang` put one answer each into a queue, and every call of `Chat` or `StreamChat` takes one.
    `respond` sets the answer of any other method. A call that has no answer fails as UNIMPLEMENTED, with a message that
    says which, and is in `unscripted`; the fixture `chat_server` then fails the test. Threads may share it.

    Args:
        default_reply: The reply to chat calls when the queue is empty. None: they fail.
    """

    def __init__(self, *, default_reply: str | None = None) -> None:
        self.default_reply = default_reply
        self._unscripted: list[RecordedCall] = []
        self._lock = threading.Lock()
        self._answers: deque[Reply | Failure | Silence] = deque()
        self._responses: dict[str, Message | Failure] = {}
        self._calls: list[RecordedCall] = []
        self._silences: list[threading.Event] = []
        self._server = grpc.server(ThreadPoolExecutor(THREADS), options=[("grpc.so_reuseport", 0)])
        for file in (chat_pb2, memory_pb2):
            for service in file.DESCRIPTOR.services_by_name.values():
                handlers = {method.name: self._handler(method) for method in service.methods}
                self._server.add_generic_rpc_handlers(
                    (grpc.method_handlers_generic_handler(service.full_name, handlers),)
                )
        self._port = self._server.add_insecure_port("127.0.0.1:0")

    @property
    def address(self) -> str:
        """The address for a client."""
        return f"127.0.0.1:{self._port}"

    @property
    def calls(self) -> list[RecordedCall]:
        """Every call so far, in order of arrival. Repeats by the client count."""
        with self._lock:
            return list(self._calls)

    @property
    def unscripted(self) -> list[RecordedCall]:
        """The calls that failed because the test has set no answer to them."""
        with self._lock:
            return list(self._unscripted)

    def reply(self, text: str = "", **fields: Any) -> None:
        """Answer a chat call with *text*.

        Args:
            text: The reply. A stream sends it word by word.
            **fields: Other fields of `ChatResponse`, such as `memories` or `remembered`.
        """
        self._put(Reply(ChatResponse(reply=text, **fields)))

    def fail(
        self,
        reason: str = "",
        *,
        code: grpc.StatusCode | None = None,
        message: str = "scripted",
        retry_after: float | None = None,
        field: str = "",
        after: str | None = None,
        method: str = "",
    ) -> None:
        """Let a chat call fail.

        Args:
            reason: The service's reason, for example "SERVER_BUSY"; `REASONS` lists them. Empty: a status that does
                not come from the service, such as that of a lost connection.
            code: The status code. None: that of the reason, and ABORTED instead of UNAVAILABLE after a reply has begun,
                as the service does. Without a reason UNAVAILABLE, also with *after*.
            message: The error message, and the description of *field*.
            retry_after: Seconds that the caller should wait. None: 1 where the service always says it (docs/errors.md),
                and unset for other reasons.
            field: The field that is refused, for example `generation.model`. It is not checked.
            after: A stream sends this part of a reply first. None: the call fails before it begins. A unary call sends
                nothing first, but has the code of a reply that has begun.
            method: Let every call of this method fail instead, for example `SaveObservation`.

        Raises:
            TypeError: *code* is not a `grpc.StatusCode`.
            ValueError: the reason or the method is unknown, or *retry_after* or *field* has no reason to go with.
        """
        if reason and reason not in REASONS:
            raise ValueError(f"unknown reason {reason}; the reasons are {', '.join(REASONS)}")
        if not reason and (field or retry_after is not None):
            raise ValueError("field and retry_after need a reason: a status of gRPC itself has no details")
        if not isinstance(code, grpc.StatusCode | None):
            raise TypeError(f"code must be a grpc.StatusCode, not {code!r}")
        if code is None:
            code = REASONS[reason] if reason else grpc.StatusCode.UNAVAILABLE
            if after is not None and reason and code is grpc.StatusCode.UNAVAILABLE:
                code = grpc.StatusCode.ABORTED
        if retry_after is None and reason in ALWAYS_WITH_WAIT and code is not grpc.StatusCode.ABORTED:
            retry_after = 1.0
        failure = Failure(code, reason, message, retry_after, field, after)
        if method:
            self._respond(method, failure)
        else:
            self._put(failure)

    def hang(self, *, after: str | None = None) -> None:
        """Let a chat call wait until the caller leaves, for tests of timeouts.

        Args:
            after: A stream sends this part of a reply first. None: nothing is sent.
        """
        stopped = threading.Event()
        with self._lock:
            self._silences.append(stopped)
        self._put(Silence(after, stopped))

    def respond(self, method: str, response: Message) -> None:
        """Answer every call of *method*, for example `ListFacts`, with *response*.

        Raises:
            TypeError: the method answers with another message.
            ValueError: the method is unknown, or `reply` answers it.
        """
        self._respond(method, response)

    def start(self) -> None:
        """Begin to serve."""
        self._server.start()

    def stop(self) -> None:
        """End all calls and stop. A second call does nothing."""
        with self._lock:
            silences = list(self._silences)
        for silence in silences:
            silence.set()
        self._server.stop(None).wait()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _put(self, answer: Reply | Failure | Silence) -> None:
        with self._lock:
            self._answers.append(answer)

    def _respond(self, method: str, answer: Message | Failure) -> None:
        expected = {
            each.name: message_factory.GetMessageClass(each.output_type)
            for file in (chat_pb2, memory_pb2)
            for service in file.DESCRIPTOR.services_by_name.values()
            for each in service.methods
            if each.name not in CHAT_METHODS
        }
        if method not in expected:
            raise ValueError(f"unknown method {method}; the methods are {', '.join(expected)}")
        if isinstance(answer, Message) and not isinstance(answer, expected[method]):
            raise TypeError(f"{method} answers with {expected[method].__name__}, not {type(answer).__name__}")
        with self._lock:
            self._responses[method] = answer

    def _take(self, call: RecordedCall) -> Reply | Failure | Silence:
        with self._lock:
            self._calls.append(call)
            if self._answers:
                return self._answers.popleft()
            if self.default_reply is not None:
                return Reply(ChatResponse(reply=self.default_reply))
            self._unscripted.append(call)
        return unscripted(call.method, "reply(), fail() or hang(), or set default_reply")

    def _handler(self, method: MethodDescriptor) -> "grpc.RpcMethodHandler[Any, Any]":
        behaviors: dict[str, Callable[[Any, grpc.ServicerContext], Any]] = {
            "Chat": self._chat,
            "StreamChat": self._stream_chat,
        }

        def answer(request: Any, context: grpc.ServicerContext) -> Any:
            if method.client_streaming:
                request = list(request)
            call = _recorded(method.name, request, context)
            with self._lock:
                self._calls.append(call)
                response = self._responses.get(method.name)
                if response is None:
                    self._unscripted.append(call)
            if response is None:
                response = unscripted(method.name, f'respond("{method.name}", {method.output_type.name}(...))')
            if isinstance(response, Failure):
                response.abort(context)
            return iter([response]) if method.server_streaming else response

        make = {
            (False, False): grpc.unary_unary_rpc_method_handler,
            (False, True): grpc.unary_stream_rpc_method_handler,
            (True, False): grpc.stream_unary_rpc_method_handler,
        }[method.client_streaming, method.server_streaming]
        handler: grpc.RpcMethodHandler[Any, Any] = make(
            behaviors.get(method.name, answer),
            request_deserializer=message_factory.GetMessageClass(method.input_type).FromString,
            response_serializer=lambda message: message.SerializeToString(),
        )
        return handler

    def _chat(self, request: chat_pb2.ChatRequest, context: grpc.ServicerContext) -> ChatResponse:
        answer = self._take(_recorded("Chat", request, context))
        for event in answer.events(request.request_id, context):
            if event.HasField("completed"):
                return event.completed
        return ChatResponse()

    def _stream_chat(
        self, request: chat_pb2.StreamChatRequest, context: grpc.ServicerContext
    ) -> Iterator[StreamChatResponse]:
        answer = self._take(_recorded("StreamChat", request, context))
        yield from answer.events(request.request_id, context)


def unscripted(method: str, meant: str) -> Failure:
    """Return the failure of a call that the test has set no answer to. *meant*: what sets one."""
    message = f"the test has set no answer to {method}: call {meant} first"
    return Failure(grpc.StatusCode.UNIMPLEMENTED, "", message, None, "", None)


def _recorded(method: str, request: Any, context: grpc.ServicerContext) -> RecordedCall:
    return RecordedCall(method, request, dict(context.invocation_metadata() or ()))
