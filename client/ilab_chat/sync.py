# Generated from aio.py by make generate; do not edit.
"""The client for code without an event loop."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from functools import partial
from types import TracebackType
from typing import Self

import grpc

from ilab_chat import _calls
from ilab_chat._calls import FromClient, Metadata
from ilab_chat._connection import Connection, Events, StreamingCall, chat_errors
from ilab_chat._security import Token, check_token
from ilab_chat._target import DEFAULT_MAX_RETRIES, DEFAULT_TARGET, check_max_retries, check_target
from ilab_chat.errors import ChatError
from ilab_chat.options import ContextOption, GenerationOption, MemoryModeOption, TurnRetentionOption
from ilab_chat.sync_memory import MemoryClient
from ilab_chat.v1.chat_pb2 import (
    ChatRequest,
    ChatResponse,
    ChatStarted,
    MemoryMode,
    PreviewPromptRequest,
    PreviewPromptResponse,
    StreamChatRequest,
    StreamChatResponse,
    TurnRetention,
)


class ChatClient:
    """A chat that remembers.

    Connects on the first call. Any number of threads may share it. Create it after a fork, not before.

        with ChatClient() as client:
            response = client.chat("alice", "hi")
            print(response.reply)

    Args:
        target: Server address. `host:port` is one server or a proxy. `dns:///name:port` or comma-separated IP addresses
            (`10.0.0.1:50051,10.0.0.2:50051`) balance calls over the servers that report SERVING. Other gRPC targets,
            such as `unix:/path`, work too.
        channel: A channel to use instead of making one. It stays open when the client closes.
        credentials: How to secure the connection, for instance `tls_credentials(ca_file="ca.pem")`. None: plaintext.
        timeout: Seconds that a call with one answer may take. None: no limit. Streams have no total limit by default.
        idle_timeout: Seconds that a stream may be silent: the longest wait for its next event, heartbeats included.
            None: no limit.
        max_retries: How often a call is repeated that failed as UNAVAILABLE before its answer began: `chat`,
            `stream_chat`, `preview_prompt`, and the memory's `save`, `update`, `delete`, `end_session` and
            `summarize_session`. A repeat has the same request id, so nothing is done twice. 0 to 4; the timeout is for
            all attempts together. Nothing else is repeated: not a call that reached a limit, and not one whose answer
            had begun. A given channel has its own policy.
        metadata: Sent with every call.
        token: Bearer token, or a function that returns it; the function is called for each call. A given channel is
            assumed to be encrypted.
        allow_plaintext_token: Allow sending the token in plaintext to another machine, for example behind a sidecar
            that encrypts.

    Raises:
        ValueError: *channel* is given together with *target* or *credentials*; *target* is a
            comma-separated list of anything but IP addresses of one family, or a list together with *credentials*;
            *max_retries* is not 0 to 4; or the token would leave this machine in plaintext.
    """

    def __init__(
        self,
        target: str = DEFAULT_TARGET,
        *,
        channel: grpc.Channel | None = None,
        credentials: grpc.ChannelCredentials | None = None,
        timeout: float | None = _calls.DEFAULT_TIMEOUT,
        idle_timeout: float | None = _calls.DEFAULT_IDLE_TIMEOUT,
        max_retries: int = DEFAULT_MAX_RETRIES,
        metadata: Metadata = (),
        token: Token | None = None,
        allow_plaintext_token: bool = False,
    ) -> None:
        where = check_target(target, channel, credentials)
        encrypted = channel is not None or credentials is not None
        self._check_token = partial(
            check_token, is_local=where.is_local, encrypted=encrypted, allow_plaintext_token=allow_plaintext_token
        )
        self._check_token(token)
        self._connection = Connection(where, channel, credentials, check_max_retries(max_retries))
        self._use(_calls.CallDefaults(timeout, idle_timeout, tuple(metadata), token))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._connection}>"

    def _use(self, defaults: _calls.CallDefaults) -> None:
        self._defaults = defaults
        self._memory = MemoryClient(self._connection, self._defaults)

    def with_options(
        self,
        *,
        timeout: float | FromClient | None = FromClient.TIMEOUT,
        idle_timeout: float | FromClient | None = FromClient.IDLE_TIMEOUT,
        metadata: Metadata | FromClient = FromClient.METADATA,
        token: Token | FromClient | None = FromClient.TOKEN,
    ) -> Self:
        """Return a client with other defaults on the same connection. Closing either closes both.

            reports = client.with_options(timeout=300, metadata=(("x-team", "reports"),))

        Args:
            timeout: As for the client. Left out: the client's; so are the others.
            idle_timeout: As for the client.
            metadata: Sent with every call, in place of the client's.
            token: Sent with every call, in place of the client's. None: no token.

        Raises:
            ValueError: the token would leave this machine in plaintext.
        """
        defaults = self._defaults.changed(timeout, idle_timeout, metadata, token)
        self._check_token(defaults.token)
        other = copy(self)
        other._use(defaults)  # noqa: SLF001 - it is of this class
        return other

    @property
    def memory(self) -> MemoryClient:
        """Client of MemoryService: read, write, export, import and erase a user's memory."""
        return self._memory

    def chat(
        self,
        user_id: str,
        message: str,
        *,
        request_id: str | None = None,
        conversation_id: str = "",
        instructions: str = "",
        context: ContextOption = (),
        time_zone: str = "",
        memory_types: Sequence[str] = (),
        generation: GenerationOption | None = None,
        memory_mode: MemoryModeOption = MemoryMode.MEMORY_MODE_UNSPECIFIED,
        turn_retention: TurnRetentionOption = TurnRetention.TURN_RETENTION_UNSPECIFIED,
        timeout: float | FromClient | None = FromClient.TIMEOUT,
        metadata: Metadata = (),
    ) -> ChatResponse:
        """Send one message and return the whole answer, once the turn is stored.

        Closing the client from another thread cancels the call, and the service stops.

        A call that fails as UNAVAILABLE is repeated as the client's *max_retries* says, with the same request id.

        Args:
            user_id: Whose memory is read and written.
            message: The message of the user.
            request_id: Identifies the call, so that repeating it makes no second turn. None: a new one is made; the
                answer and every error have it.
            conversation_id: The conversation that the message belongs to. Empty: the user's default conversation.
            instructions: Instructions for this call. They are not stored.
            context: Documents for this call, given to the model as data. They are not stored. A document is a message
                or a dictionary such as `{"title": "Huts", "text": "..."}`.
            time_zone: The user's time zone, an IANA name such as "Europe/Berlin". Empty: UTC.
            memory_types: Types of observations that may enter the prompt. Empty: all.
            generation: Options for the model, as a message or as a dictionary such as `{"temperature": 0}`. None: the
                service's defaults.
            memory_mode: Whether memory is read and written: "read_write" (the default), "read_only" or "off".
            turn_retention: Which turns stay in memory: "every_turn" (the default) or "latest_only".
            timeout: Seconds for this call. None: no limit. Left out: the client's.
            metadata: Sent after the client's own.

        Raises:
            ChatError: the call did not succeed; `ilab_chat.errors` has the tree.
            RuntimeError: the client is closed.
            TypeError: a dictionary has an unknown key.
            ValueError: the name of a mode, a retention or an effort is unknown.
        """
        request = _calls.build_request(
            ChatRequest,
            user_id,
            message,
            request_id=request_id,
            conversation_id=conversation_id,
            instructions=instructions,
            context=context,
            time_zone=time_zone,
            memory_types=memory_types,
            generation=generation,
            memory_mode=memory_mode,
            turn_retention=turn_retention,
        )
        stub = self._connection.chat
        with chat_errors(request.request_id):
            response = stub.Chat(
                request, timeout=self._defaults.timeout_of(timeout), metadata=self._defaults.metadata_of(metadata)
            )
        return _calls.check_response(response, request.request_id)

    def stream_chat(
        self,
        user_id: str,
        message: str,
        *,
        request_id: str | None = None,
        conversation_id: str = "",
        instructions: str = "",
        context: ContextOption = (),
        time_zone: str = "",
        memory_types: Sequence[str] = (),
        generation: GenerationOption | None = None,
        memory_mode: MemoryModeOption = MemoryMode.MEMORY_MODE_UNSPECIFIED,
        turn_retention: TurnRetentionOption = TurnRetention.TURN_RETENTION_UNSPECIFIED,
        timeout: float | None = None,
        idle_timeout: float | FromClient | None = FromClient.IDLE_TIMEOUT,
        metadata: Metadata = (),
    ) -> "ChatStream":
        """Return the answer as a stream to enter. The call begins there, and leaving the block ends it.

            with client.stream_chat("alice", "hi") as stream:
                for text in stream.text:
                    print(text, end="", flush=True)
            print(stream.response.usage)

        A call that fails as UNAVAILABLE before its first event is repeated as the client's *max_retries* says, with the
        same request id.

        Args:
            user_id: Whose memory is read and written.
            message: The message of the user.
            request_id: Identifies the call, so that repeating it makes no second turn. None: a new one is made; the
                stream, the answer and every error have it.
            conversation_id: The conversation that the message belongs to. Empty: the user's default conversation.
            instructions: Instructions for this call. They are not stored.
            context: Documents for this call, given to the model as data. They are not stored. A document is a message
                or a dictionary such as `{"title": "Huts", "text": "..."}`.
            time_zone: The user's time zone, an IANA name such as "Europe/Berlin". Empty: UTC.
            memory_types: Types of observations that may enter the prompt. Empty: all.
            generation: Options for the model, as a message or as a dictionary such as `{"temperature": 0}`. None: the
                service's defaults.
            memory_mode: Whether memory is read and written: "read_write" (the default), "read_only" or "off".
            turn_retention: Which turns stay in memory: "every_turn" (the default) or "latest_only".
            timeout: Seconds from entering the block to the last event. None: no limit.
            idle_timeout: Seconds that may pass until the next event, heartbeats included. None: no limit. Left out: the
                client's.
            metadata: Sent after the client's own.

        Raises:
            InvalidArgument: a text is not valid Unicode. Every other failure of the call is raised while the stream is
                read.
            TypeError: a dictionary has an unknown key.
            ValueError: the name of a mode, a retention or an effort is unknown.
        """
        request = _calls.build_request(
            StreamChatRequest,
            user_id,
            message,
            request_id=request_id,
            conversation_id=conversation_id,
            instructions=instructions,
            context=context,
            time_zone=time_zone,
            memory_types=memory_types,
            generation=generation,
            memory_mode=memory_mode,
            turn_retention=turn_retention,
        )
        pairs = self._defaults.metadata_of(metadata)
        return ChatStream(
            lambda: self._connection.chat.StreamChat(request, timeout=timeout, metadata=pairs),
            request.request_id,
            self._defaults.idle_timeout_of(idle_timeout),
        )

    def preview_prompt(
        self,
        user_id: str,
        message: str,
        *,
        conversation_id: str = "",
        instructions: str = "",
        context: ContextOption = (),
        time_zone: str = "",
        memory_types: Sequence[str] = (),
        generation: GenerationOption | None = None,
        memory_mode: MemoryModeOption = MemoryMode.MEMORY_MODE_UNSPECIFIED,
        timeout: float | FromClient | None = FromClient.TIMEOUT,
        metadata: Metadata = (),
    ) -> PreviewPromptResponse:
        """Return the prompt that `chat` would send to the model. Asks no model and writes nothing.

        Args:
            user_id: Whose memory is read.
            message: The message of the user.
            conversation_id: The conversation that the message belongs to. Empty: the user's default conversation.
            instructions: Instructions for the call.
            context: Documents for the call, given to the model as data: messages or dictionaries.
            time_zone: The user's time zone, an IANA name such as "Europe/Berlin". Empty: UTC.
            memory_types: Types of observations that may enter the prompt. Empty: all.
            generation: Options for the model, of which its name matters here: a message or a dictionary. None: the
                service's defaults.
            memory_mode: Whether memory is read: "read_write" (the default), "read_only" or "off".
            timeout: Seconds for this call. None: no limit. Left out: the client's.
            metadata: Sent after the client's own.

        Raises:
            ChatError: the call did not succeed; `ilab_chat.errors` has the tree.
            RuntimeError: the client is closed.
            TypeError: a dictionary has an unknown key.
            ValueError: the name of a mode, a retention or an effort is unknown.
        """
        request = _calls.build_request(
            PreviewPromptRequest,
            user_id,
            message,
            conversation_id=conversation_id,
            instructions=instructions,
            context=context,
            time_zone=time_zone,
            memory_types=memory_types,
            generation=generation,
            memory_mode=memory_mode,
        )
        stub = self._connection.chat
        with chat_errors(""):
            response = stub.PreviewPrompt(
                request, timeout=self._defaults.timeout_of(timeout), metadata=self._defaults.metadata_of(metadata)
            )
        return _calls.check_response(response, "")

    def close(self) -> None:
        """Close the connection; calls that run are cancelled. A channel given by the caller stays open.

        A second call does nothing.
        """
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class ChatStream(_calls.StreamedAnswer):
    """One answer while it is written: made by `ChatClient.stream_chat`, entered once, read by one thread.

    Iterate it (or `events`) for every event, heartbeats included, or `text` for the pieces of the reply; both read the
    same stream. Events of a kind that this client does not know are skipped. A break leaves the rest unread; leaving
    the block cancels a call that is not finished, and the service stops.

    Reading raises:
        ChatError: the call did not succeed; `IncompleteStream` when the stream ended OK and is not whole.
        RuntimeError: the stream was not entered, or its client is closed.
    """

    def __init__(
        self,
        start: Callable[[], StreamingCall[StreamChatResponse]],
        request_id: str,
        idle_timeout: float | None,
    ) -> None:
        super().__init__(request_id)
        self._start = start
        self._idle_timeout = idle_timeout
        self._unread: deque[StreamChatResponse] = deque()
        self._call: StreamingCall[StreamChatResponse] | None = None
        self._failure: ChatError | None = None

    @property
    def events(self) -> Iterator[StreamChatResponse]:
        """Every event, in order."""
        return self

    @property
    def text(self) -> Iterator[str]:
        """The pieces of the reply, in order."""
        return _Text(self)

    def begin(self) -> ChatStarted:
        """Wait until the answer begins, and return the event that says so. Reading the stream still starts with it.

        For callers that need to know the status first, as a web server does that has not sent its own yet:

            with client.stream_chat("alice", "hi") as stream:
                stream.begin()  # raises what the call fails with before the model begins
                for text in stream.text:
                    print(text, end="", flush=True)

        A second call returns the same event.

        Raises:
            ChatError: the call did not succeed; `IncompleteStream` when the first event is another one.
            RuntimeError: the stream was not entered, or its client is closed.
        """
        if self._started is None:
            self._unread.append(self._read())
        if self._started is None:
            raise self._incomplete("the stream did not begin with started")
        return self._started

    def __enter__(self) -> Self:
        if self._call is not None:
            raise RuntimeError("this stream was entered before: a new answer is a new call of stream_chat")
        self._call = self._start()
        self._events = Events(self._call, self._idle_timeout, self.request_id)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._call is not None:
            self._call.cancel()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> StreamChatResponse:
        return self._unread.popleft() if self._unread else self._read()

    def _read(self) -> StreamChatResponse:
        if self._call is None:
            raise RuntimeError("enter the stream first: with client.stream_chat(...) as stream")
        if self._failure is not None:
            raise self._failure
        try:
            with chat_errors(self.request_id, begun=self._begun):
                for event in self._events:
                    if self._take(event):
                        return event
        except ChatError as failure:
            # An asyncio iterator of gRPC ends silently after it has raised, which would look like a stream cut short.
            self._failure = failure
            raise
        self._end()
        raise StopIteration


class _Text:
    """The pieces of the reply. A class, because an async generator cannot be closed while another task awaits it."""

    def __init__(self, stream: ChatStream) -> None:
        self._stream = stream

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> str:
        while True:
            event = next(self._stream)
            if event.HasField("text_delta"):
                return event.text_delta.text
