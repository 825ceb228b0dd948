from __future__ import annotations

import zoneinfo
from datetime import UTC
from importlib import resources

import pytest

from ilab_chat_service import time_zones


def test_every_name_can_be_loaded() -> None:
    assert {"UTC", "Europe/Berlin", "America/Argentina/Buenos_Aires"} <= time_zones.NAMES
    assert all(zoneinfo.ZoneInfo(name).key == name for name in time_zones.NAMES)


async def test_a_zone_is_loaded_once() -> None:
    berlin = await time_zones.time_zone("Europe/Berlin")
    assert str(berlin) == "Europe/Berlin"
    assert await time_zones.time_zone("Europe/Berlin") is berlin
    assert await time_zones.time_zone("") is UTC


def test_without_the_package_the_systems_zones_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_package: str) -> None:
        raise ModuleNotFoundError

    monkeypatch.setattr(resources, "files", missing)
    monkeypatch.setattr(zoneinfo, "available_timezones", lambda: {"Europe/Berlin"})
    assert time_zones.names() == {"Europe/Berlin"}
