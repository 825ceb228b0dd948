"""One of several processes that share the port: what `supervisor.py` starts, with its number as the argument."""

from __future__ import annotations

import os
import signal
import sys
import threading

from ilab_chat_service.cli import EXIT_FAILED, serve
from ilab_chat_service.settings import read


def main() -> int:
    """Serve with the settings of the environment until told to stop; return the exit code."""
    # Ctrl-C reaches every process of the terminal: until the event loop hears of it, it ends this one without a word.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    threading.Thread(target=end_with_supervisor, daemon=True).start()
    return serve(read(os.environ), worker=int(sys.argv[1]))


def end_with_supervisor() -> None:
    """Wait until the process at the other end of standard input is gone, and end as it did: at once."""
    os.read(sys.stdin.fileno(), 1)
    os._exit(EXIT_FAILED)


if __name__ == "__main__":
    sys.exit(main())
