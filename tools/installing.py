"""Run a command that installs packages, for the Makefile, and show on a terminal what it is doing.

    python tools/installing.py WHAT COMMAND [ARGUMENT ...]

The command's output is shown only if it fails, so the option `--quiet` is left out: pip then says what it does.
Standard library only: it runs before anything is installed.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time

#: Time between two updates of the line, in seconds.
TICK_SECONDS = 0.5

#: Words that begin the lines of pip that name a step.
STEPS = ("Collecting", "Downloading", "Building", "Installing", "Preparing")


def main(arguments: list[str]) -> int:
    """Run the command and return its exit code."""
    what, *rest = arguments
    command = [each for each in rest if each != "--quiet"]
    is_shown = sys.stderr.isatty()
    began = time.monotonic()
    output: list[str] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:  # noqa: S603 - the Makefile's
        reading = threading.Thread(target=lambda: output.extend(process.stdout or ()))
        reading.start()
        while reading.is_alive():
            if is_shown:
                show(f"{what} ({time.monotonic() - began:.0f} s){step(output)}")
            reading.join(TICK_SECONDS)
        code = process.wait()
    if is_shown:
        show(f"{what}: {'failed' if code else 'done'} in {time.monotonic() - began:.0f} s")
        sys.stderr.write("\n")
    if code:
        sys.stderr.writelines(output)
    return code


def step(output: list[str]) -> str:
    """Return what the last line that names a step says, shortened."""
    for line in reversed(output):
        if line.strip().startswith(STEPS):
            return f": {' '.join(line.split()[:2])[:60]}"
    return ""


def show(line: str) -> None:
    """Replace the line on the terminal."""
    sys.stderr.write(f"\r\x1b[K{line[:100]}")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
