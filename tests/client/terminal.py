"""The command `ilab-chat` as a process: with pipes, or in a terminal of its own."""

import asyncio
import fcntl
import os
import pty
import struct
import sys
import termios
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from processes import run_forked

COMMAND = str(Path(sys.executable).with_name("ilab-chat"))

#: Variables that Python reads when it starts.
READ_AT_START = {"PYTHONIOENCODING"}

CTRL_C = "\x03"
CTRL_D = "\x04"
UP = "\x1b[A"
ENTER = "\r"

# In a session of its own, and with the terminal in control of it, so that Ctrl-C is a signal.
IN_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
)


@dataclass(frozen=True)
class Finished:
    """The output of a process that ended."""

    code: int
    out: str
    err: str


async def run(*arguments: str, stdin: bytes | int = b"", env: Mapping[str, str] | None = None) -> Finished:
    """Run the command to its end with *stdin* as its whole input, or as its file."""
    if isinstance(stdin, bytes) and not READ_AT_START & (env or {}).keys():
        ended = await asyncio.to_thread(run_forked, "ilab-chat", *arguments, stdin=stdin, **(env or {}))
        return Finished(ended.returncode, ended.stdout, ended.stderr)
    process = await asyncio.create_subprocess_exec(
        COMMAND,
        *arguments,
        stdin=asyncio.subprocess.PIPE if isinstance(stdin, bytes) else stdin,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **(env or {})},
    )
    out, err = await process.communicate(stdin if isinstance(stdin, bytes) else None)
    assert process.returncode is not None
    return Finished(process.returncode, out.decode(), err.decode())


class Terminal:
    """A person at a terminal: types, and reads what is on it."""

    def __init__(self, process: asyncio.subprocess.Process, keyboard: int, screen: asyncio.StreamReader) -> None:
        self._process = process
        self._keyboard = keyboard
        self._screen = screen
        self._unread = ""
        self.seen = ""

    def type(self, keys: str) -> None:
        os.write(self._keyboard, keys.encode(errors="surrogateescape"))

    async def until(self, text: str) -> None:
        """Read the screen until *text* was written after what was read before."""
        while text not in self._unread:
            piece = await self._read()
            assert piece, f"the program ended without {text!r}: {self.seen!r}"
            self._unread += piece
        self._unread = self._unread.partition(text)[2]

    async def exit_code(self) -> int:
        """Read the screen to its end and return how the program ended."""
        while await self._read():
            pass
        return await self._process.wait()

    async def _read(self) -> str:
        try:
            piece = (await self._screen.read(4096)).decode(errors="replace")
        except OSError:  # Linux's word for "the other side of this terminal is closed"
            piece = ""
        self.seen += piece
        return piece


@asynccontextmanager
async def terminal(
    *arguments: str, cwd: Path, columns: int = 80, env: Mapping[str, str] | None = None, command: str = COMMAND
) -> AsyncIterator[Terminal]:
    """Start the command in a terminal of its own."""
    keyboard, inside = pty.openpty()
    fcntl.ioctl(inside, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    inherited = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "NO_COLOR"}}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        IN_TERMINAL,
        command,
        *arguments,
        stdin=inside,
        stdout=inside,
        stderr=inside,
        cwd=cwd,
        start_new_session=True,
        # A real terminal tells where its cursor is when asked; this one has nobody to answer.
        env={**inherited, "TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1", "HOME": str(cwd), **(env or {})},
    )
    os.close(inside)
    screen = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(screen),
        os.fdopen(os.dup(keyboard), "rb", buffering=0),
    )
    try:
        yield Terminal(process, keyboard, screen)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        transport.close()
        os.close(keyboard)
