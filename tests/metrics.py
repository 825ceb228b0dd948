"""Scrape a server's metrics port, as Prometheus does."""

from __future__ import annotations

import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Mapping

from prometheus_client.parser import text_string_to_metric_families

from processes import ServerProcess

#: One series: its name, and its labels in alphabetic order.
Series = tuple[str, tuple[tuple[str, str], ...]]


def fetch(url: str, *, accept: str = "text/plain") -> tuple[int, str]:
    """Return status and body of a page."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers={"accept": accept}), timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


class Scrape:
    """The series of one scrape."""

    def __init__(self, url: str) -> None:
        status, self.text = fetch(url)
        assert status == 200, self.text
        self.families = {family.name: family for family in text_string_to_metric_families(self.text)}
        self.series: dict[Series, float] = {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in self.families.values()
            for sample in family.samples
        }

    def value(self, name: str, **labels: str) -> float:
        """Return the sum of the series of this name with at least these labels."""
        return sum(value for (each, have), value in self.series.items() if each == name and labels.items() <= {*have})

    def labels(self, name: str) -> list[Mapping[str, str]]:
        """Return the labels of each series of this name."""
        return [dict(labels) for each, labels in self.series if each == name]


def until(url: str, holds: Callable[[Scrape], object], seconds: float = 30) -> Scrape:
    """Scrape until *holds*, and return the scrape: gauges follow within a second."""
    end = time.monotonic() + seconds
    while not holds(scrape := Scrape(url)):
        assert time.monotonic() < end, scrape.text
        time.sleep(0.05)
    return scrape


def wait_for(condition: Callable[[], bool], seconds: float = 30) -> None:
    """Return when *condition* holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def url_in(lines: Iterable[str]) -> str:
    """Return the URL of the metrics in a log."""
    return str(re.findall(r"metrics: (http://[^\s\"]+)", "\n".join(lines))[0])


def url_of(server: ServerProcess) -> str:
    """Return the URL of a server's metrics."""
    return url_in(server.log)
