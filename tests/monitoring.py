"""A real Prometheus with our alert rules, and what it answers."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from faults.stage import reserved_port

RULES = Path(__file__).parents[1] / "deploy/observability/alerts.yml"

#: Not a wheel: Debian's package `prometheus` has it, and `promtool`.
PROMETHEUS = shutil.which("prometheus")


@contextmanager
def prometheus(folder: Path, target: str, rules: Path = RULES) -> Iterator[str]:
    """Run a Prometheus with our rules that scrapes *target*; yield its URL."""
    configuration = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(rules)],
        "scrape_configs": [{"job_name": "ilab-chat", "static_configs": [{"targets": [target]}]}],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(configuration))
    with reserved_port() as port:
        url = f"http://127.0.0.1:{port}"
        command = [
            str(PROMETHEUS),
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}",
        ]
        with subprocess.Popen(
            [*command, f"--web.listen-address=127.0.0.1:{port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            try:
                yield url
            finally:
                process.kill()


def asked(url: str, expression: str) -> list[Any]:
    """Return the result of a query.

    Raises:
        OSError: Prometheus does not answer yet, or refuses the query.
    """
    query = urllib.parse.urlencode({"query": expression})
    with urllib.request.urlopen(f"{url}/api/v1/query?{query}", timeout=10) as response:
        result: list[Any] = json.load(response)["data"]["result"]
    return result


def await_result(url: str, expression: str) -> list[Any]:
    """Ask until there is a result: Prometheus scrapes once per second."""
    ends = time.monotonic() + 60
    while time.monotonic() < ends:
        try:
            if found := asked(url, expression):
                return found
        except OSError:
            pass
        threading.Event().wait(0.2)
    raise AssertionError(f"no result: {expression}")
