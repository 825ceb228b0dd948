"""The one table of routes: which RPC each path calls. Routing, the OpenAPI document and the docs are made from it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

from google.protobuf import message_factory

from ilab_chat.v1 import chat_pb2, memory_pb2

if TYPE_CHECKING:
    from google.protobuf.descriptor import MethodDescriptor
    from google.protobuf.message import Message

SERVICES: Final = {
    "ChatService": chat_pb2.DESCRIPTOR.services_by_name["ChatService"],
    "MemoryService": memory_pb2.DESCRIPTOR.services_by_name["MemoryService"],
}
USER: Final = "/v1/users/{user_id}"
OBSERVATION: Final = f"{USER}/observations/{{observation_id}}"


class Shape(Enum):
    """How the messages of a call become a request and a response."""

    JSON = "one JSON object each way"
    EVENTS = "the response is a stream of server-sent events"
    DOWNLOAD = "the response is one JSON object per line"
    UPLOAD = "the request is one JSON object per line"


@dataclass(frozen=True, slots=True)
class Route:
    """A path, and the RPC behind it."""

    method: str
    path: str
    service: str
    rpc: str
    shape: Shape = Shape.JSON
    unlimited: bool = False
    """Whether the call has no time limit."""

    @property
    def descriptor(self) -> MethodDescriptor:
        """The RPC in the contract."""
        return SERVICES[self.service].methods_by_name[self.rpc]

    @property
    def request(self) -> type[Message]:
        """The class of the request message."""
        return message_factory.GetMessageClass(self.descriptor.input_type)

    @property
    def has_body(self) -> bool:
        """Whether the request message comes from the body. Otherwise it comes from the query."""
        return self.method in {"POST", "PATCH"}

    @property
    def has_request_id(self) -> bool:
        """Whether the request message has a request_id, which Idempotency-Key sets."""
        return "request_id" in self.descriptor.input_type.fields_by_name

    def stub_method(self, connection: Any) -> Any:
        """Return the callable of the RPC."""
        return getattr(connection.chat if self.service == "ChatService" else connection.memory, self.rpc)


def chat(path: str, rpc: str, shape: Shape = Shape.JSON) -> Route:
    """Return a route of ChatService."""
    return Route("POST", path, "ChatService", rpc, shape)


def memory(method: str, path: str, rpc: str, shape: Shape = Shape.JSON, *, unlimited: bool = False) -> Route:
    """Return a route of MemoryService."""
    return Route(method, path, "MemoryService", rpc, shape, unlimited)


CHAT: Final = chat("/v1/chat", "Chat")

ROUTES: Final = (
    CHAT,
    chat("/v1/chat:stream", "StreamChat", Shape.EVENTS),
    chat(f"{USER}/preview", "PreviewPrompt"),
    memory("GET", f"{USER}/observations", "ListObservations"),
    memory("POST", f"{USER}/observations", "SaveObservation"),
    memory("GET", OBSERVATION, "GetObservation"),
    memory("PATCH", OBSERVATION, "UpdateObservation"),
    memory("DELETE", OBSERVATION, "DeleteObservation", unlimited=True),
    memory("GET", f"{USER}/facts", "ListFacts"),
    memory("GET", f"{USER}/search", "SearchObservations"),
    memory("GET", f"{USER}/timeline", "GetTimeline"),
    memory("GET", f"{USER}/stats", "GetStats"),
    memory("GET", f"{USER}/sessions", "ListSessions"),
    memory("POST", f"{USER}/sessions:start", "StartSession"),
    memory("POST", f"{USER}/sessions:summarize", "SummarizeSession"),
    memory("POST", f"{USER}/sessions:end", "EndSession"),
    memory("GET", f"{USER}/export", "ExportUser", Shape.DOWNLOAD, unlimited=True),
    memory("POST", f"{USER}/import", "ImportUser", Shape.UPLOAD, unlimited=True),
    memory("DELETE", USER, "ForgetUser", unlimited=True),
)
