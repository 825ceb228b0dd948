"""The documentation as its tests read it: pages, and the blocks of code in them."""

import os
import re
import subprocess
import sys
from pathlib import Path

from contract.process import BIN, ROOT, Served

ADDRESS = "127.0.0.1:50051"

#: Pages whose examples run as they are against a server without TLS.
RUNNABLE = (
    "README.md",
    "docs/quickstart.md",
    "docs/concepts.md",
    "docs/clients/index.md",
    "docs/clients/python.md",
    "docs/clients/node.md",
)


def page(name: str) -> str:
    return (ROOT / name).read_text()


def blocks(name: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page(name), re.MULTILINE | re.DOTALL)


def run(
    command: list[str | Path],
    served: Served,
    script: str = "",
    *,
    cwd: Path = ROOT,
    variables: dict[str, str] | None = None,
) -> str:
    """Run *command* with the documentation's address replaced by that of the server under test; return its output."""
    ended = subprocess.run(
        [str(argument).replace(ADDRESS, served.address) for argument in command],
        input=script.replace(ADDRESS, served.address),
        env=os.environ
        | {"NODE_PATH": str(ROOT / "tests/contract/node/node_modules"), "PATH": f"{BIN}:{os.environ['PATH']}"}
        | (variables or {}),
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def python(served: Served, script: str) -> str:
    return run([sys.executable, "-W", "error", "-"], served, script)
