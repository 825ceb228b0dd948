"""The contestants: how to start and how to call each."""

from __future__ import annotations

import json
import struct
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from comparison.processes import BENCH, Child, free_port, running
from ilab_chat.v1 import chat_pb2
from ilab_memory import ILabMemory

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from comparison.upstream import Scenario

Name: TypeAlias = Literal["floor", "recipe", "ours", "direct", "mem0"]

#: The interpreter of mem0's environment, which `make bench` creates.
MEM0_PYTHON = BENCH.parent / ".venv" / "mem0" / "bin" / "python"

MESSAGE = "Where did we plan to travel in summer, and which tickets should we book for the museum?"
SERVICE = "/ilab_chat.v1.ChatService/"


@dataclass(frozen=True, slots=True)
class Contestant:
    """A running server and how to call it."""

    name: Name
    child: Child
    db_path: Path
    database: str = ""
    """URL of a PostgreSQL database. Empty: the memory is the file `db_path`."""

    @property
    def speaks_grpc(self) -> bool:
        """Return whether it speaks gRPC. Otherwise it speaks HTTP/1.1."""
        return self.name not in {"recipe", "mem0"}

    def chat_path(self, scenario: Scenario) -> str:
        """Return the path of the unary method."""
        floor = f"/floor/Chat-{scenario.tokens}"
        return {"floor": floor, "recipe": "/chat", "mem0": "/chat"}.get(self.name, f"{SERVICE}Chat")

    def stream_path(self, scenario: Scenario) -> str:
        """Return the path of the streaming method."""
        floor = f"/floor/Stream-{scenario.tokens}-{scenario.gap_ms:g}"
        return {"floor": floor, "recipe": "/stream"}.get(self.name, f"{SERVICE}StreamChat")

    def body(self, user_id: str) -> bytes:
        """Return the serialized message of *user_id*; for gRPC, without framing."""
        if self.speaks_grpc:
            # A StreamChatRequest has the same bytes. The server generates the request id.
            return chat_pb2.ChatRequest(user_id=user_id, message=MESSAGE).SerializeToString()
        return json.dumps({"user_id": user_id, "message": MESSAGE}).encode()

    def framed(self, user_id: str) -> bytes:
        """Return the body of the HTTP request with a message of *user_id*."""
        body = self.body(user_id)
        # Compressed flag and length: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
        return struct.pack(">BI", 0, len(body)) + body if self.speaks_grpc else body

    def stored(self, users: Iterable[str]) -> int:
        """Return the number of stored turns of *users*."""
        opened = ILabMemory.from_url(self.database) if self.database else ILabMemory.from_path(self.db_path)
        with opened as memory:
            return sum(memory.mem_stats(user)["observations"] for user in users)


@contextmanager
def started(
    name: Name, upstream_port: int, folder: Path, settings: Mapping[str, str] | None = None
) -> Iterator[Contestant]:
    """Run a contestant while the block runs, with a new memory and with *settings* added to its defaults."""
    port = free_port()
    db_path = folder / f"{name}-{port}.db"
    uvicorn = ["--port", str(port), "--log-level", "warning", "--no-access-log"]
    arguments = {
        "floor": ["-m", "comparison.floor", str(port)],
        "recipe": ["-m", "uvicorn", "comparison.recipe:app", *uvicorn],
        "mem0": ["-m", "uvicorn", "peers.mem0:app", *uvicorn],
        "ours": ["-c", "import sys; from ilab_chat_service.cli import main; sys.exit(main())"],
    }[name]
    environ = {
        "OPENAI_BASE_URL": f"http://127.0.0.1:{upstream_port}/v1",
        "OPENAI_API_KEY": "bench",
        "ILAB_MEMORY_DB_PATH": str(db_path),
        "ILAB_CHAT_ADDRESS": f"127.0.0.1:{port}",
        "ILAB_CHAT_CONSOLIDATION": "off",
        # No client has to learn that a server stops.
        "ILAB_CHAT_PROPAGATION_SECONDS": "0",
        # The recipe has none. `Bench.turns_with_embedder` measures ours with one.
        "ILAB_MEMORY_EMBEDDER": "none",
        "MEM0_TELEMETRY": "False",
        "MEM0_DIR": str(folder / "mem0"),
        **(settings or {}),
    }
    python = MEM0_PYTHON if name == "mem0" else Path(sys.executable)
    with running(arguments, environ, folder, name=name, port=port, python=python) as child:
        yield Contestant(name, child, db_path, environ.get("ILAB_MEMORY_URL", ""))
