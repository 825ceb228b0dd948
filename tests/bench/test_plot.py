"""The charts of docs/performance.md."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from contract.process import ROOT


def load_plot() -> Any:
    spec = importlib.util.spec_from_file_location("plot", ROOT / "bench/comparison/plot.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


TABLE = {
    "p50 latency, ms, at 1 callers": {"recipe": 3.0, "direct": 1.0, "ours": 2.0},
    "p50 latency, ms, at 8 callers": {"recipe": 4.0, "direct": 2.0, "ours": 3.0},
    "peak RSS MiB at 1 streams": {"floor": 1.0, "ours": 2.0},
    "peak RSS MiB at 100 streams": {"floor": 2.0, "ours": 3.0},
}


def test_chart_says_in_words_what_is_compared_on_light_and_dark_pages(tmp_path: Path) -> None:
    # Not when the module is imported, by each test process: matplotlib is large.
    plot = load_plot()
    plot.draw(TABLE, tmp_path / "chart.svg")
    for path in (tmp_path / "chart.svg", ROOT / "docs/performance.svg"):
        svg = path.read_text()
        for words in ("lower is better", "callers at once", *plot.NAMES.values()):
            assert words in svg
        assert "prefers-color-scheme: dark" in svg
        assert not any(color in svg.partition("</style>")[2] for color in plot.COLORS)
