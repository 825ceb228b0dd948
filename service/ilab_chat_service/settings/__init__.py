"""Every setting of the service, once: field, environment variable, default, unit, and one line of why."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, get_type_hints
from urllib.parse import urlsplit

from ilab_chat_service.settings.addresses import (
    is_http_url,
    is_loopback,
    is_spiffe_id,
    split_address,
    url_fault,
    url_without_login,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

T = TypeVar("T", str, int, float, bool)

DEFAULT_MODEL = "gpt-4o-mini"
PROMPT_TOKENS = 4000
EMBEDDED_PROMPT_TOKENS = 1000

#: What each way of knowing callers needs.
AUTH_NEEDS: Mapping[str, tuple[str, ...]] = {
    "": (),
    "none": (),
    "tokens": ("auth_tokens_file",),
    "jwt": ("jwt_jwks", "jwt_issuer", "jwt_audience"),
    "spiffe": ("spiffe_ids",),
}
JWT_ALGORITHMS = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"})

#: Largest number that a setting may be: more than anybody needs, and within what timers take.
MOST = 1e6

#: Each heartbeat is a message to each silent stream: more often than this, they are what the server is busy with.
LEAST_HEARTBEAT_SECONDS = 0.01


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
    workers: int = setting(
        "ILAB_CHAT_WORKERS",
        1,
        "Processes that serve on the address and share the memory, each with limits of its own.",
        least=1,
    )
    allow_plaintext: bool = setting(
        "ILAB_CHAT_ALLOW_PLAINTEXT", False, "Allow an address that is not loopback, without TLS: behind a sidecar."
    )
    tls_cert_file: str = setting(
        "ILAB_CHAT_TLS_CERT_FILE", "", "PEM file of the server's certificate and its chain. Empty: no TLS."
    )
    tls_key_file: str = setting("ILAB_CHAT_TLS_KEY_FILE", "", "PEM file of the certificate's private key.")
    tls_client_ca_file: str = setting(
        "ILAB_CHAT_TLS_CLIENT_CA_FILE", "", "PEM file of authorities; clients then need a certificate of one (mTLS)."
    )
    auth: str = setting(
        "ILAB_CHAT_AUTH",
        "",
        "How callers are known: none, tokens, jwt or spiffe. Empty: none, on a loopback address only.",
    )
    auth_tokens_file: str = setting(
        "ILAB_CHAT_AUTH_TOKENS_FILE",
        "",
        "tokens: file with a token a line, with user: and a user id if it is bound to one.",
    )
    jwt_jwks: str = setting("ILAB_CHAT_JWT_JWKS", "", "jwt: file or https URL of the issuer's public keys (JWKS).")
    jwt_issuer: str = setting("ILAB_CHAT_JWT_ISSUER", "", "jwt: what the claim iss must be.")
    jwt_audience: str = setting("ILAB_CHAT_JWT_AUDIENCE", "", "jwt: what the claim aud must be or contain.")
    jwt_algorithms: str = setting(
        "ILAB_CHAT_JWT_ALGORITHMS", "RS256,PS256,ES256,EdDSA", "jwt: algorithms that are accepted, with commas between."
    )
    jwt_leeway_seconds: float = setting(
        "ILAB_CHAT_JWT_LEEWAY_SECONDS",
        30.0,
        "jwt: seconds that the clocks of issuer and server may differ by.",
        least=0,
    )
    jwt_scope: str = setting(
        "ILAB_CHAT_JWT_SCOPE",
        "ilab-chat:any-user",
        "jwt: scope of tokens that may act for any user, not only for their sub.",
    )
    spiffe_ids: str = setting(
        "ILAB_CHAT_SPIFFE_IDS", "", "spiffe: ids that may call, with commas between; /* at the end is for all below."
    )
    memory_db_path: str = setting(
        "ILAB_MEMORY_DB_PATH", "./memory.db", "SQLite file of the memory; made when missing, with its folders."
    )
    memory_create: bool = setting(
        "ILAB_MEMORY_CREATE", False, "Create an empty memory although files of a lost one are there. For one start."
    )
    memory_url: str = setting(
        "ILAB_MEMORY_URL",
        "",
        "PostgreSQL database of the memory, postgresql://USER@HOST/DATABASE, in the place of ILAB_MEMORY_DB_PATH.",
        secret=True,
    )
    durability: str = setting(
        "ILAB_MEMORY_DURABILITY", "full", "What an answered turn survives: full, loss of power; normal, a crash."
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
        "OPENAI_BASE_URL",
        "",
        "Base URL of any OpenAI-compatible API, usually ending in /v1; /chat/completions is added. Empty: OpenAI.",
    )
    models_file: str = setting(
        "ILAB_CHAT_MODELS_FILE",
        "",
        "TOML file of the models that callers may ask for (docs/models.md). Empty: the API of the OPENAI_ variables.",
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
    heartbeat_seconds: float = setting(
        "ILAB_CHAT_HEARTBEAT_SECONDS",
        15.0,
        "Seconds of silence after which a stream that has begun sends a heartbeat, so that no proxy takes it for idle. "
        "0: never; else 0.01 or more.",
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
    escape_message: bool = setting(
        "ILAB_CHAT_ESCAPE_MESSAGE",
        False,
        "Escape control tokens of chat templates in the current message too, as they always are in recalled text.",
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
    max_calls: int = setting("ILAB_CHAT_MAX_CALLS", 256, "Most chat calls that run at once, in each process.", least=1)
    max_queued_calls: int = setting(
        "ILAB_CHAT_MAX_QUEUED_CALLS", 128, "Most chat calls that wait until one of those ends.", least=0
    )
    max_calls_per_user: int = setting(
        "ILAB_CHAT_MAX_CALLS_PER_USER", 16, "Most chat calls of one user that run or wait.", least=1
    )
    queue_seconds: float = setting(
        "ILAB_CHAT_QUEUE_SECONDS", 5.0, "Longest that a chat call waits before it is refused as SERVER_BUSY.", least=0
    )
    connection_age_seconds: float = setting(
        "ILAB_CHAT_CONNECTION_AGE_SECONDS",
        1800.0,
        "Seconds after which clients are made to connect anew, running calls unharmed, so that new servers get their "
        "share behind a balancer of connections. 0: never.",
        least=0,
    )
    propagation_seconds: float = setting(
        "ILAB_CHAT_PROPAGATION_SECONDS",
        5.0,
        "Seconds after SIGTERM in which calls are still answered, while clients learn from health to go elsewhere.",
        least=0,
    )
    drain_seconds: float = setting(
        "ILAB_CHAT_DRAIN_SECONDS", 30.0, "Seconds that running calls then get to finish.", least=0
    )
    log_level: str = setting("ILAB_CHAT_LOG_LEVEL", "INFO", "DEBUG, INFO, WARNING or ERROR.")
    log_format: str = setting("ILAB_CHAT_LOG_FORMAT", "auto", "json, text, or auto: text on a terminal, else json.")
    log_key: str = setting(
        "ILAB_CHAT_LOG_KEY",
        "",
        "Key of the hashes that stand for user ids and request ids in the log. Empty: a random one for each start.",
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
        if self.durability not in {"full", "normal"}:
            raise SettingsError("ILAB_MEMORY_DURABILITY: must be full or normal")
        if 0 < self.heartbeat_seconds < LEAST_HEARTBEAT_SECONDS:
            raise SettingsError(f"ILAB_CHAT_HEARTBEAT_SECONDS: must be 0, or {LEAST_HEARTBEAT_SECONDS:g} to {MOST:g}")
        if not self.memory_db_path.strip():
            raise SettingsError("ILAB_MEMORY_DB_PATH: must be the path of a file, and is blank")
        if self.workers > 1 and (self.embedded or self.memory_db_path == ":memory:"):
            raise SettingsError("ILAB_CHAT_WORKERS: must be 1 with the embedded model, and with a memory in no file")
        check_model(self)
        check_listener(self)
        check_auth(self)

    @property
    def prompt_budget(self) -> int:
        """The budget of a prompt in tokens, with the default resolved."""
        return self.prompt_tokens or (EMBEDDED_PROMPT_TOKENS if self.embedded else PROMPT_TOKENS)

    @property
    def embedded(self) -> bool:
        """Whether the embedded model answers: neither a key nor a URL of another is given."""
        return not (self.models_file or self.openai_api_key or self.openai_base_url)


def check_model(settings: Settings) -> None:
    """Check where the model is, and the key to it: both go into the head of a request."""
    for field, env in (("openai_base_url", "OPENAI_BASE_URL"), ("openai_model", "OPENAI_MODEL")):
        if settings.models_file and getattr(settings, field):
            raise SettingsError(f"{env}: set beside ILAB_CHAT_MODELS_FILE, which names the models; unset one of them")
    if settings.openai_base_url and (fault := url_fault(settings.openai_base_url)):
        raise SettingsError(f"OPENAI_BASE_URL: {fault}")
    if not all("!" <= character <= "~" for character in settings.openai_api_key):
        raise SettingsError("OPENAI_API_KEY: must have visible ASCII characters only")
    if settings.openai_api_key and url_without_login(settings.openai_base_url)[1]:
        raise SettingsError(
            "OPENAI_BASE_URL: has a user name, and OPENAI_API_KEY is set too: an API takes one of them; unset one"
        )


def check_listener(settings: Settings) -> None:
    """Check what is served where.

    Raises:
        SettingsError: half of a TLS setting, or plaintext for strangers that nobody asked for.
    """
    if bool(settings.tls_cert_file) != bool(settings.tls_key_file):
        missing = "KEY" if settings.tls_cert_file else "CERT"
        raise SettingsError(f"ILAB_CHAT_TLS_{missing}_FILE: TLS needs a certificate and its key")
    if settings.tls_client_ca_file and not settings.tls_cert_file:
        raise SettingsError("ILAB_CHAT_TLS_CERT_FILE: client certificates need TLS")
    try:
        host, _ = split_address(settings.address)
    except ValueError:
        raise SettingsError("ILAB_CHAT_ADDRESS: must be HOST:PORT, for instance 127.0.0.1:50051") from None
    if is_loopback(host):
        return
    if not settings.tls_cert_file and not settings.allow_plaintext:
        raise SettingsError(
            "ILAB_CHAT_ADDRESS: not a loopback address, and there is no TLS; set ILAB_CHAT_TLS_CERT_FILE, or "
            "ILAB_CHAT_ALLOW_PLAINTEXT=true if something in front of this server encrypts"
        )
    if not settings.auth:
        raise SettingsError(
            "ILAB_CHAT_AUTH: not a loopback address, so say how callers are known; none if something in front of this "
            "server knows them"
        )


def check_auth(settings: Settings) -> None:
    """Check that what the way of knowing callers needs is there, and nothing that another one needs.

    A file of tokens that nobody looks at would be a server that everybody can call.

    Raises:
        SettingsError: the first variable that does not fit.
    """
    if settings.auth not in AUTH_NEEDS:
        raise SettingsError("ILAB_CHAT_AUTH: must be none, tokens, jwt or spiffe")
    names = {field.name: field.metadata["env"] for field in dataclasses.fields(settings)}
    for auth, needs in AUTH_NEEDS.items():
        for name in needs:
            given = bool(getattr(settings, name))
            if auth == settings.auth and not given:
                raise SettingsError(f"{names[name]}: needed for ILAB_CHAT_AUTH={auth}")
            if given and name not in AUTH_NEEDS[settings.auth]:
                raise SettingsError(f"{names[name]}: set, and ILAB_CHAT_AUTH is not {auth}")
    if settings.auth == "spiffe":
        check_spiffe(settings)
    if settings.auth == "jwt":
        check_jwt(settings)


def check_spiffe(settings: Settings) -> None:
    """Check the ids. The certificates they stand in need an authority."""
    if not settings.tls_client_ca_file:
        raise SettingsError("ILAB_CHAT_TLS_CLIENT_CA_FILE: needed for ILAB_CHAT_AUTH=spiffe")
    ids = words(settings.spiffe_ids)
    if not ids or not all(is_spiffe_id(each.removesuffix("/*")) for each in ids):
        raise SettingsError(
            "ILAB_CHAT_SPIFFE_IDS: must be like spiffe://example.org/ns/shop/sa/orders or .../ns/shop/*"
        )


def check_jwt(settings: Settings) -> None:
    """Check where keys come from, and the algorithms: with a shared secret, whoever verifies a token could make one."""
    algorithms = words(settings.jwt_algorithms)
    if not algorithms or not set(algorithms) <= JWT_ALGORITHMS:
        raise SettingsError(f"ILAB_CHAT_JWT_ALGORITHMS: must be some of {', '.join(sorted(JWT_ALGORITHMS))}")
    if "://" not in settings.jwt_jwks:
        return
    if not is_http_url(settings.jwt_jwks):
        raise SettingsError("ILAB_CHAT_JWT_JWKS: must be a file or an https URL")
    url = urlsplit(settings.jwt_jwks)
    if url.scheme != "https" and not is_loopback(url.hostname or ""):
        raise SettingsError("ILAB_CHAT_JWT_JWKS: must be https: over http, anybody on the way could name keys")


def words(text: str) -> list[str]:
    """Return the parts of a text that has commas between."""
    return [word for each in text.split(",") if (word := each.strip())]


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
    if "memory_url" in values and "memory_db_path" in values:
        raise SettingsError(
            "ILAB_MEMORY_URL: set beside ILAB_MEMORY_DB_PATH, and there is one memory; unset one of them"
        )
    return Settings(**values)


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
        SettingsError: it is none; the text names *env*.
    """
    try:
        return PARSERS[kind](text)
    except (ValueError, KeyError):
        raise SettingsError(f"{env}: must be {NAMES[kind]}") from None


def text_of(text: str) -> str:
    """Return *text* if it was UTF-8: other bytes of the environment come as half characters that no answer can hold."""
    text.encode()
    return text


PARSERS: dict[type, Callable[[str], str | int | float | bool]] = {
    str: text_of,
    int: int,
    float: float,
    bool: lambda text: {"true": True, "1": True, "false": False, "0": False}[text.lower()],
}
NAMES: dict[type, str] = {int: "a whole number", float: "a number", bool: "true or false", str: "UTF-8 text"}
