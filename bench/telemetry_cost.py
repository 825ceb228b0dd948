"""Measure what metrics, logs and traces cost a unary turn: CPU of the server's process, in milliseconds. JSON.

    PYTHONPATH=tests python bench/telemetry_cost.py [--turns 600] [--rounds 3]

`nothing` logs errors only; `usual` has metrics and JSON lines of calls, with traces off; `traced` exports spans too.
The servers run at the same time and answer in short rounds, so that a busy machine slows down all of them. Each turn is
the first of its user, so that all cost the same. The figure of a server is that of its cheapest round.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import tempfile
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import grpc

from collector import collecting
from ilab_chat import ChatClient
from processes import SERVER, environment
from upstream import Reply, running

if TYPE_CHECKING:
    from collections.abc import Iterator

TICKS = os.sysconf("SC_CLK_TCK")


@contextmanager
def serving(settings: dict[str, str], log: Path) -> Iterator[tuple[int, ChatClient]]:
    """Run a server that logs to a file; yield its process id and a client. The log may not say that it serves."""
    with ExitStack() as stack:
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{found.getsockname()[1]}"
        lines = stack.enter_context(log.open("w"))
        process = stack.enter_context(
            subprocess.Popen([SERVER], env=environment({"ILAB_CHAT_ADDRESS": address, **settings}), stderr=lines)
        )
        stack.callback(process.kill)
        with grpc.insecure_channel(address) as channel:
            grpc.channel_ready_future(channel).result(60)
        yield process.pid, stack.enter_context(ChatClient(address))


def cpu(process: int) -> float:
    """Return the CPU time of a process so far, in seconds."""
    fields = Path(f"/proc/{process}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def turns(process: int, client: ChatClient, name: str, count: int) -> float:
    """Return the CPU time per turn, in milliseconds."""
    began = cpu(process)
    for number in range(count):
        client.chat(f"{name}-{number}", "What do you know about hiking?")
    return (cpu(process) - began) / count * 1000


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description="Measure what metrics, logs and traces cost a unary turn.")
    parser.add_argument("--turns", type=int, default=600, help="turns per round")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each server")
    options = parser.parse_args()
    with ExitStack() as stack:
        upstream = stack.enter_context(running(lambda _: Reply()))
        collector = stack.enter_context(collecting())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        variants = {
            "nothing": {"ILAB_CHAT_LOG_LEVEL": "ERROR"},
            "usual": {"ILAB_CHAT_METRICS_ADDRESS": "127.0.0.1:0"},
            "traced": {
                "ILAB_CHAT_METRICS_ADDRESS": "127.0.0.1:0",
                "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            },
        }
        servers: dict[str, tuple[int, ChatClient]] = {}
        figures: dict[str, float] = {}
        for name, variables in variants.items():
            settings = {
                "ILAB_MEMORY_DB_PATH": str(folder / f"{name}.db"),
                "ILAB_MEMORY_DURABILITY": "normal",
                # It would embed messages in the background, in any round.
                "ILAB_MEMORY_EMBEDDER": "none",
                "ILAB_CHAT_LOG_FORMAT": "json",
                "OPENAI_BASE_URL": upstream.base_url,
            }
            servers[name] = stack.enter_context(serving(settings | variables, folder / f"{name}.log"))
            turns(*servers[name], "warm-up", options.turns // 4)
        for number in range(options.rounds):
            for name, server in servers.items():
                taken = turns(*server, f"round-{number}", options.turns)
                figures[name] = min(figures.get(name, taken), taken)
    base = figures["nothing"]
    for name, milliseconds in figures.items():
        share = (milliseconds - base) / base
        print(json.dumps({"telemetry": name, "milliseconds_per_turn": round(milliseconds, 3), "more": f"{share:.1%}"}))


if __name__ == "__main__":
    main()
