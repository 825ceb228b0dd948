"""The server that is fuzzed: a process of its own in front of a model that repeats what it is told."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc

import upstream as fake
from ilab_chat.v1 import chat_pb2, chat_pb2_grpc
from processes import ServerProcess, running_server

#: Part of everything that is sent.
MARK = "tangerine"

#: How long a call may take, in seconds. Longer, and the server hangs.
CALL_SECONDS = 60.0

#: Examples of one batch: the server is checked after each batch, and after each test.
BATCH = 25

GOOD = chat_pb2.ChatRequest(user_id="good", message="Hi", memory_mode=chat_pb2.MEMORY_MODE_OFF)


class Target:
    """A running server."""

    def __init__(self, server: ServerProcess, channel: grpc.Channel) -> None:
        self.server = server
        self.address = server.address
        self._stub = chat_pb2_grpc.ChatServiceStub(channel)
        self._read = 0
        self._unchecked = 0

    def check(self) -> None:
        """Count an example; at the end of a batch, check the server."""
        self._unchecked += 1
        if self._unchecked >= BATCH:
            self.check_now()

    def check_now(self) -> None:
        """Check that a good call is answered, and that nothing of what was sent is in the log so far."""
        self._unchecked = 0
        assert self._stub.Chat(GOOD, timeout=CALL_SECONDS).reply == "Hi"
        self.check_log()

    def check_log(self) -> None:
        """Check that nothing of what was sent is in the log so far.

        Besides the mark, any non-ASCII character came from outside, raw or escaped.
        """
        lines, self._read = self.server.log[self._read :], len(self.server.log)
        for line in lines:
            assert MARK not in line.lower(), line
            assert line.isascii(), line
            assert not re.search(r"\\[ux]", line), line


@contextmanager
def running_target(folder: Path) -> Iterator[Target]:
    """Run the server with its files in *folder*; it has to end as it should."""
    with (
        fake.running(lambda request: fake.Reply(pieces=[request.said[-1]])) as upstream,
        running_server(
            ILAB_MEMORY_DB_PATH=str(folder / "memory.db"),
            OPENAI_BASE_URL=upstream.base_url,
            OPENAI_MODEL="test-model",
            ILAB_CHAT_LOG_LEVEL="DEBUG",
            OPENAI_LOG="debug",
        ) as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        target = Target(server, channel)
        yield target
        target.check_now()
        assert server.stop() == 0
        target.check_log()
