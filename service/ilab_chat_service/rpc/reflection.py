"""Server reflection, so that tools such as grpcurl work without .proto files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
import grpc.aio

# Imported for its side effect: reflection can then describe error details, and grpcurl prints them.
from google.rpc import error_details_pb2  # noqa: F401
from grpc_reflection.v1alpha import reflection, reflection_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Newer tools try v1 first. It has the messages of v1alpha, the only version that the package registers:
#: https://github.com/grpc/grpc/issues/31773
V1 = "grpc.reflection.v1.ServerReflection"


def add_reflection(server: grpc.aio.Server, services: Iterable[str]) -> None:
    """Make *server* describe *services* under both versions of the reflection service."""
    names = [*services, reflection.SERVICE_NAME]
    reflection.enable_server_reflection(names, server)
    servicer = reflection.aio.ReflectionServicer(names)
    info = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    server.add_registered_method_handlers(V1, {"ServerReflectionInfo": info})
