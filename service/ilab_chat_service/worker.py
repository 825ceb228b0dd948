"""One of several server processes that share the port. Started by `supervisor.py` with its number as the argument."""

from __future__ import annotations

import os
import signal
import sys
import threading

from ilab_chat_service.cli import EXIT_FAILED, discard_unwritten, serve
from ilab_chat_service.settings import read


def main() -> int:
    """Serve with the settings in the environment until stopped; return the exit code."""
    # Ctrl-C reaches every process of the terminal. Until the event loop handles it, it must end this one silently.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    threading.Thread(target=end_with_supervisor, daemon=True).start()
    try:
        return serve(read(os.environ), worker=int(sys.argv[1]))
    finally:
        discard_unwritten()


def end_with_supervisor() -> None:
    """Wait until the supervisor, at the other end of standard input, is gone, and exit at once."""
    os.read(sys.stdin.fileno(), 1)
    os._exit(EXIT_FAILED)


if __name__ == "__main__":
    sys.exit(main())
