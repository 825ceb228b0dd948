"""Send a stream's initial metadata early, so that the stream can be aborted during its first write."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import grpc.aio


async def send_initial_metadata(context: grpc.aio.ServicerContext[Any, Any]) -> None:
    """Send the initial metadata, even if the task is cancelled while this runs.

    grpc.aio records only after the first write that the metadata was sent. If that write is cancelled, `abort` sends it
    again, gRPC core rejects that, and the caller waits for a status forever.
    """
    sending = asyncio.ensure_future(context.send_initial_metadata(()))
    try:
        await asyncio.shield(sending)
    except asyncio.CancelledError:
        await asyncio.wait([sending])
        raise
