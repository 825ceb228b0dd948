"""What is compared: how each is started, and how each is asked."""

from __future__ import annotations

import json
import struct
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from comparison.processes import Child, free_port, running
from ilab_chat.v1 import chat_pb2
from ilab_memory import ILabMemory

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from comparison.upstream import Scenario

Name: TypeAlias = Literal["floor", "recipe", "ours", "direct"]

MESSAGE = "Where did we plan to travel in summer, and which tickets should we book for the museum?"
SERVICE = "/ilab_chat.v1.ChatService/"


@dataclass(frozen=True, slots=True)
class Contestant:
    """A running server and how it is asked."""

    name: Name
    child: Child
    db_path: Path

    @property
    def speaks_grpc(self) -> bool:
        """Whether it is asked by gRPC; else by HTTP/1.1."""
        return self.name != "recipe"

    def chat_path(self, scenario: Scenario) -> str:
        """Return where a message is answered whole."""
        return {"floor": f"/floor/Chat-{scenario.tokens}", "recipe": "/chat"}.get(self.name, f"{SERVICE}Chat")

    def stream_path(self, scenario: Scenario) -> str:
        """Return where a message is answered as a stream."""
        floor = f"/floor/Stream-{scenario.tokens}-{scenario.gap_ms:g}"
        return {"floor": floor, "recipe": "/stream"}.get(self.name, f"{SERVICE}StreamChat")

    def body(self, user_id: str) -> bytes:
        """Return a message of *user_id* as it is posted; by gRPC, without the frame around it."""
        if self.speaks_grpc:
            # The same bytes as a StreamChatRequest. The server makes the request id.
            return chat_pb2.ChatRequest(user_id=user_id, message=MESSAGE).SerializeToString()
        return json.dumps({"user_id": user_id, "message": MESSAGE}).encode()

    def framed(self, user_id: str) -> bytes:
        """Return the body of the HTTP request that posts a message."""
        body = self.body(user_id)
        # Not compressed, length: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
        return struct.pack(">BI", 0, len(body)) + body if self.speaks_grpc else body

    def stored(self, users: Iterable[str]) -> int:
        """Return how many turns of *users* are in the file."""
        with ILabMemory.from_path(self.db_path) as memory:
            return sum(memory.mem_stats(user)["observations"] for user in users)


@contextmanager
def started(
    name: Name, upstream_port: int, folder: Path, settings: Mapping[str, str] | None = None
) -> Iterator[Contestant]:
    """Run a contestant until the block ends, with a new memory, and *settings* beside its defaults."""
    port = free_port()
    db_path = folder / f"{name}-{port}.db"
    arguments = {
        "floor": ["-m", "comparison.floor", str(port)],
        "recipe": [
            *("-m", "uvicorn", "comparison.recipe:app", "--port", str(port)),
            *("--log-level", "warning", "--no-access-log"),
        ],
        "ours": ["-c", "import sys; from ilab_chat_service.cli import main; sys.exit(main())"],
    }[name]
    environ = {
        "OPENAI_BASE_URL": f"http://127.0.0.1:{upstream_port}/v1",
        "OPENAI_API_KEY": "bench",
        "ILAB_MEMORY_DB_PATH": str(db_path),
        "ILAB_CHAT_ADDRESS": f"127.0.0.1:{port}",
        **(settings or {}),
    }
    with running(arguments, environ, folder, name=name, port=port) as child:
        yield Contestant(name, child, db_path)
