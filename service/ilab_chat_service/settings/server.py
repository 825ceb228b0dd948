"""Settings of the server: where it listens, how long calls take, how it drains."""

from __future__ import annotations

from dataclasses import dataclass

from ilab_chat_service.settings.addresses import socket_path, split_address
from ilab_chat_service.settings.fields import MOST, SettingsError, setting

#: Each heartbeat is a message to each silent stream: more often than this, the server would do little else.
LEAST_HEARTBEAT_SECONDS = 0.01


@dataclass(frozen=True, kw_only=True)
class ServerSettings:
    """Where the server listens, how long calls take, how it drains."""

    address: str = setting(
        "ILAB_CHAT_ADDRESS",
        "127.0.0.1:50051",
        "Address to listen on, HOST:PORT or unix:/PATH. Port 0: any free port.",
    )
    workers: int = setting(
        "ILAB_CHAT_WORKERS",
        1,
        "Number of server processes that share the address and the memory. Limits are per process.",
        least=1,
    )
    default_deadline_seconds: float = setting(
        "ILAB_CHAT_DEFAULT_DEADLINE_SECONDS",
        300.0,
        "Default deadline of a chat call, in seconds.",
        least=0.1,
    )
    max_deadline_seconds: float = setting(
        "ILAB_CHAT_MAX_DEADLINE_SECONDS",
        600.0,
        "Maximum duration of a chat call in seconds, even if its deadline is later.",
        least=0.1,
    )
    persist_reserve_seconds: float = setting(
        "ILAB_CHAT_PERSIST_RESERVE_SECONDS",
        0.5,
        "Time reserved before a chat call's deadline for storing the reply, in seconds. The model is stopped by then.",
        least=0,
    )
    heartbeat_seconds: float = setting(
        "ILAB_CHAT_HEARTBEAT_SECONDS",
        15.0,
        "Seconds of silence after which a started stream sends a heartbeat, so that proxies keep it open. 0: no "
        "heartbeats; otherwise at least 0.01.",
        least=0,
    )
    connection_age_seconds: float = setting(
        "ILAB_CHAT_CONNECTION_AGE_SECONDS",
        1800.0,
        "Maximum connection age, in seconds. Then clients reconnect, so that new servers get a share of the load "
        "behind a TCP balancer. Running calls finish. 0: unlimited.",
        least=0,
    )
    propagation_seconds: float = setting(
        "ILAB_CHAT_PROPAGATION_SECONDS",
        5.0,
        "Seconds after SIGTERM in which new calls are still accepted, while health checks direct clients elsewhere.",
        least=0,
    )
    drain_seconds: float = setting(
        "ILAB_CHAT_DRAIN_SECONDS",
        30.0,
        "Time for running calls to finish after the propagation time, in seconds.",
        least=0,
    )

    @property
    def host(self) -> str:
        """The host part of the address. A socket is reached from this machine only."""
        return "localhost" if socket_path(self.address) else split_address(self.address)[0]

    def check_server(self) -> None:
        """Raise SettingsError if the server could not run like this."""
        try:
            is_socket = socket_path(self.address) or not split_address(self.address)
        except ValueError as error:
            raise SettingsError(f"ILAB_CHAT_ADDRESS: {error}") from None
        if is_socket and self.workers > 1:
            raise SettingsError("ILAB_CHAT_WORKERS: must be 1 with a Unix domain socket")
        if 0 < self.heartbeat_seconds < LEAST_HEARTBEAT_SECONDS:
            raise SettingsError(f"ILAB_CHAT_HEARTBEAT_SECONDS: must be 0, or {LEAST_HEARTBEAT_SECONDS:g} to {MOST:g}")
