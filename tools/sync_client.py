"""Generate the sync client from the asyncio client: `python tools/sync_client.py` writes, `--check` compares.

Only spelling differs between the two: `await`, `async with`, the names below. Everything else that differs is in
`ilab_chat/_connection.py`, which is written by hand.
"""

import argparse
import ast
import re
import subprocess
import sys
from pathlib import Path

CLIENT = Path(__file__).parents[1] / "client" / "ilab_chat"
MODULES = {"aio_memory": "sync_memory", "aio": "sync"}
HEADER = "# Generated from {source}.py by make generate; do not edit.\n"

SPELLINGS = (
    (r" *# noqa: ASYNC\d+.*", ""),
    (r"\basync (?=def|with|for\b)", ""),
    (r"\bawait ", ""),
    (r"\bgrpc\.aio\b", "grpc"),
    (r"\bAsync(?=[A-Z])", ""),
    (r"\basync_(?=[a-z])", ""),
    (r"\b(__)?a(close|enter|exit|iter|next)\b", r"\1\2"),
    (r"\b__a(enter|exit|iter|next)__", r"__\1__"),
    (r"\bStopAsyncIteration\b", "StopIteration"),
    (r"\bilab_chat\.aio_memory\b", "ilab_chat.sync_memory"),
)

SENTENCES = {
    # Each must occur in a module: a sentence that was reworded there needs a new counterpart here.
    "The client for asyncio. `sync`, for code without an event loop, is generated from this module.": (
        "The client for code without an event loop."
    ),
    "The memory client for asyncio. `sync_memory`, for code without an event loop, is generated from this module.": (
        "The memory client for code without an event loop."
    ),
    "A chat that remembers, from asyncio.": "A chat that remembers.",
    "Connects on the first call and belongs to the event loop of that call. Any number of tasks may share it.": (
        "Connects on the first call. Any number of threads may share it. Create it after a fork, not before."
    ),
    "Cancelling the task cancels the call, and the service stops.": (
        "Closing the client from another thread cancels the call, and the service stops."
    ),
    "by one task.": "by one thread.",
}


def main() -> int:
    """Write the sync modules, or compare them: 1 if one is out of date."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="Write nothing; fail if a sync module is out of date.")
    parser.add_argument("--client", type=Path, default=CLIENT, help="Folder of the package ilab_chat.")
    options = parser.parse_args()
    sources = {source: (options.client / f"{source}.py").read_text() for source in MODULES}
    for sentence in SENTENCES:
        if not any(sentence in text for text in sources.values()):
            sys.exit(f"tools/sync_client.py: no asyncio module contains: {sentence}")
    outdated = False
    for source, target in MODULES.items():
        path = options.client / f"{target}.py"
        text = _formatted(HEADER.format(source=source) + to_sync(sources[source]), path)
        _check_sync(text, target)
        if not options.check:
            path.write_text(text)
        elif path.read_text() != text:
            print(f"{path} is not what {source}.py says: run make generate", file=sys.stderr)
            outdated = True
    return int(outdated)


def to_sync(text: str) -> str:
    """Return a module in its sync spelling."""
    for sentence, counterpart in SENTENCES.items():
        text = text.replace(sentence, counterpart)
    for pattern, spelling in SPELLINGS:
        text = re.sub(pattern, spelling, text)
    return text


def _formatted(text: str, path: Path) -> str:
    ruff = [sys.executable, "-m", "ruff"]
    for command in (["check", "--quiet", "--select", "I", "--fix"], ["format", "--quiet"]):
        arguments = [*ruff, *command, "--stdin-filename", str(path), "-"]
        text = subprocess.run(arguments, input=text, stdout=subprocess.PIPE, text=True, check=True).stdout  # noqa: S603
    return text


def _check_sync(text: str, module: str) -> None:
    """Exit if asyncio is left in a generated module: a spelling is missing in this script."""
    for node in ast.walk(ast.parse(text)):
        names = [getattr(node, field, None) for field in ("id", "attr", "name", "module")]
        left = [
            name
            for name in names
            if isinstance(name, str) and re.search(r"aio|async|^a(iter|next)$", name, re.IGNORECASE)
        ]
        if left or isinstance(node, ast.Await | ast.AsyncFor | ast.AsyncWith | ast.AsyncFunctionDef):
            line = getattr(node, "lineno", "?")
            sys.exit(f"tools/sync_client.py: {module}, line {line}: asyncio is left: {left or type(node).__name__}")


if __name__ == "__main__":
    sys.exit(main())
