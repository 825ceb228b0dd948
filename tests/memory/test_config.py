import math
from datetime import datetime

import pytest
from pydantic import ValidationError

from ilab_memory import Config, ILabMemory


def test_the_defaults_are_those_of_the_contract() -> None:
    config = Config()
    assert config.session_timeout_hours == 24
    assert config.allowed_types == ("profile", "preference", "decision", "discovery", "pattern")
    assert config.durability == "full"
    assert config.clock().tzinfo is not None


def test_observation_types_replace_the_set() -> None:
    assert Config(observation_types=("note",)).allowed_types == ("note",)


def test_config_is_frozen() -> None:
    with pytest.raises(ValidationError):
        Config().session_timeout_hours = 1


@pytest.mark.parametrize("types", [(), ("a", "a"), ("a", "summary"), ("a", " ")])
def test_invalid_observation_types_are_rejected(types: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="observation_types"):
        Config(observation_types=types)


@pytest.mark.parametrize("hours", [0, -1, math.inf, math.nan])
def test_an_invalid_session_timeout_is_rejected(hours: float) -> None:
    with pytest.raises(ValueError, match="session_timeout_hours"):
        Config(session_timeout_hours=hours)


def test_an_unknown_setting_is_rejected() -> None:
    with pytest.raises(ValueError, match="sesion_timeout_hours"):
        Config.model_validate({"sesion_timeout_hours": 1})


def test_a_clock_without_a_timezone_is_rejected() -> None:
    naive = Config(clock=lambda: datetime(2026, 1, 1))  # noqa: DTZ001 - that is the point
    with ILabMemory.from_path(":memory:", naive) as mem, pytest.raises(ValueError, match="clock"):
        mem.mem_session_start("alice")
