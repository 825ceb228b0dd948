"""Starts servers by forking a process that has imported the service: a start is mostly imports.

`processes.py` runs this file as a program. It has no threads and starts nothing of gRPC, so forking is safe.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
from dataclasses import dataclass
from typing import Any

#: What `ilab-chat-server` imports, to serve and to check, and what openai's HTTP client does when it is made.
IMPORTED = (
    "httpcore2",
    "ilab_chat_service.auth.certificates",
    "ilab_chat_service.check",
    "ilab_chat_service.cli",
    "ilab_chat_service.idempotency.postgres",
    "ilab_chat_service.rpc.grpc_internals",
    "ilab_chat_service.server",
    "ilab_chat_service.start",
    "ilab_memory.stores.postgres",
    "truststore",
)

#: Maximum size of a request: arguments and environment.
REQUEST_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Request:
    """A request to start a server. Its pid and then its exit code are written to `answers`."""

    arguments: list[str]
    environment: dict[str, str]
    answers: socket.socket
    stdout: int
    stderr: int


def main() -> int:
    """Serve requests from the socket with the number of the first argument until it is closed."""
    # The folder of this file, which the program does not have.
    sys.path.pop(0)
    os.environ["GRPC_VERBOSITY"] = "NONE"
    for name in IMPORTED:
        importlib.import_module(name)
    # A server does this in the background, for half a second.
    sys.modules["ilab_chat_service.statements"].load()
    # A collection would write to all objects, and so copy the memory that servers share.
    gc.freeze()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    request = fork_for_requests(socket.socket(fileno=int(sys.argv[1])))
    return run(request) if request else 0


def fork_for_requests(control: socket.socket) -> Request | None:
    """Fork for each request. It is returned in the child; in this process, None when *control* is closed."""
    running: dict[int, tuple[int, socket.socket]] = {}
    while True:
        ready, _, _ = select.select([control.fileno(), *running], [], [])
        for descriptor in running.keys() & set(ready):
            report(*running.pop(descriptor))
            os.close(descriptor)
        if control.fileno() in ready:
            request = received(control)
            if request is None:
                return None
            pid = os.fork()
            if not pid:
                control.close()
                request.answers.close()
                for descriptor, (_, answers) in running.items():
                    os.close(descriptor)
                    answers.close()
                return request
            os.close(request.stdout)
            os.close(request.stderr)
            request.answers.send(str(pid).encode())
            running[os.pidfd_open(pid)] = pid, request.answers


def received(control: socket.socket) -> Request | None:
    """Return the next request. None: the socket is closed."""
    message, descriptors, _, _ = socket.recv_fds(control, REQUEST_BYTES, 3)
    if not message:
        return None
    answers, stdout, stderr = descriptors
    return Request(**json.loads(message), answers=socket.socket(fileno=answers), stdout=stdout, stderr=stderr)


def report(pid: int, answers: socket.socket) -> None:
    """Write the exit code of a process that has ended, negative for a signal."""
    _, status = os.waitpid(pid, 0)
    with answers:
        answers.send(str(os.waitstatus_to_exitcode(status)).encode())


def run(request: Request) -> int:
    """Be `ilab-chat-server` in this process, and return its exit code."""
    program: Any = sys.modules["ilab_chat_service.start"]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, descriptor in ((1, request.stdout), (2, request.stderr)):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.environ.clear()
    os.environ.update(request.environment)
    sys.argv = ["ilab-chat-server", *request.arguments]
    code: int = program.main()
    return code


if __name__ == "__main__":
    sys.exit(main())
