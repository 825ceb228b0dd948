"""Every setting of the service once, a dataclass for each room, and the reader that fills them from the environment."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

from ilab_chat_service.settings.consolidation import ConsolidationSettings
from ilab_chat_service.settings.fields import SettingsError
from ilab_chat_service.settings.limits import LimitSettings
from ilab_chat_service.settings.memory import IN_MEMORY, MemorySettings
from ilab_chat_service.settings.model import ModelSettings
from ilab_chat_service.settings.security import SecuritySettings
from ilab_chat_service.settings.server import ServerSettings
from ilab_chat_service.settings.telemetry import TelemetrySettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

__all__ = ["Settings", "SettingsError", "environment", "read", "unknown", "variables"]

OUR_PREFIXES = ("ILAB_CHAT_", "ILAB_MEMORY_")
#: Of variables with a misspelt or missing part in front. Those that are like no setting may be of another program.
FRONT = "ILAB_"

#: Minimum similarity, 0 to 1, of two whole names of which one is a misspelt form of the other.
SIMILAR = 0.85

#: Variables of the client and of the gateway, and those that Kubernetes sets for a Service with such a name:
#: https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
OTHERS = re.compile(
    r"ILAB_CHAT_(TARGET|TOKEN|TOKEN_FILE|HEALTH|GATEWAY_\w+)|\w+_(SERVICE_HOST|SERVICE_PORT\w*|PORT(_\d+_(TCP|UDP|SCTP)\w*)?)"
)

#: Appended to the variable of a secret: names a file that contains it, as Docker and Kubernetes mount secrets.
FILE_SUFFIX = "_FILE"


# The fields of a dataclass with several bases begin with those of the last base.
@dataclass(frozen=True, kw_only=True)
class Settings(
    TelemetrySettings,
    LimitSettings,
    ConsolidationSettings,
    MemorySettings,
    ModelSettings,
    SecuritySettings,
    ServerSettings,
):
    """The settings of one server. Made by `read`; frozen."""

    @property
    def consolidates(self) -> bool:
        """Whether turns are consolidated, with `auto` resolved."""
        return self.consolidation == "on" or (self.consolidation == "auto" and not self.embedded)

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            least, most = field.metadata["least"], field.metadata["most"]
            # Written so that NaN, which compares false with everything, is out of range.
            if least is not None and not least <= getattr(self, field.name) <= most:
                raise SettingsError(f"{field.metadata['env']}: must be {least:g} to {most:g}")
        self.check_telemetry()
        self.check_memory()
        self.check_consolidation()
        if self.workers > 1 and (self.embedded or self.memory_db_path == IN_MEMORY):
            raise SettingsError("ILAB_CHAT_WORKERS: must be 1 with the embedded model or an in-memory database")
        self.check_model()
        self.check_server()
        self.check_security(self.host)


def read(environ: Mapping[str, str], overrides: Mapping[str, str] | None = None) -> Settings:
    """Return the settings in *environ*; *overrides*, by field name, win.

    Args:
        environ: environment variables. Empty ones count as unset. A secret may also be in the file that the variable
            with `_FILE` appended names.
        overrides: values by field name, as text, for instance from the command line.

    Raises:
        SettingsError: the first setting that cannot be used; the text names its variable.
    """
    overrides = overrides or {}
    types = get_type_hints(Settings)
    values: dict[str, Any] = {}
    for field in dataclasses.fields(Settings):
        text = overrides.get(field.name, given(environ, field.metadata["env"], secret=field.metadata["secret"]))
        if text:
            values[field.name] = parse(field.metadata["env"], text, types[field.name])
    if "memory_url" in values and "memory_db_path" in values:
        raise SettingsError("ILAB_MEMORY_URL: conflicts with ILAB_MEMORY_DB_PATH; unset one of them")
    return Settings(**values)


def given(environ: Mapping[str, str], env: str, *, secret: bool) -> str:
    """Return the value of the variable *env*, of a *secret* also from the file that *env* + `_FILE` names.

    Raises:
        SettingsError: both are set, or the file cannot be read or is not one line of UTF-8.
    """
    text, path = environ.get(env, ""), environ.get(f"{env}{FILE_SUFFIX}", "") if secret else ""
    if not path:
        return text
    if text:
        raise SettingsError(f"{env}{FILE_SUFFIX}: conflicts with {env}; unset one of them")
    try:
        lines = Path(path).read_bytes().decode().splitlines()
    except OSError as error:
        raise SettingsError(f"{env}{FILE_SUFFIX}: {error.strerror}") from None
    except ValueError:
        raise SettingsError(f"{env}{FILE_SUFFIX}: the file must be {NAMES[str]}") from None
    if len(lines) != 1 or not lines[0].strip():
        raise SettingsError(f"{env}{FILE_SUFFIX}: the file must contain exactly one line")
    return lines[0]


def variables() -> Iterator[str]:
    """Yield the name of every environment variable that `read` uses."""
    for field in dataclasses.fields(Settings):
        yield field.metadata["env"]
        if field.metadata["secret"]:
            yield field.metadata["env"] + FILE_SUFFIX


def unknown(environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield each variable that looks like one of the server's and is not, with the name that may be meant, or "".

    Args:
        environ: environment variables. Their values are not looked at.
    """
    known = list(variables())
    for name in sorted(environ):
        if name.startswith(FRONT) and name not in known and not OTHERS.fullmatch(name):
            meant = nearest(name, known)
            if meant or name.startswith(OUR_PREFIXES):
                yield name, meant


def nearest(name: str, known: Sequence[str]) -> str:
    """Return the one of *known* that *name* may mean, rather one with the same prefix, or "".

    Prefixes are not compared: they make all names similar.
    """
    own = tuple(prefix for prefix in OUR_PREFIXES if name.startswith(prefix))
    if not own and (whole := get_close_matches(name, known, 1, SIMILAR)):
        return whole[0]
    # The last: settings without our prefix, such as OPENAI_MODEL.
    for prefixes in (own, OUR_PREFIXES, ("",)):
        ends = {bare(each): each for each in known if each.startswith(prefixes)}
        if found := get_close_matches(bare(name), ends, 1):
            return ends[found[0]]
    return ""


def bare(name: str) -> str:
    """Return the name of a variable without the prefix."""
    return next((name.removeprefix(each) for each in (*OUR_PREFIXES, FRONT) if name.startswith(each)), name)


def environment(settings: Settings) -> dict[str, str]:
    """Return the environment variables from which `read` makes *settings*."""
    return {
        field.metadata["env"]: str(value)
        for field in dataclasses.fields(settings)
        if (value := getattr(settings, field.name)) != field.default
    }


def parse(env: str, text: str, kind: type) -> str | int | float | bool:
    """Return *text* as a *kind*.

    Raises:
        SettingsError: *text* is not a *kind*; the message names *env*.
    """
    try:
        return PARSERS[kind](text)
    except (ValueError, KeyError):
        raise SettingsError(f"{env}: must be {NAMES[kind]}") from None


def text_of(text: str) -> str:
    """Return *text* if it was UTF-8: other bytes of the environment arrive as lone surrogates, which cannot be sent."""
    text.encode()
    return text


PARSERS: dict[type, Callable[[str], str | int | float | bool]] = {
    str: text_of,
    int: int,
    float: float,
    bool: lambda text: {"true": True, "1": True, "false": False, "0": False}[text.lower()],
}
NAMES: dict[type, str] = {int: "a whole number", float: "a number", bool: "true or false", str: "UTF-8 text"}
