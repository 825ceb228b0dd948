"""Every setting of the service, once: field, environment variable, default, unit, and one line of why."""

from __future__ import annotations

import dataclasses
import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, get_type_hints
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

T = TypeVar("T", str, int, float, bool)

DEFAULT_MODEL = "gpt-4o-mini"
PROMPT_TOKENS = 4000
EMBEDDED_PROMPT_TOKENS = 1000
LAST_PORT = 65_535

#: Largest number that a setting may be: more than anybody needs, and within what timers take.
MOST = 1e6


class SettingsError(ValueError):
    """A setting cannot be used. The text names the environment variable and never the value of a secret."""


def setting(env: str, default: T, why: str, *, least: float | None = None, secret: bool = False) -> T:
    """Declare a field of Settings.

    Args:
        env: name of the environment variable that sets it.
        default: value when the variable is unset or empty; its type is the type of the setting.
        why: one line for `--help` and the README, with the unit.
        least: smallest value allowed, for numbers; the largest is MOST.
        secret: keep the value out of `repr` and off the command line.
    """
    metadata = {"env": env, "why": why, "least": least, "secret": secret}
    field: T = dataclasses.field(default=default, repr=not secret, metadata=metadata)
    return field


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of one server. Made by `read`; frozen."""

    address: str = setting(
        "ILAB_CHAT_ADDRESS", "127.0.0.1:50051", "Where to listen, HOST:PORT; port 0 takes a free one."
    )
    allow_plaintext: bool = setting(
        "ILAB_CHAT_ALLOW_PLAINTEXT", False, "Allow an address that is not loopback, without TLS: behind a sidecar."
    )
    memory_db_path: str = setting(
        "ILAB_MEMORY_DB_PATH", "./memory.db", "SQLite file of the memory; made when missing, with its folders."
    )
    session_timeout_hours: float = setting(
        "ILAB_MEMORY_SESSION_TIMEOUT_HOURS", 24.0, "Hours without activity after which a session ends.", least=0.001
    )
    openai_api_key: str = setting(
        "OPENAI_API_KEY",
        "",
        "Key of the model's API. With neither key nor URL, the embedded model answers.",
        secret=True,
    )
    openai_base_url: str = setting(
        "OPENAI_BASE_URL", "", "URL of any OpenAI-compatible API, up to and including /v1. Empty: OpenAI's own."
    )
    openai_model: str = setting(
        "OPENAI_MODEL", "", f"Model that answers. Empty: {DEFAULT_MODEL}, or the embedded model."
    )
    model_timeout_seconds: float = setting(
        "ILAB_CHAT_MODEL_TIMEOUT_SECONDS", 120.0, "Longest silence of the model's API, in seconds.", least=0.001
    )
    default_deadline_seconds: float = setting(
        "ILAB_CHAT_DEFAULT_DEADLINE_SECONDS", 300.0, "Seconds for a chat call whose caller sets no deadline.", least=0.1
    )
    max_deadline_seconds: float = setting(
        "ILAB_CHAT_MAX_DEADLINE_SECONDS",
        600.0,
        "Seconds after which a chat call ends, whatever its deadline.",
        least=0.1,
    )
    persist_reserve_seconds: float = setting(
        "ILAB_CHAT_PERSIST_RESERVE_SECONDS",
        0.5,
        "Seconds before a chat call's deadline at which the model is stopped, so that what it wrote can be stored.",
        least=0,
    )
    model_retries: int = setting(
        "ILAB_CHAT_MODEL_RETRIES", 2, "How often a model call that fails before its first word is repeated.", least=0
    )
    instruction: str = setting(
        "ILAB_CHAT_INSTRUCTION",
        "You are a helpful assistant. Use prior context only if relevant.",
        "First line of the system prompt.",
    )
    prompt_tokens: int = setting(
        "ILAB_CHAT_PROMPT_TOKENS",
        0,
        "Estimated tokens that memory and conversation may fill a prompt up to; the message is never cut. "
        f"0: {PROMPT_TOKENS}, or {EMBEDDED_PROMPT_TOKENS} with the embedded model, which reads about 300 a second.",
        least=0,
    )
    history_turns: int = setting(
        "ILAB_CHAT_HISTORY_TURNS", 6, "Most turns of the session that the model sees as conversation.", least=0
    )
    search_limit: int = setting(
        "ILAB_CHAT_SEARCH_LIMIT", 5, "Most older memories that searching for the message may add.", least=0
    )
    drain_seconds: float = setting(
        "ILAB_CHAT_DRAIN_SECONDS", 30.0, "Seconds that running calls get to finish after SIGTERM.", least=0
    )
    log_level: str = setting("ILAB_CHAT_LOG_LEVEL", "INFO", "DEBUG, INFO, WARNING or ERROR.")
    log_format: str = setting("ILAB_CHAT_LOG_FORMAT", "auto", "json, text, or auto: text on a terminal, else json.")
    log_key: str = setting(
        "ILAB_CHAT_LOG_KEY",
        "",
        "Key of the hashes that stand for user ids in the log. Empty: a random one for each process.",
        secret=True,
    )

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            least = field.metadata["least"]
            # Written so that NaN, which compares false with everything, is out of range.
            if least is not None and not least <= getattr(self, field.name) <= MOST:
                raise SettingsError(f"{field.metadata['env']}: must be {least:g} to {MOST:g}")
        if self.log_level not in {"DEBUG", "INFO", "WARNING", "ERROR"}:
            raise SettingsError("ILAB_CHAT_LOG_LEVEL: must be DEBUG, INFO, WARNING or ERROR")
        if self.log_format not in {"auto", "json", "text"}:
            raise SettingsError("ILAB_CHAT_LOG_FORMAT: must be auto, json or text")
        if self.openai_base_url and not is_http_url(self.openai_base_url):
            raise SettingsError("OPENAI_BASE_URL: must be a URL, for instance http://127.0.0.1:8080/v1")
        if not all("!" <= character <= "~" for character in self.openai_api_key):
            raise SettingsError("OPENAI_API_KEY: must have visible ASCII characters only")
        host, _ = split_address(self.address)
        if not self.allow_plaintext and not is_loopback(host):
            raise SettingsError(
                "ILAB_CHAT_ADDRESS: not a loopback address, and there is no TLS; set ILAB_CHAT_ALLOW_PLAINTEXT=true "
                "if something in front of this server encrypts"
            )

    @property
    def prompt_budget(self) -> int:
        """The budget of a prompt in tokens, with the default resolved."""
        return self.prompt_tokens or (EMBEDDED_PROMPT_TOKENS if self.embedded else PROMPT_TOKENS)

    @property
    def embedded(self) -> bool:
        """Whether the embedded model answers: neither a key nor a URL of another is given."""
        return not (self.openai_api_key or self.openai_base_url)


def read(environ: Mapping[str, str], overrides: Mapping[str, str] | None = None) -> Settings:
    """Return the settings in *environ*; *overrides*, by field name, win.

    Args:
        environ: environment variables. Empty ones count as unset.
        overrides: values by field name, as text, for instance from the command line.

    Raises:
        SettingsError: the first setting that cannot be used, by the name of its variable.
    """
    overrides = overrides or {}
    types = get_type_hints(Settings)
    values: dict[str, Any] = {}
    for field in dataclasses.fields(Settings):
        text = overrides.get(field.name, environ.get(field.metadata["env"], ""))
        if text:
            values[field.name] = parse(field.metadata["env"], text, types[field.name])
    return Settings(**values)


def parse(env: str, text: str, kind: type) -> str | int | float | bool:
    """Return *text* as a *kind*.

    Raises:
        SettingsError: it is none; the text names *env*.
    """
    try:
        return PARSERS[kind](text)
    except (ValueError, KeyError):
        raise SettingsError(f"{env}: must be {NAMES[kind]}") from None


def split_address(address: str) -> tuple[str, int]:
    """Return host and port of HOST:PORT or [IPv6]:PORT.

    Raises:
        SettingsError: it has no host or no port between 0 and 65,535.
    """
    host, colon, port = address.rpartition(":")
    if not (colon and host and port.isascii() and port.isdigit() and int(port) <= LAST_PORT):
        raise SettingsError("ILAB_CHAT_ADDRESS: must be HOST:PORT, for instance 127.0.0.1:50051")
    return host.removeprefix("[").removesuffix("]"), int(port)


def is_http_url(text: str) -> bool:
    """Whether *text* is a URL with a host, by HTTP."""
    try:
        url = urlsplit(text)
    except ValueError:
        return False
    return url.scheme in {"http", "https"} and bool(url.hostname)


def is_loopback(host: str) -> bool:
    """Whether *host* can only be reached from this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


PARSERS: dict[type, Callable[[str], str | int | float | bool]] = {
    str: str,
    int: int,
    float: float,
    bool: lambda text: {"true": True, "1": True, "false": False, "0": False}[text.lower()],
}
NAMES: dict[type, str] = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
