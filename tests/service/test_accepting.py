"""Calls are accepted many at a time, so that those of one client do not hold up those of others."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import pytest

from fuzz import http2
from ilab_chat_service.rpc import grpc_internals
from ilab_chat_service.rpc.grpc_server import registered_methods_server

CALLS = 128
#: Time of one turn of a busy event loop, in seconds.
TURN_SECONDS = 0.005


async def test_calls_that_one_client_begins_at_once_are_accepted_in_a_few_turns_of_the_event_loop(
    accepted_at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grpc_internals, "ACCEPTED_AT_ONCE", accepted_at_once)
    begun, turns, all_begun = 0, 0, asyncio.Event()

    async def handle(requests: AsyncIterator[bytes], _: Any) -> bytes:
        nonlocal begun
        begun += 1
        if begun == CALLS:
            all_begun.set()
        return b"".join([request async for request in requests])

    def turn() -> None:
        """Keep the event loop busy."""
        nonlocal turns
        turns += 1
        time.sleep(TURN_SECONDS)
        if not all_begun.is_set():
            asyncio.get_running_loop().call_soon(turn)

    server = registered_methods_server((), ())
    server.add_registered_method_handlers("test.Service", {"Method": grpc.stream_unary_rpc_method_handler(handle)})
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    pairs = http2.fields("/test.Service/Method")
    calls = [http2.request(pairs, http2.message(b""), stream=2 * number + 1) for number in range(CALLS)]
    with http2.Connection(f"127.0.0.1:{port}") as client:
        # The event loop stands still until gRPC's core has all calls: it answers the ping after them.
        client.send([http2.OPENING, *calls, http2.frame(http2.PING, 0, 0, bytes(8))])
        client.until(http2.PING)
        turn()
        await asyncio.wait_for(all_begun.wait(), 60)
    await server.stop(0)
    assert turns < CALLS
