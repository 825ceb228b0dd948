"""Listen on a Unix domain socket."""

from __future__ import annotations

import asyncio
import dataclasses
import stat
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import grpc
import pytest

from ilab_chat import AsyncChatClient
from ilab_chat_service.server import serving
from ilab_chat_service.settings import Settings, SettingsError, read
from ilab_chat_service.settings.addresses import AddressUnavailable
from processes import running_server
from upstream import Upstream


@pytest.fixture
def address() -> Iterator[str]:
    # Not in pytest's folder: the path would be too long.
    with TemporaryDirectory() as folder:
        yield f"unix:{folder}/s"


async def test_client_chats_over_a_socket_of_owner_and_group(settings: Settings, address: str) -> None:
    path = Path(address.removeprefix("unix:"))
    async with serving(dataclasses.replace(settings, address=address)) as served:
        assert served == address
        assert stat.S_IMODE((await asyncio.to_thread(path.stat)).st_mode) == 0o660
        async with AsyncChatClient(served) as client:
            assert (await client.chat("alice", "Hi")).reply
    assert not await asyncio.to_thread(path.exists)


async def test_socket_of_a_running_server_is_not_taken(settings: Settings, address: str, tmp_path: Path) -> None:
    async with serving(dataclasses.replace(settings, address=address)) as served:
        second = dataclasses.replace(settings, address=address, memory_db_path=str(tmp_path / "second.db"))
        with pytest.raises(AddressUnavailable, match="another server uses it"):
            async with serving(second):
                pass
        async with AsyncChatClient(served) as client:
            assert (await client.chat("alice", "Hi")).reply


async def test_socket_in_a_missing_folder_cannot_be_listened_on(settings: Settings, address: str) -> None:
    with pytest.raises(AddressUnavailable, match="its folder does not exist"):
        async with serving(dataclasses.replace(settings, address=f"{address}/missing/s")):
            pass


def test_socket_that_a_killed_server_left_is_replaced(address: str, tmp_path: Path, upstream: Upstream) -> None:
    settings = {
        "ILAB_CHAT_ADDRESS": address,
        "ILAB_MEMORY_DB_PATH": str(tmp_path / "memory.db"),
        "OPENAI_BASE_URL": upstream.base_url,
    }
    with running_server(**settings) as server:
        server.process.kill()
        server.wait()
        assert Path(address.removeprefix("unix:")).is_socket()
    with running_server(**settings) as server:
        with grpc.insecure_channel(server.address) as channel:
            grpc.channel_ready_future(channel).result(30)
        assert server.stop() == 0


def test_socket_needs_neither_tls_nor_authentication_and_has_one_worker() -> None:
    assert read({"ILAB_CHAT_ADDRESS": "unix:/run/s"}).address == "unix:/run/s"
    with pytest.raises(SettingsError, match=r"^ILAB_CHAT_WORKERS: "):
        read({"ILAB_CHAT_ADDRESS": "unix:/run/s", "ILAB_CHAT_WORKERS": "2", "OPENAI_API_KEY": "k"})
