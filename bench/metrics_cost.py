"""Measure what the metrics cost: microseconds of one chat call's record, and of a sample. One line of JSON each.

    python bench/metrics_cost.py

Once with the values in memory, as in a single process, and once in files, as in a worker.
"""

from __future__ import annotations

import json
import os
import time

from prometheus_client import CollectorRegistry

from ilab_chat_service.telemetry import worker_files
from ilab_chat_service.telemetry.call_record import Call, ModelRequest
from ilab_chat_service.telemetry.metrics import Metrics

CALLS = 20_000
METHOD = "ilab_chat.v1.ChatService/Chat"


def measure(where: str) -> None:
    """Print the cost of a call that answered, with everything that such a call records."""
    metrics = Metrics(CollectorRegistry(), [METHOD])
    call = Call(
        method=METHOD,
        phases={"queue": 0.0, "idempotency": 0.001, "hydrate": 0.002, "first_token": 0.4, "model": 2, "persist": 0.004},
        model_requests=[ModelRequest(label="gpt-4o-mini")],
        memory_hits={"turn": 9, "fact": 3, "search": 4},
        replayed=False,
        input_tokens=900,
        output_tokens=80,
        status_code="OK",
    )
    fastest = float("inf")
    for _ in range(5):
        began = time.process_time()
        for _ in range(CALLS):
            metrics.call_began(METHOD)
            metrics.call_ended(call, 2.1)
        fastest = min(fastest, (time.process_time() - began) / CALLS)
    print(json.dumps({"values": where, "microseconds_per_call": round(fastest * 1e6, 1)}))


if __name__ == "__main__":
    worker_files.use_no_files()
    measure("memory")
    with worker_files.worker_files() as files:
        files.add(1)
        os.environ |= files.environment
        worker_files.use_files_of(1)
        measure("files")
