"""The two charts of docs/performance.md: latency against load, and memory against open streams."""

from __future__ import annotations

import re
from io import StringIO
from typing import TYPE_CHECKING

import matplotlib as mpl
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes

#: The programs, as a reader knows them who has seen no other page.
NAMES = {
    "floor": "bare gRPC, which does nothing",
    "recipe": "the recipe: FastAPI in one file",
    "direct": "the openai package, no service",
    "ours": "ilab-chat",
}

#: The colours of a light and a dark page. https://developer.mozilla.org/docs/Web/CSS/@media/prefers-color-scheme
STYLE = """<style type="text/css">
:root {--ink: #1f2328; --paper: #ffffff; --grid: #d1d9e0}
@media (prefers-color-scheme: dark) {:root {--ink: #e6edf3; --paper: #0d1117; --grid: #3d444d}}
text {fill: var(--ink)}
</style>"""
COLORS = {"#000000": "var(--ink)", "#ffffff": "var(--paper)", "#b0b0b0": "var(--grid)", "#cccccc": "var(--grid)"}


def draw(table: dict[str, dict[str, float]], path: Path) -> None:
    """Draw the figures of *table* into the SVG file *path*, which is readable on light and dark pages."""
    mpl.rcParams["svg.hashsalt"] = "ilab-chat"  # makes the file reproducible
    mpl.rcParams["svg.fonttype"] = "none"
    figure = Figure(figsize=(10, 4.4), layout="constrained")
    load, memory = figure.subplots(1, 2)
    load.set_title(
        "How long a whole answer takes; lower is better\n(median, of which the model takes 200 ms)", fontsize=11
    )
    lines(load, table, r"p50 latency, ms, at (\d+) callers", "callers at once", "milliseconds")
    memory.set_title("How much memory open streams take; lower is better\n(peak of the server's process)", fontsize=11)
    lines(memory, table, r"peak RSS MiB at (\d+) streams", "open streams at once", "MiB")
    drawn = StringIO()
    figure.savefig(drawn, format="svg", metadata={"Date": None})
    path.write_text(for_both_pages(drawn.getvalue()), encoding="utf-8")


def for_both_pages(svg: str) -> str:
    """Return the SVG with colours that follow the page."""
    for color, variable in COLORS.items():
        svg = svg.replace(color, variable)
    return svg.replace(" <defs>", f" {STYLE}\n <defs>", 1)


def lines(axes: Axes, table: dict[str, dict[str, float]], pattern: str, x_label: str, y_label: str) -> None:
    """Draw one line per contestant through the figures whose names match *pattern*."""
    found = [(int(match[1]), row) for what, row in table.items() if (match := re.fullmatch(pattern, what))]
    for number, (name, words) in enumerate(NAMES.items()):
        points = sorted((at, row[name]) for at, row in found if name in row)
        if points:
            # The same colour in both charts.
            axes.plot(*zip(*points, strict=True), marker="o", label=words, color=f"C{number}")
    axes.set_xscale("log", base=2)
    axes.set_xticks(measured := sorted({at for at, _ in found}), map(str, measured))
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.set_ylim(bottom=0)
    axes.grid(visible=True, alpha=0.3)
    if found:
        axes.legend()
