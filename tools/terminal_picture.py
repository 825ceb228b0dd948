"""Draw docs/terminal.svg: a real server with the embedded model, and what a newcomer types in a second terminal.

    python tools/terminal_picture.py            run the programs and write the picture
    python tools/terminal_picture.py FILE       write it elsewhere

The programs run in terminals of their own, so the picture shows what they print to people, colours included. It needs
the packages of `make run`. Colours follow the page, light or dark.
"""

from __future__ import annotations

import fcntl
import html
import os
import pty
import re
import struct
import subprocess
import sys
import tempfile
import termios
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "docs/terminal.svg"
BIN = Path(sys.executable).parent

COLUMNS = 112
TYPED = (
    ("chat", "--user", "alice", "--temperature", "0", "My dog is called Pip. Please say hello to him."),
    ("chat", "--user", "alice", "--temperature", "0", "--conversation", "trip", "What is my dog called?"),
    ("memory", "facts", "--user", "alice"),
)

#: Select Graphic Rendition: the codes that the programs use, as classes of the picture.
CLASSES = {"1": "bold", "2": "dim", "31": "red", "32": "green", "33": "yellow", "34": "blue", "36": "cyan"}
ESCAPE = re.compile(r"\x1b\[([0-9;?]*)([A-Za-z])")

#: Sizes in pixels: of a character and a line in the font below, and around the text.
WIDTH, LINE, MARGIN = 7.8, 18, 16
STYLE = """\
svg {--ink: #1f2328; --paper: #f6f8fa; --line: #d1d9e0; --dim: #59636e; --green: #1a7f37; --yellow: #9a6700;
  --red: #d1242f; --blue: #0969da; --cyan: #1b7c83}
@media (prefers-color-scheme: dark) {svg {--ink: #e6edf3; --paper: #151b23; --line: #3d444d; --dim: #9198a1;
  --green: #3fb950; --yellow: #d29922; --red: #f85149; --blue: #4493f8; --cyan: #39c5cf}}
rect {fill: var(--paper); stroke: var(--line)}
text {font: 13px ui-monospace, SFMono-Regular, Menlo, Consolas, 'Liberation Mono', monospace; fill: var(--ink);
  white-space: pre}
.bold {font-weight: 600}
.dim {fill: var(--dim)}
.green {fill: var(--green)}
.yellow {fill: var(--yellow)}
.red {fill: var(--red)}
.blue {fill: var(--blue)}
.cyan {fill: var(--cyan)}
"""


def main(arguments: list[str]) -> int:
    """Run the programs and write the picture."""
    target = Path(arguments[0]) if arguments else PICTURE
    with tempfile.TemporaryDirectory() as directory:
        shown = session(Path(directory))
    target.write_text(picture(shown), encoding="utf-8")
    return 0


def session(directory: Path) -> list[str]:
    """Return the lines of both terminals; *directory* is where the memory is."""
    ours = ("ILAB_", "OPENAI_", "NO_COLOR")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    # Without spinning threads, the embedded model answers as fast on a busy machine.
    environment |= {"TERM": "xterm-256color", "ILAB_CHAT_PROPAGATION_SECONDS": "0", "GOMP_SPINCOUNT": "0"}
    environment["PATH"] = f"{BIN}{os.pathsep}{environment['PATH']}"
    reading, writing = terminal()
    server = subprocess.Popen(["ilab-chat-server"], cwd=directory, env=environment, stderr=writing)  # noqa: S607
    os.close(writing)
    try:
        started = read(reading, until='say hello to him."\r\n')
        client = [line for command in TYPED for line in typed(command, directory, environment)]
    finally:
        server.terminate()
        after = read(reading)
        server.wait()
    calls = [line for line in lines(after) if re.match(r"\d\d:\d\d:\d\d ", ESCAPE.sub("", line))]
    return [prompt("ilab-chat-server"), *lines(started), *calls, "", *client]


def prompt(command: str) -> str:
    """Return a line that was typed."""
    return f"\x1b[32m$\x1b[0m \x1b[1m{command}\x1b[0m"


def typed(command: tuple[str, ...], directory: Path, environment: dict[str, str]) -> Iterator[str]:
    """Run a command of the client; yield its line and what it prints."""
    yield prompt(" ".join(["ilab-chat", *(f'"{each}"' if " " in each else each for each in command)]))
    reading, writing = terminal()
    with subprocess.Popen(  # noqa: S603
        ["ilab-chat", *command],  # noqa: S607
        cwd=directory,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=writing,
        stderr=writing,
    ):
        os.close(writing)
        yield from lines(read(reading))


def terminal() -> tuple[int, int]:
    """Return the two ends of a new terminal."""
    reading, writing = pty.openpty()
    fcntl.ioctl(writing, termios.TIOCSWINSZ, struct.pack("HHHH", 50, COLUMNS, 0, 0))
    return reading, writing


def read(terminal: int, until: str = "") -> str:
    """Return what is on a terminal, up to *until* or to its end."""
    shown = b""
    # Linux ends a terminal with EIO when its last user has gone.
    with suppress(OSError):
        while not (until and until in shown.decode(errors="replace")):
            shown += os.read(terminal, 4096)
    text = shown.decode(errors="replace")
    if until and until not in text:
        raise SystemExit(f"the server did not start:\n{text}")
    return text


def lines(shown: str) -> list[str]:
    """Return the lines on a terminal, long ones broken as it breaks them."""
    broken = []
    for line in shown.replace("\r\n", "\n").rstrip("\n").split("\n"):
        rest = line
        while len(rest) > COLUMNS and len(ESCAPE.sub("", rest)) > COLUMNS:
            broken.append(rest[:COLUMNS])
            rest = rest[COLUMNS:]
        broken.append(rest)
    return broken


def picture(shown: list[str]) -> str:
    """Return the lines of a terminal as an SVG."""
    width, height = COLUMNS * WIDTH + 2 * MARGIN, len(shown) * LINE + 2 * MARGIN
    rows = "\n".join(
        f'<text x="{MARGIN}" y="{MARGIN + LINE * number + 13}">{spans(line)}</text>'
        for number, line in enumerate(shown)
    )
    text = html.escape("\n".join(ESCAPE.sub("", line) for line in shown))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}"'
        f' height="{height:g}" role="img">\n'
        f"<title>A terminal: the server starts, two messages are answered, and the facts are listed</title>\n"
        f"<desc>{text}</desc>\n<style>\n{STYLE}</style>\n"
        f'<rect x="0.5" y="0.5" width="{width - 1:g}" height="{height - 1:g}" rx="8"/>\n{rows}\n</svg>\n'
    )


def spans(line: str) -> str:
    """Return a line as text of an SVG, its escape sequences as classes."""
    made: list[str] = []
    active: list[str] = []
    place = 0
    for found in [*ESCAPE.finditer(line), None]:
        piece = html.escape(line[place : found.start() if found else len(line)], quote=False)
        if piece:
            made.append(f'<tspan class="{" ".join(active)}">{piece}</tspan>' if active else piece)
        if found:
            place = found.end()
            if found[2] == "m":
                codes = [code for code in found[1].split(";") if code not in {"", "0"}]
                active = [*active, *(CLASSES[code] for code in codes if code in CLASSES)] if codes else []
    return "".join(made)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
