"""Starts programs by forking a process that has imported their modules: a start is mostly imports.

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


@dataclass(frozen=True, slots=True)
class Program:
    """A program that is forked: the function `main` of `module`."""

    module: str
    imported: tuple[str, ...]
    """Modules to import before the program is forked."""


PROGRAMS = {
    "ilab-chat": Program("ilab_chat.cli", ("grpc.aio", "grpc_health.v1.health_pb2", "ilab_chat.cli", "wcwidth")),
    # To serve and to check, and what openai's HTTP client imports when it is made.
    "ilab-chat-server": Program(
        "ilab_chat_service.start",
        (
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
        ),
    ),
    "ilab-memory": Program(
        "ilab_memory.command", ("ilab_memory.command", "ilab_memory.copying", "ilab_memory.stores.postgres")
    ),
}

#: Maximum size of a request: arguments and environment.
REQUEST_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Request:
    """A request to start the program. Its pid and then its exit code are written to `answers`."""

    arguments: list[str]
    environment: dict[str, str]
    answers: socket.socket
    standard: tuple[int, ...]
    """Descriptors of its standard input, output and error."""


def main() -> int:
    """Serve requests for a program until the socket is closed. Arguments: the program's name, the socket's number."""
    name, control = sys.argv[1:]
    program = PROGRAMS[name]
    # The folder of this file, which the program does not have.
    sys.path.pop(0)
    if name == "ilab-chat-server":
        os.environ["GRPC_VERBOSITY"] = "NONE"  # as the server does before it imports gRPC
    for module in program.imported:
        importlib.import_module(module)
    if statements := sys.modules.get("ilab_chat_service.message_statements"):
        # A server does this in the background.
        statements.load()
    # A collection would write to all objects, and so copy the memory that servers share.
    gc.freeze()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    request = fork_for_requests(socket.socket(fileno=int(control)))
    return run(name, program, request) if request else 0


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
            for descriptor in request.standard:
                os.close(descriptor)
            request.answers.send(str(pid).encode())
            running[os.pidfd_open(pid)] = pid, request.answers


def received(control: socket.socket) -> Request | None:
    """Return the next request. None: the socket is closed."""
    message, descriptors, _, _ = socket.recv_fds(control, REQUEST_BYTES, 4)
    if not message:
        return None
    answers, *standard = descriptors
    return Request(**json.loads(message), answers=socket.socket(fileno=answers), standard=tuple(standard))


def report(pid: int, answers: socket.socket) -> None:
    """Write the exit code of a process that has ended, negative for a signal."""
    _, status = os.waitpid(pid, 0)
    with answers:
        answers.send(str(os.waitstatus_to_exitcode(status)).encode())


def run(name: str, program: Program, request: Request) -> int:
    """Be the program in this process, and return its exit code."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, descriptor in enumerate(request.standard):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.environ.clear()
    os.environ.update(request.environment)
    sys.argv = [name, *request.arguments]
    module: Any = sys.modules[program.module]
    code: int = module.main()
    return code


if __name__ == "__main__":
    sys.exit(main())
