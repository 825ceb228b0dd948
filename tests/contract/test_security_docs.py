"""The examples of docs/security.md, run against a server that asks for TLS and a token."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import upstream as fake
from certificates import Authority
from contract.process import BIN, ROOT
from processes import ServerProcess, running_server

DOCS = (ROOT / "docs/security.md").read_text()
[TOKENS] = re.findall(r"^```text\n(.*?)^```$", DOCS, re.MULTILINE | re.DOTALL)
[PYTHON] = re.findall(r"^```python\n(.*?)^```$", DOCS, re.MULTILINE | re.DOTALL)
[GRPCURL] = re.findall(r"^grpcurl .*$", DOCS, re.MULTILINE)
[COMMAND] = re.findall(r"^ilab-chat .*$", DOCS, re.MULTILINE)
TOKEN = TOKENS.splitlines()[1]


@pytest.fixture
def secured(tmp_path: Path) -> Iterator[ServerProcess]:
    authority = Authority()
    certificate, key = authority.server().write(tmp_path, "server")
    (tmp_path / "ca.pem").write_bytes(authority.certificate)
    (tmp_path / "tokens").write_text(TOKENS)
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    with (
        fake.running() as upstream,
        running_server(
            ILAB_MEMORY_DB_PATH=str(tmp_path / "memory.db"),
            OPENAI_BASE_URL=upstream.base_url,
            ILAB_CHAT_TLS_CERT_FILE=certificate,
            ILAB_CHAT_TLS_KEY_FILE=key,
            ILAB_CHAT_AUTH="tokens",
            ILAB_CHAT_AUTH_TOKENS_FILE=str(tmp_path / "tokens"),
        ) as server,
    ):
        yield server
        assert server.stop() == 0
        said = "".join(server.log)
        assert f"TLS: {certificate}, without client certificates" in said
        assert "auth: tokens" in said
        assert TOKEN not in said


def test_the_examples_run(secured: ServerProcess, tmp_path: Path) -> None:
    port = secured.address.rpartition(":")[2]
    for line in (GRPCURL, COMMAND, f"\"{sys.executable}\" -c '{PYTHON}'"):
        ended = subprocess.run(
            ["sh", "-c", line.replace("localhost:50051", f"localhost:{port}")],
            env=os.environ | {"PATH": f"{BIN}:{os.environ['PATH']}", "TOKEN": TOKEN},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert "Hello there." in ended.stdout, ended.stderr


def test_grpcurl_shows_why_a_stranger_is_refused(secured: ServerProcess, tmp_path: Path) -> None:
    arguments = ["-cacert", "ca.pem", "-import-path", str(ROOT / "protos"), "-proto", "ilab_chat/v1/chat.proto"]
    ended = subprocess.run(
        [BIN / "grpcurl", *arguments, "-d", "{}", secured.address, "ilab_chat.v1.ChatService/Chat"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "Code: Unauthenticated" in ended.stderr
    assert "bearer token" in ended.stderr
