"""Any method of the contract, called by its descriptor."""

from __future__ import annotations

from typing import Any

import grpc.aio
from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor
from google.rpc import error_details_pb2, status_pb2

from ilab_chat.v1 import chat_pb2, memory_pb2

METHODS: list[MethodDescriptor] = [
    method
    for file in (chat_pb2.DESCRIPTOR, memory_pb2.DESCRIPTOR)
    for service in file.services_by_name.values()
    for method in service.methods
]


def bearer(token: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {token}"),)


async def call(
    channel: grpc.aio.Channel, method: MethodDescriptor, user: str, metadata: tuple[tuple[str, str], ...] = ()
) -> tuple[str, str]:
    """Call *method* for *user* with a request that has little else; return code and reason of its status."""
    request = message_factory.GetMessageClass(method.input_type)(user_id=user)
    if "message" in method.input_type.fields_by_name:
        request.message = "hi"  # type: ignore[attr-defined]
    # A stream of one request looks the same.
    make: Any = channel.unary_stream if method.server_streaming else channel.unary_unary
    rpc = make(
        f"/{method.containing_service.full_name}/{method.name}",
        request_serializer=type(request).SerializeToString,
        response_deserializer=message_factory.GetMessageClass(method.output_type).FromString,
    )
    try:
        if method.server_streaming:
            async for _ in rpc(request, metadata=metadata, timeout=30):
                pass
        else:
            await rpc(request, metadata=metadata, timeout=30)
    except grpc.aio.AioRpcError as error:
        return error.code().name, reason(error)
    return "OK", ""


def reason(error: grpc.aio.AioRpcError) -> str:
    """Return the reason in the details of a status. Empty: it has none."""
    packed = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin", b"")
    info = error_details_pb2.ErrorInfo()
    for detail in status_pb2.Status.FromString(packed).details:
        if detail.Unpack(info):
            return info.reason
    return ""
