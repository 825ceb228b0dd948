"""Check that the keys of a model in the models file are consistent. Pure."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

from ilab_chat_service.model.profile_table import ModelFault, choice
from ilab_chat_service.model.request import OURS
from ilab_chat_service.settings.addresses import url_fault, url_without_login

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ilab_chat_service.model.profile_table import ModelTable
    from ilab_chat_service.model.profiles import Profile

HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

#: Headers that the HTTP client sets.
OF_HTTP = frozenset(
    """
    accept-encoding connection content-encoding content-length content-type expect host keep-alive proxy-connection te
    trailer transfer-encoding upgrade
    """.split()
)

#: Fields that a profile must not add: ours, and the number of replies.
RESERVED = OURS | {"n"}

#: Range of integers that every API can parse.
LEAST_INTEGER, MOST_INTEGER = -(2**63), 2**64 - 1


def check_table(table: ModelTable, path: Sequence[str]) -> None:
    """Check the keys of one model. *path* leads to its table.

    Raises:
        ModelFault: a key is invalid, or contradicts another.
    """
    if table.base_url and (fault := url_fault(table.base_url)):
        raise ModelFault([*path, "base_url"], fault)
    check_keys(table, path)
    check_headers(table, path)
    check_query(table, path)
    check_body(table.body, [*path, "body"])
    check_options(table, path)
    check_window(table, path)


def check_keys(table: ModelTable, path: Sequence[str]) -> None:
    """Check that an API gets one key. Errors never quote values: a user may write the key instead of its variable."""
    if table.api_key_env and table.api_key_file:
        raise ModelFault([*path, "api_key_file"], "conflicts with api_key_env; a model has one key, so remove one")
    if table.base_url and url_without_login(table.base_url)[1] and (table.api_key_env or table.api_key_file):
        raise ModelFault([*path, "base_url"], "contains a login, and a key is set too; remove one")
    if table.api_key_env and not VARIABLE_NAME.fullmatch(table.api_key_env):
        raise ModelFault([*path, "api_key_env"], "must be the name of an environment variable, not the key itself")


def check_headers(table: ModelTable, path: Sequence[str]) -> None:
    """Check that headers are valid and that none is set twice."""
    if table.api_key_header and not is_free_header(table.api_key_header):
        raise ModelFault([*path, "api_key_header"], "must be the name of a header that HTTP does not set itself")
    has_key = table.api_key_env or table.api_key_file or not table.base_url
    if table.api_key_header and not has_key:
        raise ModelFault([*path, "api_key_header"], "needs a key; set api_key_env or api_key_file")
    taken: dict[str, str] = {}
    if has_key or url_without_login(table.base_url)[1]:
        taken[(table.api_key_header or "authorization").lower()] = "the key"
    for name, value in table.headers.items():
        here = [*path, "headers", name]
        if not is_free_header(name):
            raise ModelFault(here, "must be the name of a header that HTTP does not set itself")
        if not all(" " <= character <= "~" for character in value):
            raise ModelFault(here, "must be visible ASCII text on one line")
        if other := taken.get(name.lower()):
            raise ModelFault(here, f"is set twice; {other} is sent in this header too, so remove one")
        taken[name.lower()] = name


def is_free_header(name: str) -> bool:
    """Return whether a header called *name* may be added."""
    return bool(HEADER_NAME.fullmatch(name)) and name.lower() not in OF_HTTP


def check_query(table: ModelTable, path: Sequence[str]) -> None:
    """Check that no query parameter is set twice."""
    in_url = {name for name, _ in parse_qsl(urlsplit(table.base_url).query, keep_blank_values=True)}
    if table.api_version and "api-version" in in_url | table.query.keys():
        raise ModelFault([*path, "api_version"], "is set twice; the query has an api-version too, so remove one")
    if twice := in_url & table.query.keys():
        raise ModelFault([*path, "query", min(twice)], "is set twice; base_url has it too, so remove one")


def check_body(body: Mapping[str, Any], path: Sequence[str]) -> None:
    """Check that the fields are not ours and can be sent as JSON."""
    if ours := body.keys() & RESERVED:
        raise ModelFault(
            [*path, min(ours)], "is set by the server; use the other keys of the model, such as defaults or streaming"
        )
    for here, value in leaves(body, path):
        if not isinstance(value, str | bool | int | float):
            raise ModelFault(here, "must be a JSON value; write dates and times as strings")
        if isinstance(value, float) and not math.isfinite(value):
            raise ModelFault(here, "must be a finite number")
        if isinstance(value, int) and not LEAST_INTEGER <= value <= MOST_INTEGER:
            raise ModelFault(here, "must be an integer of 64 bits")


def leaves(value: object, path: Sequence[str]) -> Iterator[tuple[Sequence[str], object]]:
    """Yield each value in nested tables and lists, with the keys that lead to it."""
    match value:
        case dict():
            for key, each in value.items():
                yield from leaves(each, [*path, key])
        case list():
            for each in value:
                yield from leaves(each, path)
        case _:
            yield path, value


def check_options(table: ModelTable, path: Sequence[str]) -> None:
    """Check that defaults and caps are sent, and do not contradict each other."""
    cap = table.caps.max_output_tokens
    for option in table.defaults.__struct_fields__:
        if option in table.drop and getattr(table.defaults, option) not in (None, []):
            raise ModelFault([*path, "defaults", option], "is never sent, because drop lists it; remove one")
    for key, limits in ("caps", table.caps), ("defaults", table.defaults):
        here = [*path, key, "max_output_tokens"]
        if limits.max_output_tokens is None:
            continue
        if table.token_limit == "none":  # noqa: S105 - no password
            raise ModelFault(here, 'is never sent, because token_limit = "none"; remove one')
        if "max_output_tokens" in table.drop:
            raise ModelFault(here, "is never sent, because drop lists it; remove one")
        if cap and limits.max_output_tokens > cap:
            raise ModelFault(here, "must be at most caps.max_output_tokens")
        if table.context_window and limits.max_output_tokens >= table.context_window:
            raise ModelFault(here, "must be below context_window, which also contains the prompt")


def check_window(table: ModelTable, path: Sequence[str]) -> None:
    """Check that the prompt leaves room for a reply."""
    if table.prompt_tokens and table.context_window and table.prompt_tokens >= table.context_window:
        raise ModelFault([*path, "prompt_tokens"], "must be below context_window, which also contains the reply")


def check_fallbacks(profiles: Mapping[str, Profile]) -> None:
    """Check that fallbacks exist and do not form a cycle.

    Raises:
        ModelFault: a fallback does not exist, or they form a cycle.
    """
    for profile in profiles.values():
        path = ["models", profile.name, "fallback"]
        chain = [profile.name]
        while fallback := profiles[chain[-1]].fallback:
            if fallback not in profiles:
                # If the missing fallback is that of another model, the error is reported for that model.
                if len(chain) > 1:
                    break
                others = [name for name in profiles if name != profile.name]
                possible = choice(fallback, others) if others else "there is only one model"
                raise ModelFault(path, f"must be the name of another model of this file; {possible}")
            chain.append(fallback)
            if fallback in chain[:-1]:
                raise ModelFault(path, f"forms a cycle: {' -> '.join(chain)}")
