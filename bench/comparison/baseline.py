"""Compare ratios of CPU with those in bench/baseline.json."""

from __future__ import annotations

import json
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

BASELINE = Path(__file__).parent.parent / "baseline.json"

#: A ratio may grow by this share over the baseline.
MAX_LOSS = 0.15

#: Costs of one kind of work by program, one for each round.
Costs = dict[str, dict[str, list[float]]]


@dataclass(frozen=True, slots=True)
class Compared:
    """A ratio in the baseline, and now."""

    what: str
    then: float
    now: float

    @property
    def limit(self) -> float:
        """The largest ratio that is not a loss."""
        return self.then * (1 + MAX_LOSS)

    @property
    def is_lost(self) -> bool:
        """Return whether the ratio is over its limit."""
        return self.now > self.limit


def ratios(costs: Costs, of: Sequence[tuple[str, str]]) -> dict[str, float]:
    """Return the ratios of ours to another program, the median of all rounds, for each pair of work and program.

    Both costs of a round were measured one after the other, so a slow moment of the machine changes their ratio little.
    """
    return {
        f"{work} / {other}": statistics.median(
            ours / theirs for ours, theirs in zip(costs[work]["ours"], costs[work][other], strict=True)
        )
        for work, other in of
    }


def add(costs: Costs, more: Costs) -> None:
    """Add the rounds of *more* to *costs*."""
    for work, by_program in more.items():
        for program, rounds in by_program.items():
            costs.setdefault(work, {}).setdefault(program, []).extend(rounds)


def compared(then: Mapping[str, float], now: Mapping[str, float]) -> list[Compared]:
    """Return each ratio of *then* with its value in *now*.

    Raises:
        KeyError: *now* lacks a ratio of *then*. A ratio that was removed must not pass unnoticed.
    """
    return [Compared(what, value, now[what]) for what, value in then.items()]


def table(rows: Sequence[Compared]) -> str:
    """Return the ratios as a table."""
    lines = [f"{'ratio of ours to another program':<44}{'then':>8}{'now':>8}{'limit':>8}"]
    for row in rows:
        verdict = "LOST" if row.is_lost else "kept"
        lines.append(f"{row.what:<44}{row.then:>8.3g}{row.now:>8.3g}{row.limit:>8.3g}  {verdict}")
    return "\n".join(lines)


def python() -> str:
    """Return the version of Python that ratios depend on."""
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def written(now: Mapping[str, float]) -> str:
    """Return the text of a baseline of the ratios *now*."""
    rounded = {what: float(f"{value:.3g}") for what, value in now.items()}
    return json.dumps({"python": python(), "ratios": rounded}, indent=1) + "\n"
