"""Report the measurements and targets as a table and as JSON."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from comparison.measure import Runs

OF = ("floor", "recipe", "direct", "ours")

#: Function that returns the median of a figure of a contestant. Raises KeyError if it was not measured.
Median: TypeAlias = Callable[[str, str], float]


@dataclass(frozen=True, slots=True)
class Target:
    """A target for a figure that is computed from medians."""

    what: str
    bound: float
    value: Callable[[Median], float]
    at_least: bool = False

    def met(self, value: float) -> bool:
        """Return whether *value* is within the bound."""
        return value >= self.bound if self.at_least else value <= self.bound


def ratio(what: str, other: str) -> Callable[[Median], float]:
    """Return a function that computes our figure divided by that of *other*."""
    return lambda median: median(what, "ours") / median(what, other)


def ours(what: str) -> Callable[[Median], float]:
    """Return a function that looks up our figure."""
    return lambda median: median(what, "ours")


def speed_up(median: Median) -> float:
    """Return the throughput of two workers divided by that of one."""
    return median("turns/s, 2 workers", "ours") / median("turns/s, 1 worker", "ours")


def max_speed_up(table: dict[str, dict[str, float]]) -> float | None:
    """Return the maximum `speed_up` on two cores that also run the load generator and the model. None: not measured.

    With one worker, the worker saturates one core, and the load and the model use part of the other. Two workers share
    both cores with the load and the model.
    """
    try:
        worker, others = (table[f"CPU ms per turn{of}, 1 worker"]["ours"] for of in ("", " of load and model"))
    except KeyError:
        return None
    return 2 * worker / (worker + others)


AT_ONCE = "CPU us per token (400 tokens, at once)"
PACED = "CPU us per token (400 tokens, paced)"
ADDED = "added p50 latency, ms, at 32 callers"

TARGETS = (
    Target("CPU per streamed token, ours / recipe, tokens at once", 0.30, ratio(AT_ONCE, "recipe")),
    Target("the same, tokens 5 ms apart", 0.30, ratio(PACED, "recipe")),
    Target("CPU per streamed token, ours / floor, tokens at once", 2.5, ratio(AT_ONCE, "floor")),
    Target("the same, tokens 5 ms apart", 2.5, ratio(PACED, "floor")),
    Target("CPU per unary turn, ours / recipe, 64 callers", 0.60, ratio("CPU ms per turn at 64 callers", "recipe")),
    Target("durable turns/s, ours / recipe, 64 callers", 5, ratio("turns/s at 64 callers", "recipe"), at_least=True),
    Target("added p50 latency, ms, 200 ms upstream, 32 callers", 5, ours(ADDED)),
    Target("the same, ours / recipe", 1 / 3, ratio(ADDED, "recipe")),
    Target("added p50 time to first token, ms, same load", 5, ours("added p50 time to first token, ms, at 32 callers")),
    Target("KiB per open stream beyond the first 100", 60, ours("KiB per open stream beyond 100")),
    Target("turns/s, 2 workers / 1 worker, two free cores", 1.7, speed_up, at_least=True),
    Target("import and start to SERVING, s", 1.0, ours("start to SERVING, s")),
)


def medians(runs: Runs) -> dict[str, dict[str, float]]:
    """Return the median of the runs by figure and contestant."""
    table: dict[str, dict[str, float]] = {}
    for (what, of), values in runs.items():
        table.setdefault(what, {})[of] = statistics.median(values)
    return table


def print_table(table: dict[str, dict[str, float]]) -> None:
    """Print every figure, and the ratios of ours to the others."""
    print(f"\n{'median of the runs, or the one run':<48}" + "".join(f"{name:>10}" for name in OF), end="")
    print("".join(f"{'/' + name:>9}" for name in OF[:3]))
    for what, row in table.items():
        print(f"{what:<48}" + "".join(shown(row.get(name), 10) for name in OF), end="")
        # The ratio to a difference close to zero is meaningless.
        print("".join(shown(quotient(row, name), 9) for name in OF[:3]))


def print_targets(table: dict[str, dict[str, float]]) -> None:
    """Print each target with the measured value, if there is one."""
    print(f"\n{'target':<60}{'bound':>12}{'measured':>12}")
    for target, value in values_of(table):
        bound = f"{'>=' if target.at_least else '<='} {target.bound:.3g}"
        verdict = "not measured" if value is None else "met" if target.met(value) else "MISSED"
        print(f"{target.what:<60}{bound:>12}{shown(value, 12)}  {verdict}")
    if (limit := max_speed_up(table)) is not None:
        print(f"On two cores that also run the load and the model, the speed-up of two workers is at most {limit:.2g}.")


def values_of(table: dict[str, dict[str, float]]) -> list[tuple[Target, float | None]]:
    """Return each target with its value. None: not measured."""

    def value_of(target: Target) -> float | None:
        try:
            return target.value(lambda what, of: table[what][of])
        except (KeyError, ZeroDivisionError):
            return None

    return [(target, value_of(target)) for target in TARGETS]


def quotient(row: dict[str, float], other: str) -> float | None:
    """Return our figure divided by that of *other*. None: one was not measured."""
    return row["ours"] / row[other] if row.get(other, 0) > 0 and "ours" in row else None


def shown(value: float | None, width: int) -> str:
    """Return a figure with three significant digits."""
    if value is None:
        return f"{'-':>{width}}"
    return f"{value:>{width},.0f}" if abs(value) >= 100 else f"{value:>{width}.3g}"  # noqa: PLR2004 - three digits


def machine() -> dict[str, object]:
    """Return a description of this machine."""
    cpus = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "cpu": cpus[0].partition(": ")[2] if cpus else platform.processor(),
        "cores": os.cpu_count(),
        "load before": os.getloadavg()[0],
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def write_json(path: Path, runs: Runs, before: dict[str, object]) -> None:
    """Write every run, the medians and the targets to *path*."""
    table = medians(runs)
    targets = [
        {"what": target.what, "bound": target.bound, "value": value, "met": value is not None and target.met(value)}
        for target, value in values_of(table)
    ]
    every = {what: {of: runs[what, of] for of in row} for what, row in table.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"machine": before, "targets": targets, "medians": table, "runs": every}, indent=1))
