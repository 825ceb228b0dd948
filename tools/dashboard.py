"""Make deploy/observability/dashboard.json, the dashboard for Grafana, or check that it is current.

python tools/dashboard.py [--check]
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT = Path(__file__).resolve().parent.parent
FILE = ROOT / "deploy/observability/dashboard.json"

COLUMNS, WIDTH, HEIGHT = 24, 8, 8

#: Selects the installations and servers that the viewer has chosen.
CHOSEN = 'job=~"$job", instance=~"$instance"'


@dataclass(frozen=True, slots=True)
class Panel:
    """One graph."""

    title: str
    unit: str
    """A unit of Grafana: https://github.com/grafana/grafana/blob/main/packages/grafana-data/src/valueFormats/categories.ts"""
    queries: tuple[tuple[str, str], ...]
    """Queries and legends. `$s` in a query stands for what the viewer has chosen."""


def share(metric: str, more: str, by: str) -> str:
    """Return the query of a rate, summed."""
    return f"sum by ({by}) (rate({metric}{{$s{more}}}[$__rate_interval]))"


def quantile(share_of: float, metric: str, by: str = "", more: str = "") -> str:
    """Return the query of a quantile of a histogram."""
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({share_of}, sum by ({labels}) (rate({metric}_bucket{{$s{more}}}[$__rate_interval])))"


ROWS: dict[str, tuple[Panel, ...]] = {
    "Calls": (
        Panel(
            "Calls by method", "reqps", ((share("ilab_chat_rpc_duration_seconds_count", "", "method"), "{{method}}"),)
        ),
        Panel("Errors by reason", "reqps", ((share("ilab_chat_rpc_errors_total", "", "reason"), "{{reason}}"),)),
        Panel(
            "Duration of chats",
            "s",
            tuple(
                (
                    quantile(each, "ilab_chat_rpc_duration_seconds", "", ', method=~".*ChatService/.*"'),
                    f"p{each * 100:g}",
                )
                for each in (0.5, 0.95, 0.99)
            ),
        ),
        Panel("Calls in flight", "short", (("sum by (method) (ilab_chat_rpc_in_flight{$s})", "{{method}}"),)),
        Panel(
            "Slots",
            "short",
            (
                ("sum by (kind) (ilab_chat_admission_running{$s})", "{{kind}} running"),
                ("sum by (kind) (ilab_chat_admission_waiting{$s})", "{{kind}} waiting"),
            ),
        ),
        Panel(
            "Refused calls and replays",
            "reqps",
            (
                (share("ilab_chat_admission_refused_total", "", "limit"), "refused: {{limit}}"),
                ("sum(rate(ilab_chat_idempotent_replays_total{$s}[$__rate_interval]))", "replayed"),
            ),
        ),
    ),
    "Models": (
        Panel(
            "Time to first token",
            "s",
            (
                (quantile(0.5, "ilab_chat_model_time_to_first_token_seconds", "model"), "{{model}} p50"),
                (quantile(0.95, "ilab_chat_model_time_to_first_token_seconds", "model"), "{{model}} p95"),
            ),
        ),
        Panel(
            "Duration of model calls",
            "s",
            ((quantile(0.95, "ilab_chat_model_duration_seconds", "model, purpose"), "{{model}} {{purpose}} p95"),),
        ),
        Panel(
            "Requests by outcome",
            "reqps",
            ((share("ilab_chat_model_requests_total", "", "model, outcome"), "{{model}} {{outcome}}"),),
        ),
        Panel(
            "Tokens",
            "short",
            ((share("ilab_chat_model_tokens_total", "", "model, purpose, type"), "{{model}} {{purpose}} {{type}}"),),
        ),
        Panel(
            "Open circuit breakers",
            "short",
            (("sum by (model, purpose) (ilab_chat_model_breaker_open{$s})", "{{model}} {{purpose}}"),),
        ),
    ),
    "Memory": (
        Panel(
            "Hydrate and persist",
            "s",
            (
                (quantile(0.95, "ilab_chat_memory_hydrate_seconds"), "hydrate p95"),
                (quantile(0.95, "ilab_chat_memory_persist_seconds"), "persist p95"),
            ),
        ),
        Panel("Memories in prompts", "short", ((share("ilab_chat_memory_hits_total", "", "source"), "{{source}}"),)),
        Panel(
            "Threads",
            "short",
            (
                ("sum by (pool) (ilab_chat_store_pool_busy{$s})", "{{pool}} busy"),
                ("sum by (pool) (ilab_chat_store_pool_waiting{$s})", "{{pool}} waiting"),
            ),
        ),
        Panel("Size", "bytes", (("max(ilab_chat_store_size_bytes{$s})", "size"),)),
        Panel(
            "Observations to embed", "short", (("max(ilab_chat_embedding_pending_observations{$s})", "observations"),)
        ),
        Panel("Unfinished erasures", "short", (("max(ilab_chat_erasures_pending{$s})", "erasures"),)),
    ),
    "Consolidation": (
        Panel(
            "Users that wait",
            "short",
            (
                ("max(ilab_chat_consolidation_pending_users{$s})", "pending"),
                ("max(ilab_chat_consolidation_dead_users{$s})", "given up"),
            ),
        ),
        Panel("Oldest turn that waits", "s", (("max(ilab_chat_consolidation_oldest_seconds{$s})", "oldest"),)),
        Panel("Events", "short", ((share("ilab_chat_consolidation_events_total", "", "event"), "{{event}}"),)),
        Panel("Tokens today", "short", (("max(ilab_chat_consolidation_tokens_today{$s})", "tokens"),)),
    ),
    "Processes": (
        Panel("CPU", "percentunit", ((share("ilab_chat_process_cpu_seconds_total", "", "instance"), "{{instance}}"),)),
        Panel("Memory", "bytes", (("ilab_chat_process_resident_memory_bytes{$s}", "{{instance}}"),)),
        Panel(
            "Descriptors",
            "percentunit",
            (("ilab_chat_process_open_fds{$s} / ilab_chat_process_max_fds{$s}", "{{instance}}"),),
        ),
        Panel(
            "Certificate expires in",
            "s",
            (("ilab_chat_tls_certificate_not_after_timestamp_seconds{$s} - time()", "{{instance}}"),),
        ),
        Panel("Ready", "short", (("ilab_chat_ready{$s}", "{{instance}}"),)),
        Panel(
            "Restarted workers",
            "short",
            (("sum by (instance) (increase(ilab_chat_worker_restarts_total{$s}[1h]))", "{{instance}}"),),
        ),
    ),
}


def main(arguments: Sequence[str]) -> int:
    """Write the dashboard, or compare it; return the exit code."""
    parser = argparse.ArgumentParser(description="Make the dashboard for Grafana.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if the dashboard differs")
    text = json.dumps(dashboard(), indent=2) + "\n"
    if not parser.parse_args(arguments).check:
        FILE.write_text(text, encoding="utf-8")
        return 0
    if FILE.is_file() and FILE.read_text(encoding="utf-8") == text:
        return 0
    sys.stderr.write(f"{FILE.relative_to(ROOT)} is not current: run python tools/dashboard.py\n")
    return 1


def queries() -> Iterator[str]:
    """Yield every query of the dashboard."""
    for panels in ROWS.values():
        for panel in panels:
            for query, _ in panel.queries:
                yield query.replace("$s", CHOSEN)


def dashboard() -> dict[str, Any]:
    """Return the dashboard in Grafana's JSON model."""
    return {
        "uid": "ilab-chat",
        "title": "ilab-chat",
        "tags": ["ilab-chat"],
        "schemaVersion": 39,
        "editable": True,
        "timezone": "browser",
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {"list": [datasource(), variable("job", ""), variable("instance", 'job=~"$job"')]},
        "annotations": {"list": [restarts()]},
        "panels": list(placed()),
    }


def placed() -> Iterator[dict[str, Any]]:
    """Yield the rows and their panels, three side by side."""
    number = bottom = 0
    for title, panels in ROWS.items():
        number += 1
        yield {
            "id": number,
            "type": "row",
            "title": title,
            "collapsed": False,
            "gridPos": {"x": 0, "y": bottom, "w": COLUMNS, "h": 1},
            "panels": [],
        }
        bottom += 1
        for index, panel in enumerate(panels):
            number += 1
            line, column = divmod(index * WIDTH, COLUMNS)
            yield graph(panel, number, {"x": column, "y": bottom + line * HEIGHT, "w": WIDTH, "h": HEIGHT})
        bottom += HEIGHT * -(-len(panels) * WIDTH // COLUMNS)


def graph(panel: Panel, number: int, place: dict[str, int]) -> dict[str, Any]:
    """Return a panel in Grafana's JSON model."""
    source = {"type": "prometheus", "uid": "${datasource}"}
    return {
        "id": number,
        "type": "timeseries",
        "title": panel.title,
        "datasource": source,
        "gridPos": place,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "options": {
            "legend": {"displayMode": "list", "placement": "bottom"},
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
        "targets": [
            {
                "refId": chr(ord("A") + index),
                "datasource": source,
                "expr": query.replace("$s", CHOSEN),
                "legendFormat": legend,
            }
            for index, (query, legend) in enumerate(panel.queries)
        ],
    }


def datasource() -> dict[str, Any]:
    """Return the variable that chooses a Prometheus."""
    return {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"}


def variable(name: str, selector: str) -> dict[str, Any]:
    """Return a variable with the values of a label."""
    query = f"label_values(ilab_chat_build_info{{{selector}}}, {name})"
    return {
        "name": name,
        "type": "query",
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "query": {"query": query, "refId": name},
        "refresh": 2,
        "includeAll": True,
        "multi": True,
        "allValue": ".+",
        "current": {"text": "All", "value": "$__all"},
    }


def restarts() -> dict[str, Any]:
    """Return the annotation that marks servers of a new version."""
    return {
        "name": "New version",
        "enable": True,
        "iconColor": "blue",
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "expr": "count by (job, version) (ilab_chat_build_info{" + CHOSEN + "}) unless "
        "count by (job, version) (ilab_chat_build_info{" + CHOSEN + "} offset 1m)",
        "titleFormat": "{{version}}",
    }


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
