"""Alert rules, runbook and dashboard: they use metrics that exist, and a real Prometheus answers their queries."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml

from ilab_chat import ChatClient, ChatError
from monitoring import PROMETHEUS, asked, await_result, prometheus
from processes import ServerProcess, running_server
from upstream import Reply, Upstream

ROOT = Path(__file__).parents[2]
OBSERVABILITY = ROOT / "deploy/observability"
METRICS = ROOT / "docs/metrics.md"
RULES: list[dict[str, Any]] = yaml.safe_load((OBSERVABILITY / "alerts.yml").read_text())["groups"][0]["rules"]
NAME = re.compile(r"\bilab_chat_\w+")

PROMTOOL = shutil.which("promtool")

#: Metrics that a server without TLS, workers and consolidation lacks.
ABSENT = re.compile(r"tls_certificate|worker_restarts|consolidation_|purpose=.consolidation")


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((OBSERVABILITY / "dashboard.json").read_text())
    return found


def panels() -> list[dict[str, Any]]:
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def expressions() -> list[str]:
    """Return every query of the dashboard, as Grafana sends it with everything chosen."""
    found = [target["expr"] for panel in panels() for target in panel["targets"]]
    chosen = (("$job", ".+"), ("$instance", ".+"), ("$__rate_interval", "1m"))
    for variable, value in chosen:
        found = [each.replace(variable, value) for each in found]
    assert not any("$" in each for each in found)
    return found


def test_dashboard_is_made_by_its_tool() -> None:
    checked = subprocess.run(
        [sys.executable, ROOT / "tools/dashboard.py", "--check"], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stderr


def test_panels_do_not_overlap() -> None:
    taken = set()
    for panel in dashboard()["panels"]:
        place = panel["gridPos"]
        for column in range(place["x"], place["x"] + place["w"]):
            for line in range(place["y"], place["y"] + place["h"]):
                assert (column, line) not in taken, panel["title"]
                taken.add((column, line))
    assert max(column for column, _ in taken) == 23


def test_each_alert_has_a_runbook_entry_and_a_test() -> None:
    operations = (ROOT / "docs/operations.md").read_text()
    entries = re.findall(r"^### (IlabChat\w+)$", operations, re.MULTILINE)
    names = [rule["alert"] for rule in RULES]
    assert entries == names
    for rule in RULES:
        assert rule["annotations"]["runbook"] == f"docs/operations.md#{rule['alert'].lower()}"
        assert rule["labels"]["severity"] in {"warning", "critical"}
    tested = yaml.safe_load((OBSERVABILITY / "alerts.test.yml").read_text())["tests"]
    fired = {each["alertname"] for test in tested for each in test.get("alert_rule_test", ()) if each["exp_alerts"]}
    assert fired == set(names)


def test_rules_and_dashboard_use_metrics_that_exist() -> None:
    documented = set(re.findall(r"^\| `(ilab_chat_\w+)` \|", METRICS.read_text(), re.MULTILINE))
    for expression in (*(rule["expr"] for rule in RULES), *expressions()):
        used = {re.sub(r"_(bucket|count|sum)$", "", name) for name in NAME.findall(expression)}
        assert used <= documented, used - documented


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed")
def test_rules_pass_their_tests() -> None:
    for command in (
        ["check", "rules", "alerts.yml"],
        ["test", "rules", "alerts.test.yml"],
        ["check", "config", "prometheus.yml"],
    ):
        ended = subprocess.run(
            [str(PROMTOOL), *command], cwd=OBSERVABILITY, capture_output=True, text=True, check=False
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr


def chats(server: ServerProcess, upstream: Upstream) -> None:
    """Make some calls, one of which fails."""
    with ChatClient(server.address) as client:
        for _ in range(3):
            client.chat("alice", "What do I love?")
        upstream.replies(Reply(status=400))
        with pytest.raises(ChatError):
            client.chat("alice", "What do I love?")


@pytest.mark.slow
@pytest.mark.skipif(PROMETHEUS is None, reason="Prometheus is not installed")
def test_queries_have_results_on_a_real_prometheus(tmp_path: Path, upstream: Upstream) -> None:
    with running_server(
        ILAB_CHAT_METRICS_ADDRESS="127.0.0.1:0",
        ILAB_MEMORY_DB_PATH=str(tmp_path / "memory.db"),
        OPENAI_BASE_URL=upstream.base_url,
    ) as server:
        found = re.search(r"metrics: http://(\S+)/metrics", "".join(server.log))
        assert found
        with prometheus(tmp_path, found[1]) as url:
            await_result(url, "up == 1")
            # A histogram's series begin with their first values: only what is added later is a rate.
            chats(server, upstream)
            await_result(url, "ilab_chat_rpc_duration_seconds_count")
            chats(server, upstream)
            await_result(url, "rate(ilab_chat_rpc_duration_seconds_count[1m]) > 0")
            empty = [each for each in expressions() if not asked(url, each)]
            assert [each for each in empty if not ABSENT.search(each)] == []
            with urllib.request.urlopen(f"{url}/api/v1/rules", timeout=10) as response:
                [group] = json.load(response)["data"]["groups"]
            assert [rule["health"] for rule in group["rules"]] == ["ok"] * len(RULES)
            assert server.stop() == 0
            assert await_result(url, 'sum by (job) (up{job=~".*ilab-chat.*"}) == 0')
