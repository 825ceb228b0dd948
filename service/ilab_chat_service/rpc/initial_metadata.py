"""Sending a stream's initial metadata, so that the stream can be ended in its first write."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import grpc.aio


async def send_initial_metadata(context: grpc.aio.ServicerContext[Any, Any]) -> None:
    """Send the initial metadata, also when the task is cancelled while this runs.

    grpc.aio notes only after the first write that it has sent them. When that write is cancelled, `abort` sends them
    again, which the core refuses, and the caller would wait for a status forever.
    """
    sending = asyncio.ensure_future(context.send_initial_metadata(()))
    try:
        await asyncio.shield(sending)
    except asyncio.CancelledError:
        await asyncio.wait([sending])
        raise
