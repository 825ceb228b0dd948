"""The ilab-chat client: a chat call that remembers.

    from ilab_chat import ChatClient

    with ChatClient("127.0.0.1:50051") as client:
        print(client.chat("alice", "Hi, my name is Alice and I love hiking.").reply)

`AsyncChatClient` is the same for asyncio. `ilab_chat.errors` draws what a call can raise; messages and enums come from
the contract in `ilab_chat.v1`.
"""

from ilab_chat.aio import AsyncChatClient, AsyncChatStream
from ilab_chat.errors import (
    Cancelled,
    ChatError,
    ContextTooLong,
    DeadlineExceeded,
    FailedPrecondition,
    FieldViolation,
    IncompleteStream,
    Internal,
    Interrupted,
    InvalidArgument,
    PermissionDenied,
    RequestIdReused,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
    Unimplemented,
)
from ilab_chat.sync import ChatClient, ChatStream
from ilab_chat.v1.chat_pb2 import (
    ChatResponse,
    ChatStarted,
    FinishReason,
    GenerationOptions,
    HydratedMemory,
    MemoryMode,
    MemorySource,
    StreamChatResponse,
    TurnRetention,
    Usage,
)

__all__ = [
    "AsyncChatClient",
    "AsyncChatStream",
    "Cancelled",
    "ChatClient",
    "ChatError",
    "ChatResponse",
    "ChatStarted",
    "ChatStream",
    "ContextTooLong",
    "DeadlineExceeded",
    "FailedPrecondition",
    "FieldViolation",
    "FinishReason",
    "GenerationOptions",
    "HydratedMemory",
    "IncompleteStream",
    "Internal",
    "Interrupted",
    "InvalidArgument",
    "MemoryMode",
    "MemorySource",
    "PermissionDenied",
    "RequestIdReused",
    "ResourceExhausted",
    "StreamChatResponse",
    "TurnRetention",
    "Unauthenticated",
    "Unavailable",
    "Unimplemented",
    "Usage",
]
