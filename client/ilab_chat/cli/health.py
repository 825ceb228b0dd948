"""`ilab-chat health`: the status that the server reports. Needs grpcio-health-checking, from the extra `cli`."""

import argparse
from typing import TYPE_CHECKING

import grpc

from ilab_chat import _calls
from ilab_chat.cli import connection, options, output

if TYPE_CHECKING:
    from ilab_chat.cli.options import Commands

DEFAULT_TIMEOUT = 5.0


def add_parser(commands: "Commands") -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "health",
        help="check whether the server is serving",
        description="Print SERVING or NOT_SERVING. Exit code 0 when it is SERVING, 1 otherwise.",
    )
    parser.set_defaults(run=run)
    parser.add_argument(
        "--service",
        default="",
        metavar="NAME",
        help="service to check, such as ilab_chat.v1.ChatService (default: the whole server)",
    )
    options.add_connection(parser, DEFAULT_TIMEOUT)


def run(arguments: argparse.Namespace) -> int:
    """Print the status and return 0 when it is SERVING.

    Raises:
        ChatError: nobody answers, or the server does not know the service.
        CommandError: grpcio-health-checking is not installed.
    """
    try:
        from grpc_health.v1 import health_pb2  # noqa: PLC0415 - from an optional extra
    except ImportError:
        raise output.missing_extra("health") from None
    with connection.channel(arguments) as channel:
        check = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        request = health_pb2.HealthCheckRequest(service=arguments.service)
        try:
            response = check(request, timeout=arguments.timeout)
        except grpc.RpcError as failure:
            raise _calls.error_of(failure, "") from failure
    status = health_pb2.HealthCheckResponse.ServingStatus.Name(response.status)
    output.write(f"{status}\n")
    return 0 if status == "SERVING" else 1
