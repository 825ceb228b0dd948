"""The two charts of docs/performance.md: latency against load, and memory against open streams."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import matplotlib as mpl
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes

NAMES = ("floor", "recipe", "direct", "ours")


def draw(table: dict[str, dict[str, float]], path: Path) -> None:
    """Draw the figures of *table* into the SVG file *path*."""
    mpl.rcParams["svg.hashsalt"] = "ilab-chat"  # makes the file reproducible
    figure = Figure(figsize=(10, 4), layout="constrained")
    load, memory = figure.subplots(1, 2)
    lines(load, table, r"p50 latency, ms, at (\d+) callers", "callers", "p50 latency, ms (the model takes 200)")
    lines(memory, table, r"peak RSS MiB at (\d+) streams", "open streams", "peak RSS, MiB")
    figure.savefig(path, metadata={"Date": None})


def lines(axes: Axes, table: dict[str, dict[str, float]], pattern: str, x_label: str, y_label: str) -> None:
    """Draw one line per contestant through the figures whose names match *pattern*."""
    found = [(int(match[1]), row) for what, row in table.items() if (match := re.fullmatch(pattern, what))]
    for number, name in enumerate(NAMES):
        points = sorted((at, row[name]) for at, row in found if name in row)
        if points:
            # The same colour in both charts.
            axes.plot(*zip(*points, strict=True), marker="o", label=name, color=f"C{number}")
    axes.set_xscale("log", base=2)
    axes.set_xticks(measured := sorted({at for at, _ in found}), map(str, measured))
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.set_ylim(bottom=0)
    axes.grid(visible=True, alpha=0.3)
    if found:
        axes.legend()
