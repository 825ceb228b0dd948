"""The configuration that the server logs at the start."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ilab_chat_service.memory.executor import open_memory
from ilab_chat_service.settings import Settings, read
from ilab_chat_service.startup_summary import StartedServer, startup_summary
from processes import running_server
from upstream import Upstream


def said(**environ: str) -> dict[str, str]:
    lines = startup_summary(
        StartedServer(settings=read(environ), address="127.0.0.1:1", memory="memory.db", models=["m at h"])
    )
    return dict(line.split(": ", 1) for line in lines)


def test_configuration_is_logged_before_the_server_serves(tmp_path: Path, upstream: Upstream) -> None:
    path = str(tmp_path / "memory.db")
    variables = {"OPENAI_BASE_URL": upstream.base_url, "OPENAI_API_KEY": "sk-secret", "ILAB_CHAT_LOG_FORMAT": "text"}
    with running_server(ILAB_MEMORY_DB_PATH=path, ILAB_MEMORY_DURABILITY="normal", **variables) as server:
        said = "".join(server.log[: next(i for i, line in enumerate(server.log) if "serving on" in line)])
        for decision in (
            f"address: {server.address}",
            "TLS: none",
            "auth: none, on loopback",
            f"model: gpt-4o-mini at 127.0.0.1:{upstream.server_port}",
            f"memory: {path}",
            "durability: normal",
            "limits: 256 running calls",
        ):
            assert said.count(decision) == 1
        assert "sk-secret" not in said


@pytest.mark.parametrize("workers", ["1", "2"])
def test_misspelt_variable_is_a_warning_without_its_value(tmp_path: Path, upstream: Upstream, workers: str) -> None:
    path = str(tmp_path / "memory.db")
    with running_server(
        ILAB_MEMORY_DB_PATH=path,
        OPENAI_BASE_URL=upstream.base_url,
        ILAB_CHAT_WORKERS=workers,
        ILAB_CHAT_MAX_CALL="a-secret",
    ) as server:
        said = [line for line in server.log if "ILAB_CHAT_MAX_CALL is set" in line]
        assert len(said) == 1
        assert "did you mean ILAB_CHAT_MAX_CALLS?" in said[0]
        assert "a-secret" not in "".join(server.log)


def test_summary_of_tls_auth_and_model() -> None:
    assert said()["model"] == "m at h"
    tls = {"ILAB_CHAT_TLS_CERT_FILE": "c.pem", "ILAB_CHAT_TLS_KEY_FILE": "k.pem"}
    assert said(**tls)["TLS"] == "c.pem, without client certificates"
    assert said(**tls, ILAB_CHAT_TLS_CLIENT_CA_FILE="ca")["TLS"] == "c.pem, with client certificates"
    assert said(ILAB_CHAT_AUTH="none")["auth"] == "none"


@pytest.mark.parametrize("durability", ["full", "normal"])
async def test_durability_setting_reaches_the_library(settings: Settings, durability: str) -> None:
    async with open_memory(replace(settings, durability=durability)) as library:
        assert await library.read("alice", lambda memory: memory.config.durability) == durability
