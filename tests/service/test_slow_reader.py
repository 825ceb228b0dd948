"""A caller that does not read: the model's answer to it waits, and nothing piles up in the server."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc

from ilab_chat.v1 import chat_pb2, chat_pb2_grpc
from processes import ServerProcess, running_server
from upstream import Reply, Upstream

#: One piece of the model's reply, in a padded event: much is in flight before the reply reaches its maximum length.
TEXT = "word " * 64
PIECE = json.dumps({"choices": [{"index": 0, "delta": {"content": TEXT}}], "padding": "x" * 16_000})
PIECES = 3000
#: The caller's gRPC takes little on its own, and does not find out that it could take more.
SMALL_WINDOW = [("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 65_536)]
#: Maximum bytes on the way between the model and a caller that does not read: mostly buffers of sockets.
ON_THE_WAY = 24 * 1024 * 1024
#: A model that has said nothing for so long, in seconds, has been paused.
PAUSE_SECONDS = 1.0


class Pieces:
    """The pieces of the model's reply, which count how many were taken."""

    def __init__(self) -> None:
        self.taken = 0
        self._more = threading.Condition()

    def __iter__(self) -> Iterator[str]:
        for _ in range(PIECES):
            with self._more:
                self.taken += 1
                self._more.notify_all()
            yield PIECE

    def wait_for_more(self, seconds: float) -> bool:
        """Wait until another one is taken; return whether one was."""
        with self._more:
            before = self.taken
            return self._more.wait_for(lambda: self.taken > before, seconds)


def memory_peak(server: ServerProcess) -> int:
    """Return the most memory that *server* has had, in bytes."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    [line] = [line for line in status.splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024


def test_slow_reader_applies_backpressure_to_the_model_and_uses_no_memory(tmp_path: Path, upstream: Upstream) -> None:
    pieces = Pieces()
    with (
        running_server(
            ILAB_MEMORY_DB_PATH=str(tmp_path / "memory.db"),
            OPENAI_BASE_URL=upstream.base_url,
            ILAB_CHAT_HEARTBEAT_SECONDS="0.01",
        ) as server,
        grpc.insecure_channel(server.address, SMALL_WINDOW) as channel,
    ):
        stub: Any = chat_pb2_grpc.ChatServiceStub(channel)
        assert stub.Chat(chat_pb2.ChatRequest(user_id="bob", message="Hi"), timeout=60).reply == "Hello there."
        peak = memory_peak(server)
        upstream.replies(Reply(events=pieces))
        stalled = stub.StreamChat(chat_pb2.StreamChatRequest(user_id="alice", message="Hi"), timeout=100)
        assert next(stalled).HasField("started")
        while pieces.wait_for_more(PAUSE_SECONDS):
            pass
        assert pieces.taken * len(PIECE) < ON_THE_WAY
        assert memory_peak(server) - peak < ON_THE_WAY
        assert stub.Chat(chat_pb2.ChatRequest(user_id="bob", message="Hi"), timeout=60).reply == "Hello there."
        # A reader that resumes gets the rest.
        taken = pieces.taken
        while pieces.taken == taken:
            next(stalled)
        stalled.cancel()
