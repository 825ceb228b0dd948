"""The declaration of a setting, and the error of an invalid one."""

from __future__ import annotations

import dataclasses
from typing import TypeVar

T = TypeVar("T", str, int, float, bool)

#: Largest value of numeric settings: beyond every sensible use, and within what timers accept.
MOST = 1e6


class SettingsError(ValueError):
    """A setting is invalid. The text names the environment variable and never the value of a secret."""


def setting(
    env: str, default: T, why: str, *, least: float | None = None, most: float = MOST, secret: bool = False
) -> T:
    """Declare a field of a settings dataclass.

    Args:
        env: name of the environment variable that sets it.
        default: value when the variable is unset or empty; its type is the type of the setting.
        why: one line for `--help` and the documentation, with the unit.
        least: smallest value allowed, for numbers.
        most: largest value allowed, for numbers.
        secret: keep the value out of `repr` and off the command line.
    """
    metadata = {"env": env, "why": why, "least": least, "most": most, "secret": secret}
    field: T = dataclasses.field(default=default, repr=not secret, metadata=metadata)
    return field


def words(text: str) -> list[str]:
    """Return the parts of a comma-separated text, without spaces around them and without empty ones."""
    return [word for each in text.split(",") if (word := each.strip())]
