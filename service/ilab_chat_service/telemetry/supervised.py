"""The metrics of several workers, as their supervisor exposes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import Counter, disable_created_metrics

from ilab_chat_service.telemetry.metrics import PREFIX

if TYPE_CHECKING:
    from collections.abc import Callable

    from ilab_chat_service.telemetry.worker_files import WorkerFiles

RESTARTS = f"{PREFIX}worker_restarts_total"
RESTARTS_MEANING = "Workers that ended unexpectedly and were replaced. Only with several workers."


class Supervised:
    """The sum of the workers' metrics, and what only their supervisor knows.

    Args:
        files: the workers' metrics.
        is_stopping: tells whether the workers are being stopped.
    """

    def __init__(self, files: WorkerFiles, is_stopping: Callable[[], bool]) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.files = files
        self.registry = files.registry()
        self.restarts = Counter(RESTARTS, RESTARTS_MEANING, registry=self.registry)
        self._is_stopping = is_stopping

    def is_ready(self) -> bool:
        """Return whether every worker that runs, at least one, answers calls. Reads files."""
        return not self._is_stopping() and self.registry.get_sample_value(f"{PREFIX}ready") == 1
