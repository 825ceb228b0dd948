"""The ilab-chat client: a chat call that remembers.

    from ilab_chat import ChatClient

    with ChatClient("127.0.0.1:50051") as client:
        print(client.chat("alice", "Hi, my name is Alice and I love hiking.").reply)

`AsyncChatClient` is the same for asyncio. `client.memory` of both calls MemoryService. `ilab_chat.errors` lists the
exceptions. Messages and enums come from the contract in `ilab_chat.v1`.
"""

from ilab_chat._security import tls_credentials
from ilab_chat.aio import AsyncChatClient, AsyncChatStream
from ilab_chat.aio_memory import AsyncMemoryClient, AsyncMemoryExport
from ilab_chat.errors import (
    Cancelled,
    ChatError,
    ContentFiltered,
    ContextTooLong,
    DeadlineExceeded,
    FailedPrecondition,
    FieldViolation,
    IncompleteStream,
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
)
from ilab_chat.sync import ChatClient, ChatStream
from ilab_chat.sync_memory import MemoryClient, MemoryExport
from ilab_chat.v1.chat_pb2 import (
    ChatResponse,
    ChatStarted,
    ContextDocument,
    FinishReason,
    GenerationOptions,
    HydratedMemory,
    JsonObjectFormat,
    JsonSchemaFormat,
    MemoryMode,
    MemorySource,
    PreviewPromptResponse,
    PromptMessage,
    PromptRole,
    PromptTokens,
    ReasoningEffort,
    ResponseFormat,
    StreamChatResponse,
    TextFormat,
    TurnRetention,
    Usage,
)
from ilab_chat.v1.errors_pb2 import ErrorReason
from ilab_chat.v1.memory_pb2 import (
    GetStatsResponse,
    ImportUserResponse,
    Observation,
    ObservationCompact,
    SaveOutcome,
    SaveResult,
    Session,
    SessionState,
    SessionSummary,
    StartSessionResponse,
)

__all__ = [
    "AsyncChatClient",
    "AsyncChatStream",
    "AsyncMemoryClient",
    "AsyncMemoryExport",
    "Cancelled",
    "ChatClient",
    "ChatError",
    "ChatResponse",
    "ChatStarted",
    "ChatStream",
    "ContentFiltered",
    "ContextDocument",
    "ContextTooLong",
    "DeadlineExceeded",
    "ErrorReason",
    "FailedPrecondition",
    "FieldViolation",
    "FinishReason",
    "GenerationOptions",
    "GetStatsResponse",
    "HydratedMemory",
    "ImportUserResponse",
    "IncompleteStream",
    "Internal",
    "Interrupted",
    "InvalidArgument",
    "JsonObjectFormat",
    "JsonSchemaFormat",
    "MemoryClient",
    "MemoryExport",
    "MemoryMode",
    "MemorySource",
    "ModelQuotaExhausted",
    "NotFound",
    "Observation",
    "ObservationCompact",
    "PermissionDenied",
    "PreviewPromptResponse",
    "PromptMessage",
    "PromptRole",
    "PromptTokens",
    "ReasoningEffort",
    "RequestIdReused",
    "ResourceExhausted",
    "ResponseFormat",
    "SaveOutcome",
    "SaveResult",
    "Session",
    "SessionState",
    "SessionSummary",
    "StartSessionResponse",
    "StreamChatResponse",
    "TextFormat",
    "TurnRetention",
    "Unauthenticated",
    "Unavailable",
    "Unimplemented",
    "Usage",
    "tls_credentials",
]
