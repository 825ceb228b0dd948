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

OF = ("floor", "recipe", "mem0", "direct", "ours")
#: Those that ours is compared with.
OTHERS = tuple(each for each in OF if each != "ours")

#: Function that returns the median of a figure of a contestant. Raises KeyError if it was not measured.
Median: TypeAlias = Callable[[str, str], float]


@dataclass(frozen=True, slots=True)
class Target:
    """A target for a figure that is computed from medians, and why it is missed if it is."""

    what: str
    bound: float
    value: Callable[[Median], float]
    at_least: bool = False
    reason: Callable[[Median], str] | None = None
    """Returns the measured reason of a miss. Raises KeyError if its figures were not measured."""

    def met(self, value: float) -> bool:
        """Return whether *value* is within the bound."""
        return value >= self.bound if self.at_least else value <= self.bound


def ratio(what: str, other: str) -> Callable[[Median], float]:
    """Return a function that computes our figure divided by that of *other*."""
    return lambda median: median(what, "ours") / median(what, other)


def ours(what: str) -> Callable[[Median], float]:
    """Return a function that looks up our figure."""
    return lambda median: median(what, "ours")


def speed_up(memory: str = "") -> Callable[[Median], float]:
    """Return a function that computes the throughput of two workers divided by that of one."""
    return lambda median: median(f"turns/s, 2 workers{memory}", "ours") / median(f"turns/s, 1 worker{memory}", "ours")


TURN = "CPU ms per turn at 64 callers"
LOOP = "of these on the event loop, at 64 callers"
SWITCHES = "context switches per turn at 64 callers"
AT_ONCE = "CPU us per token (400 tokens, at once)"
SHORT = "CPU us per token (40 tokens, at once)"
STREAM_KIB = "KiB per open stream beyond 100"
ADDED = "added p50 latency, ms, at {} callers"
#: Number of tokens of the two kinds of streams that arrive at once.
FEW, MANY = 40, 400


def why_turn(median: Median) -> str:
    """Divide the CPU of a turn between the event loop and the threads."""
    recipe, loop = median(TURN, "recipe"), median(LOOP, "ours")
    threads = median(TURN, "ours") - loop
    return (
        f"the event loop takes {loop / recipe:.2f} of the recipe's CPU, and threads {threads / recipe:.2f}, for search,"
        " the last turns, idempotency and a durable save"
    )


def why_stream(other: str) -> Callable[[Median], str]:
    """Return a function that divides the CPU of a stream between the turn and its tokens."""

    def why(median: Median) -> str:
        few, many = (median(what, "ours") for what in (SHORT, AT_ONCE))
        token = (many * MANY - few * FEW) / (MANY - FEW)
        theirs = median(SHORT, other)
        return (
            f"{few - token:.0f} of {few:.0f} us are the turn's own cost divided by {FEW} tokens, and a token takes"
            f" {token:.0f} us; {other}: {theirs:.0f} us"
        )

    return why


def why_latency(median: Median) -> str:
    """Tell the added latency without load, and how busy the process is with it."""
    alone, turn = median(ADDED.format(1), "ours"), median(TURN, "ours")
    # Each of 32 callers gets an answer every 200 ms and what is added.
    load = 32 / (200 + median(ADDED.format(32), "ours")) * turn
    return f"one caller alone waits {alone:.1f} ms; 32 callers need {load:.0%} of a core"


def why_memory(median: Median) -> str:
    """Tell what the floor takes."""
    floor = median(STREAM_KIB, "floor")
    return f"gRPC takes {floor:.0f} KiB (the floor); docs/performance.md divides the rest"


def why_switches(median: Median) -> str:
    """Tell what the floor and the recipe take."""
    floor, recipe = median(SWITCHES, "floor"), median(SWITCHES, "recipe")
    return f"the floor has {floor:.0f} and the recipe {recipe:.0f}; the others are visits to threads and the commit"


def why_start(median: Median) -> str:
    """Tell the CPU time of the start."""
    used, recipe = (median("CPU s of the start", of) for of in ("ours", "recipe"))
    return f"it takes {used:.2f} s of CPU, mostly imports; the recipe takes {recipe:.2f} s"


def why_workers(memory: str = "") -> Callable[[Median], str]:
    """Return a function that tells the maximum `speed_up` on two cores that also run the load and the model.

    With one worker, the worker saturates one core, and the load and the model use part of the other. Two workers share
    both cores with the load and the model.
    """

    def why(median: Median) -> str:
        worker, others = (median(f"CPU ms per turn{of}, 1 worker{memory}", "ours") for of in ("", " of load and model"))
        used = median(f"CPU ms per turn, 2 workers{memory}", "ours")
        most = "" if memory else f"on two cores at most {2 * worker / (worker + others):.2g}: "
        database = ", besides the database" if memory else ""
        their = f"load and model take {others:.1f} ms of CPU per turn{database}"
        return f"{most}{their}, one worker {worker:.1f} and two {used:.1f}"

    return why


TARGETS = (
    Target("CPU per unary turn, ours / recipe, 64 callers", 0.9, ratio(TURN, "recipe"), reason=why_turn),
    Target("CPU per token of 40, ours / recipe", 0.35, ratio(SHORT, "recipe"), reason=why_stream("recipe")),
    Target("CPU per token of 40, ours / floor", 2.0, ratio(SHORT, "floor"), reason=why_stream("floor")),
    Target("CPU per token of 400, ours / recipe", 0.30, ratio(AT_ONCE, "recipe"), reason=why_stream("recipe")),
    Target("CPU per token of 400, ours / floor", 2.5, ratio(AT_ONCE, "floor"), reason=why_stream("floor")),
    Target("added p50 latency, ms, 200 ms upstream, 32 callers", 3, ours(ADDED.format(32)), reason=why_latency),
    Target(
        "added p50 time to first token, ms, same load",
        5,
        ours("added p50 time to first token, ms, at 32 callers"),
        reason=why_latency,
    ),
    Target("KiB per open stream beyond the first 100", 50, ours(STREAM_KIB), reason=why_memory),
    Target("context switches per turn, 64 callers", 20, ours(SWITCHES), reason=why_switches),
    Target("import and start to SERVING, s", 0.6, ours("start to SERVING, s"), reason=why_start),
    Target("turns/s, 2 workers / 1, SQLite", 1.6, speed_up(), at_least=True, reason=why_workers()),
    Target(
        "turns/s, 2 workers / 1, PostgreSQL",
        1.6,
        speed_up(" on PostgreSQL"),
        at_least=True,
        reason=why_workers(" on PostgreSQL"),
    ),
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
    print("".join(f"{'/' + name:>9}" for name in OTHERS))
    for what, row in table.items():
        print(f"{what:<48}" + "".join(shown(row.get(name), 10) for name in OF), end="")
        # The ratio to a difference close to zero is meaningless.
        print("".join(shown(quotient(row, name), 9) for name in OTHERS))


def print_targets(table: dict[str, dict[str, float]]) -> None:
    """Print each target with the measured value, if there is one, and the reason of each miss."""
    print(f"\n{'target':<56}{'bound':>12}{'measured':>12}")
    for target, value in values_of(table):
        bound = f"{'>=' if target.at_least else '<='} {target.bound:.3g}"
        verdict = "not measured" if value is None else "met" if target.met(value) else "MISSED"
        print(f"{target.what:<56}{bound:>12}{shown(value, 12)}  {verdict}")
        if value is not None and not target.met(value) and (reason := reason_of(target, table)):
            print(f"    {reason}")


def reason_of(target: Target, table: dict[str, dict[str, float]]) -> str:
    """Return why *target* is missed. Empty: not known, or not measured."""
    try:
        return target.reason(lambda what, of: table[what][of]) if target.reason else ""
    except (KeyError, ZeroDivisionError):
        return ""


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
        {
            "what": target.what,
            "bound": target.bound,
            "value": value,
            "met": value is not None and target.met(value),
            "reason": reason_of(target, table),
        }
        for target, value in values_of(table)
    ]
    every = {what: {of: runs[what, of] for of in row} for what, row in table.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"machine": before, "targets": targets, "medians": table, "runs": every}, indent=1))
