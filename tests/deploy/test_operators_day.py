"""An operator's day: load, a model that dies and comes back, a trace, a backup under load, a drain, a restore.

With a real Prometheus, our alert rules with shorter waits, a collector of traces, and the documented commands.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

from collector import Collector, collecting
from faults.stage import reserved_port
from ilab_chat import ChatClient, ChatError
from metrics import fetch, wait_for
from monitoring import PROMETHEUS, RULES, await_result, prometheus
from processes import running_server
from upstream import Reply, Request, Upstream, running

COMMAND = Path(sys.executable).with_name("ilab-memory")
TRACE = "0af7651916cd43dd8448eb211c80319c"
MARKER = "turn-"

#: The spans of a turn. `queue` is only there if the call waited.
SPANS = {"ilab_chat.v1.ChatService/Chat", "idempotency", "hydrate", "chat test-model", "POST", "persist"}


@dataclass(frozen=True)
class Turn:
    """A turn that was answered."""

    user: str
    request_id: str
    message: str
    reply: str


@dataclass
class Load:
    """Callers that chat, one turn after the other, until they are stopped."""

    address: str
    answered: list[Turn] = field(default_factory=list)
    failures: list[ChatError] = field(default_factory=list)
    stopping: threading.Event = field(default_factory=threading.Event)

    def run(self, number: int) -> None:
        with ChatClient(self.address, max_retries=0, timeout=20) as client:
            while not self.stopping.wait(0.05):
                request_id = uuid.uuid4().hex
                user, message = f"user-{number}", f"{MARKER}{request_id}"
                try:
                    reply = client.chat(user, message, request_id=request_id).reply
                except ChatError as error:
                    self.failures.append(error)
                else:
                    self.answered.append(Turn(user, request_id, message, reply))

    def goes_on(self, turns: int = 8) -> None:
        """Wait until *turns* more are answered."""
        wanted = len(self.answered) + turns
        wait_for(lambda: len(self.answered) >= wanted, 60)


@contextmanager
def loading(address: str, callers: int = 4) -> Iterator[Load]:
    load = Load(address)
    threads = [threading.Thread(target=load.run, args=[number]) for number in range(callers)]
    for thread in threads:
        thread.start()
    try:
        yield load
    finally:
        load.stopping.set()
        for thread in threads:
            thread.join()


def answer(request: Request) -> Reply:
    """Answer a turn with a reply of its own, and a consolidation with no changes."""
    if "response_format" in request.body:
        return Reply(pieces=(json.dumps({"set": [], "retire": [], "summaries": []}),))
    return Reply(pieces=("Noted: ", uuid.uuid4().hex))


def quick_rules(folder: Path) -> Path:
    """Write our rules with waits of a second, and return the file."""
    rules = yaml.safe_load(RULES.read_text())
    for rule in rules["groups"][0]["rules"]:
        if "for" in rule:
            rule["for"] = "1s"
    path = folder / "alerts.yml"
    path.write_text(yaml.safe_dump(rules))
    return path


def fires(url: str, alert: str) -> None:
    await_result(url, f'ALERTS{{alertname="{alert}", alertstate="firing"}}')


def resolves(url: str, alert: str) -> None:
    await_result(url, f'absent(ALERTS{{alertname="{alert}"}})')


def run(*arguments: str | Path) -> str:
    """Run `ilab-memory`, which has to succeed, and return its output."""
    ended = subprocess.run([COMMAND, *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def counts(file: Path) -> dict[str, object]:
    """Return the numbers of users, sessions and observations in a memory."""
    found = json.loads(run("stats", "--json", file))
    return {name: found[name] for name in ("users", "sessions", "observations", "observations_by_type", "newest_time")}


def trace_of_a_turn(address: str, collector: Collector) -> None:
    """Chat with a trace, and find all spans of it, and the trace of a consolidation."""
    with ChatClient(address) as client:
        client.chat("tracer", "Hi", metadata=(("traceparent", f"00-{TRACE}-b7ad6b7169203331-01"),))
    spans = collector.until(lambda spans: {span.name for span in spans if span.trace_id == TRACE} >= SPANS)
    ours = [span for span in spans if span.trace_id == TRACE]
    assert not any(span.failed for span in ours)
    assert {span.parent_id for span in ours} - {"b7ad6b7169203331"} <= {span.span_id for span in ours}
    collector.until(lambda spans: any(span.name == "consolidation" and not span.failed for span in spans))


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.skipif(PROMETHEUS is None, reason="Prometheus is not installed")
def test_operators_day(tmp_path: Path) -> None:
    database, backup = tmp_path / "memory.db", tmp_path / "backup.db"
    with ExitStack() as day:
        collector = day.enter_context(collecting())
        port, metrics_port, model_port = (day.enter_context(reserved_port()) for _ in range(3))
        model = ExitStack()
        day.callback(model.close)

        def model_starts() -> Upstream:
            return model.enter_context(running(answer, model_port))

        address, metrics = f"127.0.0.1:{port}", f"127.0.0.1:{metrics_port}"
        variables = {
            "ILAB_CHAT_ADDRESS": address,
            "ILAB_CHAT_METRICS_ADDRESS": metrics,
            "ILAB_CHAT_CONSOLIDATION": "on",
            "ILAB_CHAT_CONSOLIDATION_TURNS": "1",
            "ILAB_MEMORY_DB_PATH": str(database),
            "OPENAI_BASE_URL": model_starts().base_url,
            "OPENAI_MODEL": "test-model",
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            "OTEL_BSP_SCHEDULE_DELAY": "200",
        }
        url = day.enter_context(prometheus(tmp_path, metrics, quick_rules(tmp_path)))
        with running_server(**variables) as server:
            await_result(url, "up == 1")
            trace_of_a_turn(address, collector)
            with loading(address) as load:
                load.goes_on()
                await_result(url, 'increase(ilab_chat_rpc_duration_seconds_count{code="OK"}[1m]) > 0')
                resolves(url, "IlabChatModelUnavailable")
                assert load.failures == []

                model.close()
                fires(url, "IlabChatModelUnavailable")
                assert {error.reason for error in load.failures} <= {"MODEL_UNAVAILABLE", "MODEL_INTERRUPTED"}
                assert fetch(f"http://{metrics}/readyz")[0] == 200
                model_starts()
                load.goes_on()
                resolves(url, "IlabChatModelUnavailable")

                before = list(load.answered)
                run("backup", "--from", database, backup)
                load.goes_on()

                load.failures.clear()
                assert server.stop() == 0
            # A caller without an answer was told that another server may answer.
            assert {error.code.name for error in load.failures} <= {"UNAVAILABLE"}
        fires(url, "IlabChatDown")

        run("check", backup)
        database.unlink()
        for rest in tmp_path.glob("memory.db-*"):
            rest.unlink()
        run("restore", "--to", database, backup)
        assert counts(database) == counts(backup)
        with running_server(**variables), ChatClient(address) as client:
            resolves(url, "IlabChatDown")
            assert len(before) > 8
            for user in {turn.user for turn in before}:
                stored = "".join(str(item) for item in client.memory.export(user))
                assert [turn for turn in before if turn.user == user and turn.message not in stored] == []
            for turn in before:
                again = client.chat(turn.user, turn.message, request_id=turn.request_id)
                assert (again.replayed, again.reply) == (True, turn.reply)
