"""Connections do not take the descriptors that calls need."""

from __future__ import annotations

import resource
import socket
import sys
from contextlib import ExitStack, suppress
from pathlib import Path

import grpc
import pytest

from ilab_chat.v1 import chat_pb2, chat_pb2_grpc
from processes import SERVER, running_server
from upstream import Reply, Upstream

LIMIT = 600
#: Runs the server with a hard limit of open files.
LIMITED = f"""
import os, resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, ({LIMIT}, {LIMIT}))
os.execv(sys.argv[1], sys.argv[1:])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="counts descriptors in /proc")
def test_connections_are_refused_before_calls_lack_descriptors(upstream: Upstream, tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 2 * LIMIT:
        pytest.skip("the test itself needs descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2 * LIMIT), hard))
    settings = {
        "ILAB_MEMORY_DB_PATH": str(tmp_path / "memory.db"),
        "OPENAI_BASE_URL": upstream.base_url,
        "OPENAI_MODEL": "m",
        "ILAB_CHAT_MODEL_RETRIES": "0",
    }
    upstream.otherwise = lambda _: Reply()
    with running_server([sys.executable, "-c", LIMITED, SERVER], **settings) as server, ExitStack() as crowd:
        channel = crowd.enter_context(grpc.insecure_channel(server.address))
        chat = chat_pb2_grpc.ChatServiceStub(channel)
        chat.Chat(chat_pb2.ChatRequest(user_id="alice", message="Hi"), timeout=30)
        host, _, port = server.address.rpartition(":")
        for _ in range(LIMIT + 100):
            with suppress(OSError):
                crowd.enter_context(socket.create_connection((host, int(port)), timeout=5))
        server.read_until(r"descriptors are open: connections beyond \d+ are refused")
        for number in range(20):
            answer = chat.Chat(chat_pb2.ChatRequest(user_id=f"user-{number}", message="Hi"), timeout=30)
            assert answer.reply
        assert len(list(Path(f"/proc/{server.process.pid}/fd").iterdir())) < LIMIT
        assert "MODEL_UNAVAILABLE" not in "".join(server.log)
