"""Profiles of models, from a TOML file or from the settings of one API. docs/models.md has examples."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from ilab_chat_service.file_reload import FileReload, content, reason
from ilab_chat_service.limits import MODEL_CHARACTERS
from ilab_chat_service.model.profile_checks import check_fallbacks, check_table
from ilab_chat_service.model.profile_table import ModelFault, ModelTable, choice, table_of
from ilab_chat_service.model.profiles import Profile, Profiles
from ilab_chat_service.model.toml_lines import line_of, path_text, syntax_fault
from ilab_chat_service.settings import SettingsError
from ilab_chat_service.settings.addresses import chat_completions_url, is_within, url_without_login
from ilab_chat_service.settings.model import DEFAULT_MODEL
from ilab_chat_service.values import Generation

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ilab_chat_service.model.profiles import ChangingKey, TokenLimit
    from ilab_chat_service.settings.model import ModelSettings

OPENAI_URL = "https://api.openai.com/v1"
OPENAI_KEY = "OPENAI_API_KEY"

VARIABLE = "ILAB_CHAT_MODELS_FILE"

#: Top-level keys of the file.
TOP_LEVEL = ("default", "models")

#: Hosts whose newer models reject `max_tokens`. Some other hosts accept no other name.
#: https://platform.openai.com/docs/api-reference/chat/create (max_tokens: deprecated, not for o-series models)
NEW_LIMIT_HOSTS = ("openai.com", "azure.com")


def read_profiles(settings: ModelSettings, environ: Mapping[str, str] = os.environ) -> Profiles:
    """Return the configured models: those of the models file, or the one API of the OPENAI variables. Blocks.

    Raises:
        SettingsError: the file or a key is invalid. The text names the key and the line.
    """
    if not settings.models_file:
        table = ModelTable(base_url=settings.openai_base_url)
        profile = profile_of(settings.openai_model or DEFAULT_MODEL, table, settings.openai_api_key, settings)
        return Profiles({profile.name: profile}, profile.name, any_model=True)
    location = f"{VARIABLE}: {settings.models_file}"
    text = ""
    try:
        text = content(Path(settings.models_file)).decode("utf-8-sig")
        return profiles_of(tomllib.loads(text), settings, environ)
    except ModelFault as fault:
        line = line_of(text, fault.path)
        raise SettingsError(f"{location}: line {line}: {path_text(fault.path)}: {fault}") from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{location}: {syntax_fault(text, error)}") from None
    except OSError as error:
        raise SettingsError(f"{VARIABLE}: {reason(error)}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{location}: must be UTF-8 text") from None
    except RecursionError:
        raise SettingsError(f"{location}: values are nested too deeply") from None
    except ValueError as error:
        raise SettingsError(f"{VARIABLE}: {error}") from None


def profiles_of(document: Mapping[str, Any], settings: ModelSettings, environ: Mapping[str, str]) -> Profiles:
    """Return the models of a file.

    Raises:
        ModelFault: a key is invalid.
    """
    if unknown := next((key for key in document if key not in TOP_LEVEL), None):
        raise ModelFault([unknown], f"unknown key; {choice(unknown, TOP_LEVEL)}")
    models = document.get("models")
    if not isinstance(models, dict) or not models:
        raise ModelFault(["models"], "must have at least one table [models.NAME]")
    profiles = {name: profile_in_file(name, table, settings, environ) for name, table in models.items()}
    check_fallbacks(profiles)
    return Profiles(profiles, default_of(document, models), any_model=False)


def default_of(document: Mapping[str, Any], models: Mapping[str, Any]) -> str:
    """Return the name of the model for calls that name none.

    Raises:
        ModelFault: the default is missing, or is not one of the models.
    """
    if "default" not in document:
        if len(models) == 1:
            return next(iter(models))
        raise ModelFault(["default"], f"must be set, because there are several models; {choice('', models)}")
    default = document["default"]
    if not isinstance(default, str) or default not in models:
        raise ModelFault(["default"], f"must be the name of one of the models; {choice(str(default), models)}")
    return default


def profile_in_file(name: str, value: object, settings: ModelSettings, environ: Mapping[str, str]) -> Profile:
    """Return the profile of one table.

    Raises:
        ModelFault: a key is invalid.
    """
    path = ["models", name]
    if not (is_header_value(name) and 0 < len(name) <= MODEL_CHARACTERS):
        raise ModelFault(path, f"a name must have 1 to {MODEL_CHARACTERS} visible ASCII characters")
    table = table_of(value, path)
    check_table(table, path)
    return profile_of(name, table, key_of_table(table, path, environ), settings)


def profile_of(name: str, table: ModelTable, key: str | ChangingKey, settings: ModelSettings) -> Profile:
    """Return the profile of a valid table."""
    base_url = table.base_url or OPENAI_URL
    url, login = url_without_login(base_url)
    query = {**({"api-version": table.api_version} if table.api_version else {}), **table.query}
    return Profile(
        name=name,
        model=table.model or name,
        url=chat_completions_url(url, query),
        key=key,
        key_header=table.api_key_header,
        headers={**({"Authorization": login} if login else {}), **table.headers},
        body=table.body,
        prompt_tokens=prompt_tokens_of(table, settings),
        token_limit=table.token_limit or token_limit_of(base_url),
        include_usage=table.include_usage,
        streaming=table.streaming,
        system_role=table.system_role,
        drop=frozenset(table.drop),
        defaults=Generation(
            **{**msgspec.structs.asdict(table.defaults), "stop_sequences": tuple(table.defaults.stop_sequences)}
        ),
        most_output_tokens=table.caps.max_output_tokens,
        embedded=settings.embedded,
        fallback=table.fallback,
    )


def key_of_table(table: ModelTable, path: Sequence[str], environ: Mapping[str, str]) -> str | ChangingKey:
    """Return the API key of a model.

    Raises:
        ModelFault: the variable or the file contains no valid key. The text quotes neither name, which may be the key.
    """
    if table.api_key_file:
        try:
            return FileReload([table.api_key_file], key_in)
        except OSError as error:
            raise ModelFault([*path, "api_key_file"], f"the file cannot be read: {error.strerror}") from None
        except ValueError as error:
            raise ModelFault([*path, "api_key_file"], str(error)) from None
    if not table.api_key_env and table.base_url:
        return ""
    key = environ.get(table.api_key_env or OPENAI_KEY, "")
    if not key and table.api_key_env:
        raise ModelFault([*path, "api_key_env"], "names an environment variable that is not set")
    if not key:
        raise ModelFault([*path, "api_key_env"], f"{OPENAI_KEY} is not set; set it, api_key_env or api_key_file")
    if not is_header_value(key):
        raise ModelFault([*path, "api_key_env"], "the key in the variable must consist of visible ASCII characters")
    return key


def key_in(content: bytes) -> str:
    """Return the key in the content of a file, without surrounding white space.

    Raises:
        ValueError: the file is empty, or the key cannot be a header value.
    """
    key = content.decode("latin-1").strip()
    if not key:
        raise ValueError("the file is empty")
    if not is_header_value(key):
        raise ValueError("a key must consist of visible ASCII characters")
    return key


def is_header_value(text: str) -> bool:
    """Return whether *text* consists of visible ASCII characters."""
    return all("!" <= character <= "~" for character in text)


def prompt_tokens_of(table: ModelTable, settings: ModelSettings) -> int:
    """Return the prompt budget of a model, lowered to leave room for the reply in its context window."""
    wanted = table.prompt_tokens or settings.prompt_budget
    if table.context_window is None:
        return wanted
    reply = table.caps.max_output_tokens or table.defaults.max_output_tokens or max(table.context_window // 4, 1)
    return max(min(wanted, table.context_window - reply), 1)


def token_limit_of(base_url: str) -> TokenLimit:
    """Return the name of the token limit field, derived from the API's host."""
    return "max_completion_tokens" if is_within(base_url, NEW_LIMIT_HOSTS) else "max_tokens"
