"""The picture in the documentation is that of the current page: taken again, it has the same size and as much on it."""

from __future__ import annotations

import importlib.util
import struct
from pathlib import Path
from typing import Any

import pytest

from upstream import Upstream

pytestmark = pytest.mark.process

ROOT = Path(__file__).parents[2]
DOCUMENTED = ROOT / "docs/playground.png"


def script() -> Any:
    """Return tools/screenshots.py as a module."""
    spec = importlib.util.spec_from_file_location("screenshots", ROOT / "tools/screenshots.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def size(file: Path) -> tuple[int, int]:
    # The first chunk: https://www.w3.org/TR/png-3/#11IHDR
    data = file.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", data[16:24])
    return width, height


async def test_picture_of_the_playground_is_current(address: str, upstream: Upstream, tmp_path: Path) -> None:
    screenshots = script()
    taken = await screenshots.take(tmp_path, address, upstream)
    assert size(taken) == size(DOCUMENTED) == (screenshots.WIDTH, screenshots.HEIGHT)
    # Dates and fonts differ; a page that is empty, or shows an error, has less than half of it.
    assert 0.5 < taken.stat().st_size / DOCUMENTED.stat().st_size < 2


def test_docs_show_the_picture() -> None:
    assert "](playground.png)" in (ROOT / "docs/gateway.md").read_text()
    assert DOCUMENTED.stat().st_size < 300_000
