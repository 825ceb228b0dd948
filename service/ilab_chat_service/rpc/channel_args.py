"""What gRPC is told of connections: how much they may send, how long they live, how often they are probed.

The keys and their defaults: https://github.com/grpc/grpc/blob/master/include/grpc/impl/channel_arg_names.h
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from ilab_chat_service.limits import HEADER_BYTES, REQUEST_BYTES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ilab_chat_service.settings import Settings

Options: TypeAlias = "Mapping[str, int]"

#: How long a client may take to acknowledge the limits that it has been told, in seconds; until then they bind it less.
SETTINGS_SECONDS = 10

#: After how much silence a connection is probed, and how long its other end may take to answer, in seconds. Else the
#: call of a caller whose machine is gone would go on until the model has finished.
PROBE_SECONDS = 60
PROBE_ANSWER_SECONDS = 20

#: How often a client may probe, in seconds: gRPC's clients have a minimum of 10, and may be a little early.
CLIENT_PROBE_SECONDS = 5

#: After how long without a call a connection is closed, in seconds.
IDLE_SECONDS = 15 * 60

#: What a call may take beside the time that deadlines give it, in seconds: until its request is there, and after it.
BESIDE_SECONDS = 60

#: Most calls at once that a connection may have beside twice what the chat takes: for its refusals, memory and health.
OTHER_CALLS = 100

#: Maximum number of bytes that gRPC reads from a connection before it handles them. Without it a connection that sends
#: without a pause is read into ever larger buffers. Flow control holds messages back, but not frames such as
#: CONTINUATION and PRIORITY, which need no credentials. See `FinishEstimate` in
#: https://github.com/grpc/grpc/blob/master/src/core/lib/event_engine/posix_engine/posix_endpoint.cc
READ_BYTES = 64 * 1024

#: Bits by compression algorithm: none but "identity". A stream would mix secrets with text of an attacker, whose sizes
#: then tell of each other, and gRPC would unpack a message before it looks at how large it has become.
UNCOMPRESSED_ONLY = 1


def connection_options(settings: Settings) -> Options:
    """Return the options of the server's connections."""
    options = {
        "grpc.max_receive_message_length": REQUEST_BYTES,
        "grpc.experimental.tcp_max_read_buffer_size": READ_BYTES,
        # One limit, not two: between the two, gRPC refuses at random.
        "grpc.max_metadata_size": HEADER_BYTES,
        "grpc.absolute_max_metadata_size": HEADER_BYTES,
        # Each costs memory before it is looked at, also without credentials.
        "grpc.max_concurrent_streams": 2 * (settings.max_calls + settings.max_queued_calls) + OTHER_CALLS,
        "grpc.http2.settings_timeout": milliseconds(SETTINGS_SECONDS),
        "grpc.compression_enabled_algorithms_bitset": UNCOMPRESSED_ONLY,
        "grpc.keepalive_time_ms": milliseconds(PROBE_SECONDS),
        # Not keepalive_timeout_ms, which by itself closes nothing (seen with grpcio 1.85).
        "grpc.http2.ping_timeout_ms": milliseconds(PROBE_ANSWER_SECONDS),
        # Not min_recv_ping_interval_without_data_ms, which is widely copied and does nothing.
        "grpc.http2.min_ping_interval_without_data_ms": milliseconds(CLIENT_PROBE_SECONDS),
        "grpc.keepalive_permit_without_calls": 1,
        "grpc.max_connection_idle_ms": milliseconds(IDLE_SECONDS),
    }
    if settings.connection_age_seconds:
        options["grpc.max_connection_age_ms"] = milliseconds(settings.connection_age_seconds)
        # A shorter one would cut calls that are within their time.
        grace = settings.max_deadline_seconds + BESIDE_SECONDS
        options["grpc.max_connection_age_grace_ms"] = milliseconds(grace)
    return options


def milliseconds(seconds: float) -> int:
    """Return *seconds* as gRPC's options take them."""
    return round(seconds * 1000)
