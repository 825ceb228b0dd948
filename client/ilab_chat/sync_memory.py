# Generated from aio_memory.py by make generate; do not edit.
"""The memory client for code without an event loop."""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

from ilab_chat import _memory_calls
from ilab_chat._calls import CallDefaults, FromClient, Metadata, check_response, several
from ilab_chat._connection import (
    Connection,
    Events,
    Items,
    StreamingCall,
    chat_errors,
    upload,
)
from ilab_chat._memory_calls import Never
from ilab_chat.errors import ChatError
from ilab_chat.v1 import memory_pb2
from ilab_chat.v1.memory_pb2 import (
    ExportUserResponse,
    Fact,
    GetStatsResponse,
    ImportUserResponse,
    Observation,
    ObservationCompact,
    SaveResult,
    Session,
    StartSessionResponse,
)

if TYPE_CHECKING:
    from typing import Unpack

    import grpc

    from ilab_chat._memory_calls import CallOptions

Request = TypeVar("Request")
Response = TypeVar("Response")


class MemoryClient:
    """The memory of users, as `ChatClient.memory`. Shares the connection of its client.

        with ChatClient() as client:
            for found in client.memory.search("alice", "hiking"):
                print(found.title)

    Every method takes *timeout* and *metadata* as `ChatClient.chat` does, and raises:
        ChatError: the call did not succeed; `ilab_chat.errors` has the tree.
        RuntimeError: the client is closed.

    A write takes a *request_id* too: retrying it with the same one returns the stored response, and writes nothing.
    None: a new one is made, which every error has. The client retries writes that fail as UNAVAILABLE, up to its
    *max_retries*; it repeats no other method. A *conversation_id* names one of the user's conversations, each with
    a session of its own; the empty one is the default conversation.
    """

    def __init__(self, connection: Connection, defaults: CallDefaults) -> None:
        self._connection = connection
        self._defaults = defaults

    def start_session(
        self, user_id: str, *, conversation_id: str = "", **options: "Unpack[CallOptions]"
    ) -> StartSessionResponse:
        """Return the session to work in, summaries of the last ones, and the best memories of all of these.

        Continues the conversation's active session, or opens one.
        """
        request = _memory_calls.build(memory_pb2.StartSessionRequest, user_id=user_id, conversation_id=conversation_id)
        return self._ask(self._connection.memory.StartSession, request, **options)

    def end_session(
        self,
        user_id: str,
        summary: str,
        *,
        conversation_id: str = "",
        request_id: str | None = None,
        **options: "Unpack[CallOptions]",
    ) -> Session:
        """Complete the conversation's active session and return it. Raises NotFound if no session is active."""
        request = _memory_calls.build_write(
            memory_pb2.EndSessionRequest,
            request_id=request_id,
            user_id=user_id,
            summary=summary,
            conversation_id=conversation_id,
        )
        response = self._ask(self._connection.memory.EndSession, request, **options)
        return response.session

    def summarize_session(
        self,
        user_id: str,
        summary: str,
        *,
        conversation_id: str = "",
        request_id: str | None = None,
        **options: "Unpack[CallOptions]",
    ) -> SaveResult:
        """Store *summary*, of the session so far; the session stays open. Opens a session if none is active."""
        request = _memory_calls.build_write(
            memory_pb2.SummarizeSessionRequest,
            request_id=request_id,
            user_id=user_id,
            summary=summary,
            conversation_id=conversation_id,
        )
        response = self._ask(self._connection.memory.SummarizeSession, request, **options)
        return response.result

    def list_sessions(
        self,
        user_id: str,
        *,
        conversation_id: str | None = None,
        page_size: int | None = None,
        **options: "Unpack[CallOptions]",
    ) -> Iterator[Session]:
        """Yield the user's sessions, newest start first. The list comes in pages, and each call has the timeout.

        Args:
            user_id: Whose sessions.
            conversation_id: Only those of this conversation. Empty: the default one. None: all.
            page_size: Sessions per call, up to 200. None: 50.
            **options: *timeout* and *metadata*.
        """
        request = _memory_calls.build(
            memory_pb2.ListSessionsRequest, user_id=user_id, conversation_id=conversation_id, page_size=page_size
        )
        while True:
            page = self._ask(self._connection.memory.ListSessions, request, **options)
            for session in page.sessions:
                yield session
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def save(
        self,
        user_id: str,
        content: str,
        *,
        type: str,  # noqa: A002 - the contract's word
        title: str,
        topic_key: str | None = None,
        pinned: bool = False,
        expire_time: datetime | None = None,
        conversation_id: str = "",
        request_id: str | None = None,
        **options: "Unpack[CallOptions]",
    ) -> SaveResult:
        """Store an observation and return whether it was created, updated or already there.

        Args:
            user_id: Whose memory it belongs to.
            content: The text to remember. `<private>...</private>` in it is not stored.
            type: One of the service's types; by default profile, preference, decision, discovery and pattern.
            title: A line that names it.
            topic_key: The observation that is stored under this key is updated in place. None: a new observation,
                unless the session already holds the same one.
            pinned: For a fact: it comes first in every prompt.
            expire_time: Time at which it expires, with a time zone. None: never.
            conversation_id: The conversation whose session it is stored in.
            request_id: Identifies the call, so that a retry stores nothing again. None: a new one is made.
            **options: *timeout* and *metadata*.
        """
        request = _memory_calls.build_write(
            memory_pb2.SaveObservationRequest,
            request_id=request_id,
            user_id=user_id,
            content=content,
            type=type,
            title=title,
            topic_key=topic_key,
            pinned=pinned,
            expire_time=_memory_calls.moment("expire_time", expire_time),
            conversation_id=conversation_id,
        )
        response = self._ask(self._connection.memory.SaveObservation, request, **options)
        return response.result

    def update(
        self,
        user_id: str,
        observation_id: int,
        *,
        title: str | None = None,
        content: str | None = None,
        type: str | None = None,  # noqa: A002 - the contract's word
        pinned: bool | None = None,
        expire_time: datetime | Never | None = None,
        request_id: str | None = None,
        **options: "Unpack[CallOptions]",
    ) -> SaveResult:
        """Change parts of an observation. Those that are None are unchanged; `NEVER` removes the expiry.

        Turns of the chat cannot be changed: delete them instead. Raises NotFound if the user has no observation with
        this id.
        """
        fields = _memory_calls.changes(title=title, content=content, type=type, pinned=pinned, expire_time=expire_time)
        request = _memory_calls.build_write(
            memory_pb2.UpdateObservationRequest,
            request_id=request_id,
            user_id=user_id,
            observation_id=observation_id,
            **fields,
        )
        response = self._ask(self._connection.memory.UpdateObservation, request, **options)
        return response.result

    def delete(
        self,
        user_id: str,
        observation_id: int,
        *,
        request_id: str | None = None,
        **options: "Unpack[CallOptions]",
    ) -> None:
        """Erase an observation. Raises NotFound if the user has no observation with this id."""
        request = _memory_calls.build_write(
            memory_pb2.DeleteObservationRequest, request_id=request_id, user_id=user_id, observation_id=observation_id
        )
        self._ask(self._connection.memory.DeleteObservation, request, **options)

    def list_observations(
        self,
        user_id: str,
        *,
        types: Sequence[str] = (),
        conversation_id: str | None = None,
        page_size: int | None = None,
        **options: "Unpack[CallOptions]",
    ) -> Iterator[Observation]:
        """Yield the user's observations, most recently changed first.

        The list comes in pages, and each call has the timeout.

        Args:
            user_id: Whose observations.
            types: Only observations of these types, up to 16. Empty: of all types.
            conversation_id: Only those of this conversation. Empty: the default one. None: all.
            page_size: Observations per call, up to 200. None: 50.
            **options: *timeout* and *metadata*.
        """
        request = _memory_calls.list_request(user_id, types, conversation_id, page_size)
        while True:
            page = self._ask(self._connection.memory.ListObservations, request, **options)
            for observation in page.observations:
                yield observation
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def list_facts(
        self,
        user_id: str,
        *,
        types: Sequence[str] = (),
        page_size: int | None = None,
        **options: "Unpack[CallOptions]",
    ) -> Iterator[Fact]:
        """Yield the facts about the user that hold now: pinned ones first, then the most recently changed.

        The list comes in pages, and each call has the timeout.

        Args:
            user_id: Whose facts.
            types: Only facts of these types, of profile, preference, decision and pattern. Empty: of all four.
            page_size: Facts per call, up to 200. None: 50.
            **options: *timeout* and *metadata*.
        """
        request = _memory_calls.build(
            memory_pb2.ListFactsRequest, user_id=user_id, types=several(types), page_size=page_size
        )
        while True:
            page = self._ask(self._connection.memory.ListFacts, request, **options)
            for fact in page.facts:
                yield fact
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def search(
        self,
        user_id: str,
        query: str,
        *,
        limit: int | None = None,
        types: Sequence[str] = (),
        types_exclude: Sequence[str] = (),
        **options: "Unpack[CallOptions]",
    ) -> tuple[ObservationCompact, ...]:
        """Return the observations that answer a query best, best first.

        Args:
            user_id: Whose memory is searched.
            query: Plain language; it has no operators.
            limit: Maximum number of results, up to 100. None: 10.
            types: Only observations of these types, up to 16. Empty: of all types.
            types_exclude: No observations of these types, up to 16. Not together with *types*.
            **options: *timeout* and *metadata*.
        """
        request = _memory_calls.search_request(user_id, query, limit, types, types_exclude)
        response = self._ask(self._connection.memory.SearchObservations, request, **options)
        return tuple(response.observations)

    def get(self, user_id: str, observation_id: int, **options: "Unpack[CallOptions]") -> Observation:
        """Return one observation. Raises NotFound if the user has no observation with this id."""
        request = _memory_calls.build(memory_pb2.GetObservationRequest, user_id=user_id, observation_id=observation_id)
        response = self._ask(self._connection.memory.GetObservation, request, **options)
        return response.observation

    def timeline(self, user_id: str, observation_id: int, **options: "Unpack[CallOptions]") -> tuple[Observation, ...]:
        """Return an observation and its neighbors by creation time: up to five before it and five after it.

        Oldest first, from all of the user's conversations. Empty if the user has no observation with this id. Long
        observations come in several calls, and each has the timeout.
        """
        request = _memory_calls.build(memory_pb2.GetTimelineRequest, user_id=user_id, observation_id=observation_id)
        page = self._ask(self._connection.memory.GetTimeline, request, **options)
        seen = [*page.observations]
        while page.next_page_token:
            request.page_token = page.next_page_token
            page = self._ask(self._connection.memory.GetTimeline, request, **options)
            seen += page.observations
        return tuple(seen)

    def stats(self, user_id: str, *, by_type: bool = False, **options: "Unpack[CallOptions]") -> GetStatsResponse:
        """Return how many observations and sessions the user's memory holds.

        Args:
            user_id: The user.
            by_type: Also count facts and bytes, and each type with its first and last time. Reads the whole memory of
                the user.
            **options: See the class.
        """
        request = _memory_calls.build(memory_pb2.GetStatsRequest, user_id=user_id, by_type=by_type)
        return self._ask(self._connection.memory.GetStats, request, **options)

    def forget(self, user_id: str, **options: "Unpack[CallOptions]") -> int:
        """Erase everything of the user, for good, and return how many observations that were."""
        request = _memory_calls.build(memory_pb2.ForgetUserRequest, user_id=user_id)
        response = self._ask(self._connection.memory.ForgetUser, request, **options)
        return response.observations

    def export(
        self,
        user_id: str,
        *,
        timeout: float | None = None,
        idle_timeout: float | FromClient | None = FromClient.IDLE_TIMEOUT,
        metadata: Metadata = (),
    ) -> "MemoryExport":
        """Return everything of the user, to iterate. The session of an observation comes before it.

            with client.memory.export("alice") as export:
                for item in export:
                    print(item)

        The call begins with the first item, and leaving the block ends it.

        Args:
            user_id: Whose memory.
            timeout: Seconds to the last item. None: no limit.
            idle_timeout: Seconds that may pass until the next item. None: no limit. Left out: the client's.
            metadata: Sent after the client's own.
        """
        request = _memory_calls.build(memory_pb2.ExportUserRequest, user_id=user_id)
        pairs = self._defaults.metadata_of(metadata)
        return MemoryExport(
            lambda: self._connection.memory.ExportUser(request, timeout=timeout, metadata=pairs),
            self._defaults.idle_timeout_of(idle_timeout),
        )

    def import_items(
        self,
        user_id: str,
        items: Items,
        *,
        timeout: float | FromClient | None = FromClient.TIMEOUT,
        metadata: Metadata = (),
    ) -> ImportUserResponse:
        """Add the items of an export to the user's memory, and return how many sessions and observations were added.

        Items that the user already has are skipped, so a failed import can be run again; the client does not repeat it.
        The timeout is for the whole import.

        Raises:
            InvalidArgument: an item is invalid. Its field names the position, as in `items[17].observation.title`.
            Exception: iterating *items* failed. The items before it may have been added.
        """
        _memory_calls.build(memory_pb2.ImportUserRequest, user_id=user_id)
        with chat_errors():
            response = upload(
                self._connection.memory.ImportUser,
                user_id,
                items,
                timeout=self._defaults.timeout_of(timeout),
                metadata=self._defaults.metadata_of(metadata),
            )
        return check_response(response, "")

    def _ask(
        self,
        method: "grpc.UnaryUnaryMultiCallable[Request, Response]",
        request: Request,
        *,
        timeout: float | FromClient | None = FromClient.TIMEOUT,
        metadata: Metadata = (),
    ) -> Response:
        request_id = _memory_calls.request_id_of(request)
        with chat_errors(request_id):
            response = method(
                request, timeout=self._defaults.timeout_of(timeout), metadata=self._defaults.metadata_of(metadata)
            )
        return check_response(response, request_id)


class MemoryExport:
    """Everything of a user, an item at a time: made by `MemoryClient.export`, read once, by one thread.

    Items of a kind that this client does not know are skipped. Where the rest may stay unread, enter it: leaving the
    block cancels a call that is not finished.

    Reading raises:
        ChatError: the call did not succeed; `Interrupted` when part of the memory had arrived.
        RuntimeError: the client is closed.
    """

    def __init__(self, start: Callable[[], StreamingCall[ExportUserResponse]], idle_timeout: float | None) -> None:
        self._start = start
        self._idle_timeout = idle_timeout
        self._call: StreamingCall[ExportUserResponse] | None = None
        self._begun = False
        self._failure: ChatError | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._call is not None:
            self._call.cancel()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Session | Observation:
        if self._failure is not None:
            raise self._failure
        if self._call is None:
            self._call = self._start()
            self._responses = Events(self._call, self._idle_timeout)
        try:
            with chat_errors(begun=self._begun):
                for response in self._responses:
                    if (item := _memory_calls.item_of(response)) is not None:
                        self._begun = True
                        return item
        except ChatError as failure:
            # An asyncio iterator of gRPC ends silently once it has raised, which would look like the end of the export.
            self._failure = failure
            raise
        raise StopIteration
