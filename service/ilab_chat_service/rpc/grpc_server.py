"""The server of gRPC: the one of `grpc_internals`, or grpc.aio's own with a version of grpcio that it does not know."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, cast

import grpc.aio

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ilab_chat_service.rpc.strangers import Strangers

log = logging.getLogger(__name__)


def registered_methods_server(
    interceptors: Sequence[grpc.aio.ServerInterceptor],
    options: Sequence[tuple[str, Any]],
    strangers: Strangers | None = None,
) -> grpc.aio.Server:
    """Return a server without generic handlers, which no method name can stop.

    *strangers* bounds calls without valid credentials.

    With another grpcio than 1.85.x it is `grpc.aio.server`, without *strangers*, and a warning is logged.
    """
    try:
        from ilab_chat_service.rpc.grpc_internals import RegisteredMethodsServer  # noqa: PLC0415 - it can be unusable
    except ImportError as error:
        log.warning(
            "using grpc.aio's own server: %s. A call whose method name is not UTF-8 stops it: install grpcio 1.85.x",
            error,
        )
        return grpc.aio.server(interceptors=interceptors, options=options)
    # The published types know the class by its public name only.
    return cast("grpc.aio.Server", RegisteredMethodsServer(interceptors, options, strangers))
