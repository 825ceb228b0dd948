"""The forwarder that makes a network bad."""

from __future__ import annotations

import asyncio

from faults.network import Ends, forwarding


async def test_no_connection_outlives_the_forwarder() -> None:
    connecting = asyncio.Event()

    async def never() -> Ends:
        connecting.set()
        await asyncio.Event().wait()
        raise AssertionError

    async with forwarding(never) as forwarder:
        reader, writer = await asyncio.open_connection("127.0.0.1", forwarder.port)
        await connecting.wait()
    assert await asyncio.wait_for(reader.read(), 60) == b""
    writer.close()
