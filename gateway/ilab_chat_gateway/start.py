"""The first lines of the `ilab-chat-gateway` command: what must hold before anything else is imported."""

from __future__ import annotations

import gc
import os
import signal
import sys

#: Signals that end the process.
ENDING = (signal.SIGTERM, signal.SIGINT)


def main() -> int:
    """Prepare the process, run the command, and return the exit code."""
    end_on_signals()
    open_standard_descriptors()
    raise_descriptor_limit()
    # Modules stay until the process ends: collections would look through them for a third of the time of the imports.
    gc.disable()
    from ilab_chat_gateway import cli  # noqa: PLC0415 - it imports for some tenths of a second

    gc.freeze()
    gc.enable()
    try:
        return cli.main()
    finally:
        discard_unwritten()


def end_on_signals() -> None:
    """End on SIGTERM and SIGINT with 128 + the signal number, until the event loop handles them.

    The kernel drops a signal without a handler for process 1 of a container, but keeps a blocked one. So the image
    blocks both before Python starts.
    """
    for number in ENDING:
        signal.signal(number, lambda received, _: os._exit(128 + received))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)


def open_standard_descriptors() -> None:
    """Open the descriptors 0, 1 and 2 if they are closed.

    Otherwise the next one, for instance a connection, gets such a descriptor, and a library's message would be written
    into it.
    """
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(descriptor)
        except OSError:
            # It gets the lowest number that is free: this one.
            os.open(os.devnull, os.O_RDWR)
            setattr(sys, name, os.fdopen(descriptor, "w" if descriptor else "r", encoding="utf-8"))


def discard_unwritten() -> None:
    """Discard output that cannot be written, for instance because the log's disk is full.

    Otherwise Python ends with the code 120, whatever the command returned.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def raise_descriptor_limit() -> None:
    """Raise the limit of open files to the most that this process may have. Each connection is one."""
    import resource  # noqa: PLC0415 - after the signal handlers

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


if __name__ == "__main__":
    sys.exit(main())
