"""Send initial metadata whole, so that a call can be aborted at any time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Coroutine

    import grpc.aio


async def send_initial_metadata(context: grpc.aio.ServicerContext[Any, Any]) -> None:
    """Send the initial metadata, even if the task is cancelled while this runs. See `sent_whole`."""
    await sent_whole(context.send_initial_metadata(()))


async def sent_whole(sending: Coroutine[Any, Any, None]) -> None:
    """Await *sending*, which sends the initial metadata alone or with a message, to its end, even if it is cancelled.

    grpc.aio records only at its end that the metadata was sent. If it is cancelled earlier, `abort` sends the metadata
    again, gRPC core rejects that, and the caller waits for a status forever.
    """
    task = asyncio.ensure_future(sending)
    # Retrieve the exception, or asyncio logs it as never retrieved: sending fails if the caller is gone.
    task.add_done_callback(lambda done: done.cancelled() or done.exception())
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise
