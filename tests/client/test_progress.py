"""The line about work that takes longer than a second."""

from __future__ import annotations

import io
import sys

import pytest

from ilab_chat.cli.output import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def count(monkeypatch: pytest.MonkeyPatch, screen: io.StringIO, seconds_each: float) -> str:
    """Count five items, which come every few seconds of a clock; return what is on the screen."""
    monkeypatch.setattr(sys, "stderr", screen)
    ticks = iter(range(1000))
    with Progress("Exported", lambda: next(ticks) * seconds_each) as progress:
        assert list(progress.counting(range(5))) == [0, 1, 2, 3, 4]
    return screen.getvalue()


def test_slow_work_is_counted_and_the_line_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = count(monkeypatch, Terminal(), 0.6)
    assert shown.split("\r")[1:3] == ["Exported 2 items ...", "Exported 3 items ..."]
    assert shown.endswith(f"\r{' ' * 20}\r")


def test_quick_work_shows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert count(monkeypatch, Terminal(), 0.01) == ""


def test_without_a_terminal_nothing_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    assert count(monkeypatch, io.StringIO(), 5) == ""
