"""The models that callers may request, and how to call the API of each. Values only; see `profiles_file.py`."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias
from urllib.parse import urlsplit

from ilab_chat_service.failures import ModelNotFound
from ilab_chat_service.values import Generation

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SystemRole: TypeAlias = Literal["system", "developer", "user"]
TokenLimit: TypeAlias = Literal["max_tokens", "max_completion_tokens", "none"]

#: Maximum number of unlisted models whose state (breaker, what the API accepts) is stored at a time.
MAX_UNLISTED_MODELS = 100


class ChangingKey(Protocol):
    """The key of a model's API if it may change while the server runs."""

    async def current(self) -> str:
        """Return the current key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """A model, and how to call its API."""

    name: str
    """The name that callers request."""
    model: str
    """The model's name in its API."""
    url: str
    """Absolute URL of chat completions."""
    key: str | ChangingKey = field(repr=False)
    """Empty: the API needs none."""
    key_header: str = ""
    """Header for the key. Empty: `Authorization`, as a bearer token."""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] = field(default_factory=dict)
    """Fields added to each request."""
    prompt_tokens: int
    """Prompt budget, in estimated tokens."""
    token_limit: TokenLimit
    """Name of the field that limits the tokens of a reply."""
    include_usage: bool = True
    streaming: bool = True
    system_role: SystemRole = "system"
    """Role of the system text. `user`: it is prepended to the first user message."""
    drop: frozenset[str] = frozenset()
    """Options of callers that are not sent, by their names in the proto."""
    defaults: Generation = field(default_factory=Generation)
    """Options for calls that do not set them."""
    most_output_tokens: int | None = None
    """Cap on `max_output_tokens`, and its default."""
    embedded: bool = False
    """Whether the model is the embedded one, in this process."""
    fallback: str = ""
    """Name of the model that is asked if this one cannot answer. Empty: there is no fallback."""
    without_defaults: frozenset[str] = frozenset()
    """Options in `defaults` that the API has rejected, by their names in the proto."""

    def __str__(self) -> str:
        model = "" if self.model == self.name else f" ({self.model})"
        return f"{self.name}{model}, embedded" if self.embedded else f"{self.name}{model} at {self.host}"

    @property
    def host(self) -> str:
        """Host and port of the API, for operators."""
        url = urlsplit(self.url)
        return url.netloc.rpartition("@")[2]


class Profiles:
    """The models that callers may request, by name.

    Args:
        profiles: the models.
        default: name of the model for calls that name none.
        any_model: whether an unlisted name is passed on to the API of the default model.
    """

    def __init__(self, profiles: Mapping[str, Profile], default: str, *, any_model: bool) -> None:
        self._profiles = profiles
        self.default = profiles[default]
        self.any_model = any_model

    def __iter__(self) -> Iterator[Profile]:
        """Iterate over the models, the default first."""
        yield self.default
        yield from (profile for profile in self._profiles.values() if profile is not self.default)

    def named(self, name: str) -> Profile:
        """Return the profile for the *name* in a call. Empty: the default.

        Raises:
            ModelNotFound: the model is not offered.
        """
        if not name:
            return self.default
        if profile := self._profiles.get(name):
            return profile
        if self.any_model:
            return replace(self.default, name=name, model=name)
        raise ModelNotFound("generation.model", "is not a model that this server offers")
