"""Run the server and the gateway with its playground, for `make run`. One Ctrl-C ends both.

    python tools/run.py

Both read their settings from the environment. The gateway calls ILAB_CHAT_TARGET, by default the server's address.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104 - to call it, not to listen there

#: Time between two looks at the processes.
TICK_SECONDS = 0.2


def main() -> int:
    """Run both until one ends; return the first exit code that is not 0."""
    address = with_port(os.environ.get("ILAB_CHAT_ADDRESS") or "127.0.0.1:50051")
    target = target_of(address)
    processes: list[subprocess.Popen[bytes]] = []
    stopped = False

    def forward(number: int, _: object) -> None:
        nonlocal stopped
        stopped = True
        # A closed terminal ends them as an operator does.
        send(processes, signal.SIGTERM if number == signal.SIGHUP else signal.Signals(number))

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, forward)
    server = start("ilab_chat_service.start", os.environ | {"ILAB_CHAT_ADDRESS": address})
    processes.append(server)
    # The gateway prints where to click, so the server must be ready by then.
    while server.poll() is None and not stopped and not accepts(target):
        time.sleep(TICK_SECONDS)
    if server.poll() is None and not stopped:
        variables = {
            "ILAB_CHAT_TARGET": os.environ.get("ILAB_CHAT_TARGET") or target,
            "ILAB_CHAT_GATEWAY_PLAYGROUND": os.environ.get("ILAB_CHAT_GATEWAY_PLAYGROUND") or "true",
        }
        processes.append(start("ilab_chat_gateway.start", os.environ | variables))
    while all(process.poll() is None for process in processes):
        time.sleep(TICK_SECONDS)
    if not stopped:
        send(processes, signal.SIGINT)
    return next((code for code in (process.wait() for process in processes) if code), 0)


def with_port(address: str) -> str:
    """Return *address* with a free port instead of port 0, so that the gateway knows it too."""
    host, _, port = address.rpartition(":")
    if port != "0":
        return address
    name = host.strip("[]")
    with socket.create_server((name, 0), family=socket.AF_INET6 if ":" in name else socket.AF_INET) as listener:
        return f"{host}:{listener.getsockname()[1]}"


def target_of(address: str) -> str:
    """Return where to call a server that listens on *address*, HOST:PORT or unix:/PATH."""
    host, _, port = address.rpartition(":")
    return f"{ANY_ADDRESS[host]}:{port}" if host in ANY_ADDRESS else address


def accepts(target: str) -> bool:
    """Whether a server accepts connections there."""
    host, _, port = target.rpartition(":")
    try:
        if host == "unix":
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(port)
        else:
            socket.create_connection((host.strip("[]"), int(port)), timeout=1).close()
    except (OSError, ValueError):
        return False
    return True


def start(module: str, environment: os._Environ[str] | dict[str, str]) -> subprocess.Popen[bytes]:
    """Start one of the two in a process group of its own: a terminal's Ctrl-C reaches only this process, once."""
    command = [sys.executable, "-c", f"import sys; from {module} import main; sys.exit(main())"]
    return subprocess.Popen(command, env=dict(environment), process_group=0)  # noqa: S603 - our own programs


def send(processes: Sequence[subprocess.Popen[bytes]], number: signal.Signals) -> None:
    """Send a signal to those that run."""
    for process in processes:
        if process.poll() is None:
            process.send_signal(number)


if __name__ == "__main__":
    sys.exit(main())
