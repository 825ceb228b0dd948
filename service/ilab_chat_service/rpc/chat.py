"""ChatService: convert requests, run the turn, convert its events. Send metadata when the call must not be repeated."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import aclosing
from dataclasses import asdict
from typing import TYPE_CHECKING, TypeAlias

from google.protobuf.timestamp_pb2 import Timestamp

from ilab_chat.v1 import chat_pb2, chat_pb2_grpc
from ilab_chat_service.auth.callers import act_for
from ilab_chat_service.limits import CHAT_BYTES
from ilab_chat_service.rpc.chat_validation import turn_request
from ilab_chat_service.rpc.deadlines import CallDeadline
from ilab_chat_service.rpc.streams import EventWriter, OpenStreams, send_initial_metadata
from ilab_chat_service.telemetry.call_record import CALL
from ilab_chat_service.turn_events import Completed, Delta, Generated, ReasoningDelta, Started
from ilab_chat_service.values import FinishReason, MemorySource

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    import grpc.aio

    from ilab_chat_service.rpc.admission import Admission
    from ilab_chat_service.rpc.chat_validation import ChatCall
    from ilab_chat_service.rpc.deadlines import Deadlines
    from ilab_chat_service.turn import Preview, TurnRunner
    from ilab_chat_service.turn_events import Event
    from ilab_chat_service.values import Recalled, TurnRequest

    ChatContext: TypeAlias = grpc.aio.ServicerContext[chat_pb2.ChatRequest, chat_pb2.ChatResponse]
    PreviewContext: TypeAlias = grpc.aio.ServicerContext[chat_pb2.PreviewPromptRequest, chat_pb2.PreviewPromptResponse]
    StreamContext: TypeAlias = grpc.aio.ServicerContext[chat_pb2.StreamChatRequest, chat_pb2.StreamChatResponse]

#: Validating a larger request may take milliseconds: its schema, its private text, and the facts in its message.
LONG_REQUEST_BYTES = 1024

FINISH_REASONS: Mapping[FinishReason | None, chat_pb2.FinishReason.ValueType] = {
    None: chat_pb2.FINISH_REASON_UNSPECIFIED,
    FinishReason.STOP: chat_pb2.FINISH_REASON_STOP,
    FinishReason.LENGTH: chat_pb2.FINISH_REASON_LENGTH,
    FinishReason.CONTENT_FILTER: chat_pb2.FINISH_REASON_CONTENT_FILTER,
    FinishReason.OTHER: chat_pb2.FINISH_REASON_OTHER,
}
MEMORY_SOURCES: Mapping[MemorySource, chat_pb2.MemorySource.ValueType] = {
    MemorySource.FACT: chat_pb2.MEMORY_SOURCE_FACT,
    MemorySource.TURN: chat_pb2.MEMORY_SOURCE_TURN,
    MemorySource.SEARCH: chat_pb2.MEMORY_SOURCE_SEARCH,
    MemorySource.SUMMARY: chat_pb2.MEMORY_SOURCE_SUMMARY,
}
PROMPT_ROLES: Mapping[str, chat_pb2.PromptRole.ValueType] = {
    "system": chat_pb2.PROMPT_ROLE_SYSTEM,
    "user": chat_pb2.PROMPT_ROLE_USER,
    "assistant": chat_pb2.PROMPT_ROLE_ASSISTANT,
}


class ChatService(chat_pb2_grpc.ChatServiceServicer):
    """Chat and StreamChat run a turn in the same way. PreviewPrompt only composes its prompt."""

    def __init__(
        self, turns: TurnRunner, deadlines: Deadlines, admission: Admission, *, heartbeat_seconds: float
    ) -> None:
        self._turns = turns
        self._deadlines = deadlines
        self._admission = admission
        self._heartbeat_seconds = heartbeat_seconds
        self.streams = OpenStreams(admission)
        """The open streams. Watch them while the server runs."""
        # One long request at a time: validating it needs the GIL, so several would slow down each other and all calls.
        self._reading = asyncio.Lock()

    async def Chat(self, request: chat_pb2.ChatRequest, context: ChatContext) -> chat_pb2.ChatResponse:
        """Answer when the turn is stored."""
        turn = await self._accepted(request)
        async with (
            CallDeadline(self._deadlines, context.time_remaining()) as deadline,
            self._admission.slot(turn.user_id),
            aclosing(self._turns.run(turn, until=deadline.model_until)) as events,
        ):
            async for event in events:
                match event:
                    case Started():
                        # From here on, a proxy must not repeat the call. It does not once it has received metadata.
                        record_start(event)
                        await send_initial_metadata(context)
                    case Generated():
                        deadline.model_is_done()
                    case Completed():
                        return response(event, turn)
        raise AssertionError("the turn ended without an event that completes it")

    async def StreamChat(self, request: chat_pb2.StreamChatRequest, context: StreamContext) -> None:  # type: ignore[override]
        """Send each event as it happens.

        Write instead of yielding, so that a cancelled call is cancelled here and not in gRPC's own loop.
        """
        turn = await self._accepted(request)
        # Free the request: it is large and no longer needed.
        del request
        async with (
            # First, so that the slot is free while this waits for the caller.
            EventWriter(context.write, self._heartbeat_seconds) as writer,
            CallDeadline(self._deadlines, context.time_remaining()) as deadline,
            self._admission.slot(turn.user_id) as slot,
            aclosing(self._turns.run(turn, until=deadline.model_until, joins=True)) as events,
        ):
            with self.streams.entered(writer, deadline):
                async for event in events:
                    try:
                        await self._write(event, turn, writer, deadline)
                    except BaseException:
                        # gRPC keeps the message, and the call, until its caller reads, cancels or disconnects.
                        slot.keep_counting()
                        raise

    async def _write(self, event: Event, turn: TurnRequest, writer: EventWriter, deadline: CallDeadline) -> None:
        match event:
            case Started():
                record_start(event)
                await writer.write_first(chat_pb2.StreamChatResponse(started=started_message(event, turn)))
            case Delta(text):
                await writer.write(chat_pb2.StreamChatResponse(text_delta=chat_pb2.TextDelta(text=text)))
            case ReasoningDelta(text):
                await writer.write(chat_pb2.StreamChatResponse(reasoning_delta=chat_pb2.ReasoningDelta(text=text)))
            case Generated():
                deadline.model_is_done()
            case Completed():
                await writer.write(chat_pb2.StreamChatResponse(completed=response(event, turn)))

    async def _accepted(self, request: ChatCall) -> TurnRequest:
        """Check that the caller may act for the user, validate *request*, and record its request id in the call record.

        Raises:
            UserMismatch: the caller may not act for this user.
            InvalidFields: a field breaks a limit.
        """
        act_for(request.user_id)
        if LONG_REQUEST_BYTES < request.ByteSize() <= CHAT_BYTES:
            async with self._reading:
                turn = await asyncio.to_thread(turn_request, request)
        else:
            turn = turn_request(request)
        CALL.get().request_id = turn.request_id
        return turn

    async def PreviewPrompt(
        self, request: chat_pb2.PreviewPromptRequest, context: PreviewContext
    ) -> chat_pb2.PreviewPromptResponse:
        """Return the prompt that Chat would send."""
        turn = await self._accepted(request)
        async with CallDeadline(self._deadlines, context.time_remaining()) as deadline:
            # No model is asked, and nothing is stored.
            deadline.model_is_done()
            async with self._admission.slot(turn.user_id):
                return preview_response(await self._turns.preview(turn), turn)


def record_start(event: Started) -> None:
    """Record in the call record that the answer has begun, and the memories in its prompt."""
    call = CALL.get()
    call.answer_began = True
    call.memory_hits = Counter(memory.source.name.lower() for memory in event.memories)


def response(completed: Completed, turn: TurnRequest) -> chat_pb2.ChatResponse:
    """Return the whole answer as a message, and record it in the call record."""
    answered = completed.answered
    call = CALL.get()
    call.replayed, call.response_model = completed.replayed, answered.model
    call.stored = answered.observation_id > 0
    if answered.usage:
        call.input_tokens, call.output_tokens = answered.usage.input_tokens, answered.usage.output_tokens
    return chat_pb2.ChatResponse(
        session_id=answered.session_id,
        reply=answered.reply,
        request_id=turn.request_id,
        conversation_id=turn.conversation_id,
        observation_id=answered.observation_id,
        finish_reason=FINISH_REASONS[answered.finish_reason],
        usage=chat_pb2.Usage(**asdict(answered.usage)) if answered.usage else None,
        model=answered.model,
        memories=map(hydrated_memory, answered.memories),
        new_session=answered.is_new_session,
        replayed=completed.replayed,
        create_time=timestamp(answered.create_time),
        model_response_id=answered.model_response_id,
        included_documents=answered.included_documents,
        remembered=[chat_pb2.RememberedFact(**asdict(fact)) for fact in answered.remembered],
        forgotten_observation_id=next(iter(answered.forgotten_ids), 0),
        correlation_id=call.correlation_id,
    )


def preview_response(preview: Preview, turn: TurnRequest) -> chat_pb2.PreviewPromptResponse:
    """Return a prompt as a message."""
    prompt = preview.prompt
    return chat_pb2.PreviewPromptResponse(
        messages=[
            chat_pb2.PromptMessage(role=PROMPT_ROLES[each.role], content=each.content) for each in prompt.messages
        ],
        memories=map(hydrated_memory, prompt.memories),
        tokens=chat_pb2.PromptTokens(**asdict(prompt.tokens), total=prompt.tokens.total, budget=preview.budget_tokens),
        model=preview.model,
        session_id=preview.session_id,
        conversation_id=turn.conversation_id,
        included_documents=prompt.included_documents,
    )


def started_message(event: Started, turn: TurnRequest) -> chat_pb2.ChatStarted:
    """Return the event as a message."""
    return chat_pb2.ChatStarted(
        session_id=event.session_id,
        new_session=event.is_new_session,
        model=event.model,
        request_id=turn.request_id,
        conversation_id=turn.conversation_id,
        memories=map(hydrated_memory, event.memories),
        model_response_id=event.model_response_id,
        included_documents=event.included_documents,
        correlation_id=CALL.get().correlation_id,
    )


def hydrated_memory(memory: Recalled) -> chat_pb2.HydratedMemory:
    """Return the memory as a message."""
    return chat_pb2.HydratedMemory(
        observation_id=memory.observation_id,
        type=memory.type,
        title=memory.title,
        snippet=memory.snippet,
        score=memory.score,
        update_time=timestamp(memory.updated_at),
        source=MEMORY_SOURCES[memory.source],
        earlier=memory.is_earlier,
    )


def timestamp(moment: datetime) -> Timestamp:
    """Return a moment as a message."""
    message = Timestamp()
    message.FromDatetime(moment)
    return message
