"""The tools at /mcp: the library's documented methods, and recall, list, correct and forget, over the gRPC port."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from google.protobuf.field_mask_pb2 import FieldMask
from grpc import StatusCode
from pydantic import BaseModel, TypeAdapter

from ilab_chat.errors import ChatError
from ilab_chat.v1 import chat_pb2, memory_pb2
from ilab_chat_gateway import memory_models as models
from ilab_chat_gateway.problems import invalid_field
from ilab_chat_gateway.routes import ROUTES

#: Sends the request of an RPC with the caller's credentials, and returns the response.
Ask = Callable[[str, Any], Awaitable[Any]]


@dataclass(frozen=True)
class MemoryTool:
    """A tool: its arguments, its result, and the call behind it."""

    name: str
    request: type[BaseModel]
    returns: Any
    run: Callable[[Ask, Any], Awaitable[Any]]
    only_reads: bool = False
    destroys: bool = False

    @property
    def description(self) -> str:
        """A description of the tool, for people and models."""
        return " ".join((self.request.__doc__ or "").split())

    @cached_property
    def result(self) -> TypeAdapter[Any]:
        """The serializer of the results."""
        return TypeAdapter(self.returns)

    @cached_property
    def is_object(self) -> bool:
        """Whether the result is always a JSON object. Otherwise it is an array or null."""
        return bool(self.result.json_schema(mode="serialization").get("type") == "object")


async def session_start(ask: Ask, given: models.SessionStart) -> models.SessionStartResponse:
    """Start or continue a session."""
    request = memory_pb2.StartSessionRequest(**given.model_dump())
    return models.SessionStartResponse.of(await ask("StartSession", request))


async def session_end(ask: Ask, given: models.SessionEnd) -> models.Session:
    """Complete the session."""
    request = memory_pb2.EndSessionRequest(**given.model_dump())
    return models.Session.of((await ask("EndSession", request)).session)


async def session_summary(ask: Ask, given: models.SessionSummary) -> models.SaveResult:
    """Store a summary."""
    request = memory_pb2.SummarizeSessionRequest(**given.model_dump())
    return models.SaveResult.of((await ask("SummarizeSession", request)).result)


async def save(ask: Ask, given: models.Save) -> models.SaveResult:
    """Save an observation."""
    request = memory_pb2.SaveObservationRequest(**given.model_dump(exclude_none=True))
    return models.SaveResult.of((await ask("SaveObservation", request)).result)


async def search(ask: Ask, given: models.Search) -> list[models.ObservationCompact]:
    """Search observations. As in the library, an empty list of types matches nothing."""
    if given.types is not None and given.types_exclude is not None:
        raise invalid_field("types", "and types_exclude must not both be given")
    request = memory_pb2.SearchObservationsRequest(
        user_id=given.user_id,
        query=given.query,
        page_size=given.limit,
        types=given.types,
        types_exclude=given.types_exclude,
    )
    found = (await ask("SearchObservations", request)).observations
    return [] if given.types == [] else [models.ObservationCompact.of(each) for each in found]


async def get_observation(ask: Ask, given: models.GetObservation) -> models.Observation | None:
    """Get an observation."""
    request = memory_pb2.GetObservationRequest(**given.model_dump())
    try:
        return models.Observation.of((await ask("GetObservation", request)).observation)
    except ChatError as error:
        if error.code is StatusCode.NOT_FOUND:
            return None
        raise


async def timeline(ask: Ask, given: models.Timeline) -> list[models.Observation]:
    """Get an observation and its neighbours."""
    request = memory_pb2.GetTimelineRequest(**given.model_dump(), page_size=200)
    found: list[models.Observation] = []
    while True:
        page = await ask("GetTimeline", request)
        found += [models.Observation.of(each) for each in page.observations]
        if not page.next_page_token:
            return found
        request.page_token = page.next_page_token


async def stats(ask: Ask, given: models.Stats) -> dict[str, int]:
    """Count observations and sessions."""
    counts = await ask("GetStats", memory_pb2.GetStatsRequest(user_id=given.user_id))
    return {"observations": counts.observations, "sessions": counts.sessions}


async def recall(ask: Ask, given: models.Recall) -> list[models.Memory]:
    """Preview the memories of a prompt. A turn has the text of its messages in the prompt."""
    response = await ask("PreviewPrompt", chat_pb2.PreviewPromptRequest(**given.model_dump()))
    # Between the system message and the user's: two messages for each turn, in the order of the memories.
    spoken = [message.content for message in response.messages[1:-1]]
    turns = iter(zip(spoken[::2], spoken[1::2], strict=False))
    return [
        models.Memory.of(each, next(turns, None) if each.source == chat_pb2.MEMORY_SOURCE_TURN else None)
        for each in response.memories
    ]


async def list_page(ask: Ask, given: models.List) -> models.Page:
    """List a page of observations."""
    request = memory_pb2.ListObservationsRequest(
        user_id=given.user_id, types=given.types, page_size=given.limit, page_token=given.page_token
    )
    page = await ask("ListObservations", request)
    return models.Page(
        observations=[models.Observation.of(each) for each in page.observations], next_page_token=page.next_page_token
    )


async def correct(ask: Ask, given: models.Correct) -> models.SaveResult:
    """Change an observation."""
    changed = given.model_dump(include={"content", "title", "type"}, exclude_none=True)
    if not changed:
        raise invalid_field("content", "content, title or type must be given")
    request = memory_pb2.UpdateObservationRequest(
        user_id=given.user_id,
        observation_id=given.observation_id,
        update_mask=FieldMask(paths=list(changed)),
        **changed,
    )
    return models.SaveResult.of((await ask("UpdateObservation", request)).result)


async def forget(ask: Ask, given: models.Forget) -> models.Forgotten:
    """Erase an observation or the user."""
    if given.everything == (given.observation_id is not None):
        raise invalid_field("observation_id", "either observation_id or everything must be given")
    if given.everything:
        response = await ask("ForgetUser", memory_pb2.ForgetUserRequest(user_id=given.user_id))
        return models.Forgotten(observations=response.observations)
    one = memory_pb2.DeleteObservationRequest(user_id=given.user_id, observation_id=given.observation_id or 0)
    await ask("DeleteObservation", one)
    return models.Forgotten(observations=1)


TOOLS: Final = {
    tool.name: tool
    for tool in (
        MemoryTool("mem_session_start", models.SessionStart, models.SessionStartResponse, session_start),
        MemoryTool("mem_session_end", models.SessionEnd, models.Session, session_end),
        MemoryTool("mem_session_summary", models.SessionSummary, models.SaveResult, session_summary),
        MemoryTool("mem_save", models.Save, models.SaveResult, save),
        MemoryTool("mem_search", models.Search, list[models.ObservationCompact], search, only_reads=True),
        MemoryTool(
            "mem_get_observation", models.GetObservation, models.Observation | None, get_observation, only_reads=True
        ),
        MemoryTool("mem_timeline", models.Timeline, list[models.Observation], timeline, only_reads=True),
        MemoryTool("mem_stats", models.Stats, dict[str, int], stats, only_reads=True),
        MemoryTool("mem_recall", models.Recall, list[models.Memory], recall, only_reads=True),
        MemoryTool("mem_list", models.List, models.Page, list_page, only_reads=True),
        MemoryTool("mem_correct", models.Correct, models.SaveResult, correct),
        MemoryTool("mem_forget", models.Forget, models.Forgotten, forget, destroys=True),
    )
}

#: The routes of the RPCs that tools call, by name.
BY_RPC: Final = {route.rpc: route for route in ROUTES}
