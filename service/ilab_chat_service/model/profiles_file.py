"""Profiles of models, from a TOML file or from the settings of one API. docs/models.md has examples."""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec

from ilab_chat_service.addresses import chat_completions_url, is_within, url_fault, url_without_login
from ilab_chat_service.file_reload import content, reason
from ilab_chat_service.model.keys import FixedKey, Key, is_header_value, key_in_file
from ilab_chat_service.model.profiles import Profile, Profiles, SystemRole, TokenLimit
from ilab_chat_service.model.request import OURS
from ilab_chat_service.ports import Generation, ReasoningEffort
from ilab_chat_service.settings import DEFAULT_MODEL, SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ilab_chat_service.settings import Settings

OPENAI_URL = "https://api.openai.com/v1"
OPENAI_KEY = "OPENAI_API_KEY"

VARIABLE = "ILAB_CHAT_MODELS_FILE"

#: Hosts whose newer models refuse `max_tokens`; of others, some know no other name.
#: https://platform.openai.com/docs/api-reference/chat/create (max_tokens: deprecated, not for o-series models)
NEW_LIMIT_HOSTS = ("openai.com", "azure.com")

#: Longest name of a model that callers may ask for (contract).
NAME_CHARACTERS = 128

HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")

Option = Literal["temperature", "top_p", "max_output_tokens", "stop", "seed", "reasoning_effort", "response_format"]
Tokens = Annotated[int, msgspec.Meta(ge=1, le=100_000_000)]
OutputTokens = Annotated[int, msgspec.Meta(ge=1, le=1_048_576)]


class OptionsTable(msgspec.Struct, forbid_unknown_fields=True):
    """`defaults` of a model."""

    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, msgspec.Meta(gt=0, le=1)] | None = None
    max_output_tokens: OutputTokens | None = None
    stop: Annotated[list[Annotated[str, msgspec.Meta(min_length=1, max_length=256)]], msgspec.Meta(max_length=4)] = []
    seed: Annotated[int, msgspec.Meta(ge=-(2**31), lt=2**31)] | None = None
    reasoning_effort: ReasoningEffort | None = None


class CapsTable(msgspec.Struct, forbid_unknown_fields=True):
    """`caps` of a model."""

    max_output_tokens: OutputTokens | None = None


class ModelTable(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A table `[models.NAME]`."""

    model: str = ""
    base_url: str = ""
    api_key_env: str = ""
    api_key_file: str = ""
    api_key_header: str = ""
    api_version: str = ""
    headers: dict[str, str] = {}
    query: dict[str, str] = {}
    body: dict[str, Any] = {}
    context_window: Tokens | None = None
    prompt_tokens: Tokens | None = None
    token_limit: TokenLimit | None = None
    include_usage: bool = True
    streaming: bool = True
    system_role: SystemRole = "system"
    drop: list[Option] = []
    defaults: OptionsTable = msgspec.field(default_factory=OptionsTable)
    caps: CapsTable = msgspec.field(default_factory=CapsTable)
    fallback: str = ""


class ModelFault(ValueError):
    """A key of the file cannot be used. `path` leads to it."""

    def __init__(self, path: Sequence[str], text: str) -> None:
        super().__init__(text)
        self.path = tuple(path)


def read_profiles(settings: Settings, environ: Mapping[str, str] = os.environ) -> Profiles:
    """Return the models that *settings* name, blocking: those of the file, or the one API of the OPENAI variables.

    Raises:
        SettingsError: the file or a key cannot be used; it names the key and the line.
    """
    if not settings.models_file:
        profile = profile_of_settings(
            settings,
            base_url=settings.openai_base_url or OPENAI_URL,
            key=FixedKey(settings.openai_api_key),
            model=settings.openai_model or DEFAULT_MODEL,
        )
        return Profiles({profile.name: profile}, profile.name, any_model=True)
    try:
        text = content(Path(settings.models_file)).decode()
        return profiles_of(tomllib.loads(text), settings, environ)
    except ModelFault as fault:
        place = f"line {line_of(text, fault.path)}: {'.'.join(fault.path)}"
        raise SettingsError(f"{VARIABLE}: {settings.models_file}: {place}: {fault}") from None
    except OSError as error:
        raise SettingsError(f"{VARIABLE}: {reason(error)}") from None
    except ValueError as error:
        # Not TOML or not UTF-8. The parser quotes a character at most.
        fault_text = "must be UTF-8 text" if isinstance(error, UnicodeDecodeError) else str(error)
        raise SettingsError(f"{VARIABLE}: {settings.models_file}: {fault_text}") from None


def profile_of_settings(settings: Settings, *, base_url: str, key: Key, model: str) -> Profile:
    """Return the profile of the one API that the settings name."""
    url, login = url_without_login(base_url)
    return Profile(
        name=model,
        model=model,
        url=chat_completions_url(url, {}),
        key=key,
        headers={"Authorization": login} if login else {},
        prompt_tokens=settings.prompt_budget,
        token_limit=token_limit_of(base_url),
        embedded=settings.embedded,
    )


def profiles_of(document: Mapping[str, Any], settings: Settings, environ: Mapping[str, str]) -> Profiles:
    """Return the models of a file.

    Raises:
        ModelFault: a key cannot be used.
    """
    unknown = sorted(document.keys() - {"default", "models"})
    if unknown:
        raise ModelFault([unknown[0]], "unknown key; a file has default and [models.NAME] tables")
    models = document.get("models")
    if not isinstance(models, dict) or not models:
        raise ModelFault(["models"], "must have at least one table [models.NAME]")
    default = document.get("default", next(iter(models)) if len(models) == 1 else None)
    if not isinstance(default, str) or default not in models:
        raise ModelFault(["default"], "must be the name of one of the models")
    profiles = {name: profile_of(name, table, settings, environ) for name, table in models.items()}
    for profile in profiles.values():
        check_fallbacks(profile, profiles)
    return Profiles(profiles, default, any_model=False)


def profile_of(name: str, value: object, settings: Settings, environ: Mapping[str, str]) -> Profile:
    """Return the profile of one table.

    Raises:
        ModelFault: a key cannot be used.
    """
    path = ["models", name]
    if not (is_header_value(name) and 0 < len(name) <= NAME_CHARACTERS):
        raise ModelFault(path, f"a name must have 1 to {NAME_CHARACTERS} visible ASCII characters")
    table = converted(value, path)
    base_url = table.base_url or OPENAI_URL
    if fault := url_fault(base_url):
        raise ModelFault([*path, "base_url"], fault)
    url, login = url_without_login(base_url)
    if login and (table.api_key_env or table.api_key_file):
        raise ModelFault([*path, "base_url"], "has a user name, and a key is set too: an API takes one of them")
    if table.body.keys() & OURS:
        field = min(table.body.keys() & OURS)
        raise ModelFault([*path, "body", field], "is set by the server; use the keys of the model, or its defaults")
    for header, text in table.headers.items():
        if not HEADER_NAME.fullmatch(header) or not all(" " <= character <= "~" for character in text):
            raise ModelFault([*path, "headers", header], "must be a header field of ASCII text")
    if table.api_key_header and not HEADER_NAME.fullmatch(table.api_key_header):
        raise ModelFault([*path, "api_key_header"], "must be the name of a header")
    query = {**({"api-version": table.api_version} if table.api_version else {}), **table.query}
    return Profile(
        name=name,
        model=table.model or name,
        url=chat_completions_url(url, query),
        key=key_of_table(table, path, environ),
        key_header=table.api_key_header,
        headers={**({"Authorization": login} if login else {}), **table.headers},
        body=table.body,
        prompt_tokens=prompt_tokens_of(table, path, settings),
        token_limit=table.token_limit or token_limit_of(base_url),
        include_usage=table.include_usage,
        streaming=table.streaming,
        system_role=table.system_role,
        drop=frozenset(table.drop),
        defaults=Generation(**{**msgspec.structs.asdict(table.defaults), "stop": tuple(table.defaults.stop)}),
        most_output_tokens=table.caps.max_output_tokens,
        fallback=table.fallback,
    )


def converted(value: object, path: Sequence[str]) -> ModelTable:
    """Return a table of the file as its type.

    Raises:
        ModelFault: a key is unknown, or its value is of another type or out of range.
    """
    try:
        return msgspec.convert(value, ModelTable)
    except msgspec.ValidationError as error:
        text, _, place = str(error).partition(" - at `")
        steps = [step for step in re.split(r"[.\[]", place.rstrip("`").removeprefix("$")) if step and step != "...]"]
        if unknown := re.search(r"unknown field `(.*)`", text):
            table = {"defaults": OptionsTable, "caps": CapsTable}.get(steps[0] if steps else "", ModelTable)
            near = difflib.get_close_matches(unknown[1], table.__struct_fields__, 1)
            raise ModelFault(
                [*path, *steps, unknown[1]], f"unknown key{f'; did you mean {near[0]}?' if near else ''}"
            ) from None
        raise ModelFault([*path, *(step.removesuffix("]") for step in steps)], text[0].lower() + text[1:]) from None


def key_of_table(table: ModelTable, path: Sequence[str], environ: Mapping[str, str]) -> Key:
    """Return the key of a model.

    Raises:
        ModelFault: the variable or the file does not have one.
    """
    if table.api_key_env and table.api_key_file:
        raise ModelFault([*path, "api_key_file"], "set beside api_key_env: a model has one key")
    if table.api_key_file:
        try:
            return key_in_file(table.api_key_file)
        except (OSError, ValueError) as error:
            raise ModelFault([*path, "api_key_file"], reason(error)) from None
    variable = table.api_key_env or ("" if table.base_url else OPENAI_KEY)
    key = environ.get(variable, "") if variable else ""
    if variable and not key:
        raise ModelFault([*path, "api_key_env"], f"the environment variable {variable} is not set")
    if not is_header_value(key):
        raise ModelFault([*path, "api_key_env"], f"{variable} must consist of visible ASCII characters")
    return FixedKey(key)


def prompt_tokens_of(table: ModelTable, path: Sequence[str], settings: Settings) -> int:
    """Return the budget of a model's prompts: what leaves room for the reply in its window.

    Raises:
        ModelFault: the window has no room.
    """
    wanted = table.prompt_tokens or settings.prompt_budget
    if table.context_window is None:
        return wanted
    if table.prompt_tokens and table.prompt_tokens > table.context_window:
        raise ModelFault([*path, "prompt_tokens"], "must be at most context_window")
    reply = table.caps.max_output_tokens or table.defaults.max_output_tokens or table.context_window // 4
    return max(min(wanted, table.context_window - reply), 1)


def check_fallbacks(profile: Profile, profiles: Mapping[str, Profile]) -> None:
    """Check that the fallbacks of *profile* exist and come to an end.

    Raises:
        ModelFault: they do not.
    """
    path = ["models", profile.name, "fallback"]
    seen = {profile.name}
    while profile.fallback:
        if profile.fallback not in profiles:
            raise ModelFault(path, "must be the name of one of the models")
        if profile.fallback in seen:
            raise ModelFault(path, "leads back to a model that has failed already")
        seen.add(profile.fallback)
        profile = profiles[profile.fallback]


def token_limit_of(base_url: str) -> TokenLimit:
    """Return the name that an API has for the limit of a reply's tokens, as far as its host tells."""
    return "max_completion_tokens" if is_within(base_url, NEW_LIMIT_HOSTS) else "max_tokens"


def line_of(text: str, path: Sequence[str]) -> int:
    """Return the line of a TOML document that sets the key at *path*, or else the one of its nearest table.

    By the usual form of a file, a header for each table and a line for each key: good enough to be led there.
    """
    table: tuple[str, ...] = ()
    best = (0, 1)
    for number, line in enumerate(text.splitlines(), 1):
        if header := re.match(r"\s*\[([^\[\]]+)\]", line):
            table = keys_of(header[1])
            here = table
        elif key := re.match(r"\s*([^=#]+?)\s*=", line):
            here = (*table, *keys_of(key[1]))
        else:
            continue
        if here == tuple(path[: len(here)]) and len(here) > best[0]:
            best = (len(here), number)
    return best[1]


def keys_of(dotted: str) -> tuple[str, ...]:
    """Return the keys of a dotted key, quoted or not."""
    return tuple(
        quoted or literal or bare
        for quoted, literal, bare in re.findall(r'"([^"]*)"|\'([^\']*)\'|([^\s."\']+)', dotted)
    )
