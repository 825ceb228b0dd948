"""The models that callers may ask for, and how the API of each is called. Values only: see `profiles_file.py`."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias
from urllib.parse import urlsplit

from ilab_chat_service.failures import ModelNotFound
from ilab_chat_service.values import Generation

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ilab_chat_service.model.keys import Key

SystemRole: TypeAlias = Literal["system", "developer", "user"]
TokenLimit: TypeAlias = Literal["max_tokens", "max_completion_tokens", "none"]

#: Models that a server without an allow-list keeps apart at a time: the breaker of each, and what each refuses.
MODELS_MOST = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """A model, and how its API is called."""

    name: str
    """What callers ask for."""
    model: str
    """The model's name in its API."""
    url: str
    """Where chat completions are asked for, whole."""
    key: Key
    key_header: str = ""
    """Header that has the key. Empty: `Authorization`, as a bearer token."""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] = field(default_factory=dict)
    """Fields that each request has beside ours."""
    prompt_tokens: int
    """Estimated tokens that memory and conversation may fill the prompt up to."""
    token_limit: TokenLimit
    """Name of the field that limits the tokens of a reply."""
    include_usage: bool = True
    streaming: bool = True
    system_role: SystemRole = "system"
    """Role of the system text. `user`: it is put before the first user message."""
    drop: frozenset[str] = frozenset()
    """Options of callers that are not sent, by their names in the proto."""
    defaults: Generation = field(default_factory=Generation)
    """Options for calls that do not set them."""
    most_output_tokens: int | None = None
    """Cap on `max_output_tokens`. A call that sets none gets this."""
    embedded: bool = False
    """Whether the model is the embedded one, in this process."""
    fallback: str = ""
    """Name of the model that is asked when this one cannot answer. Empty: none."""

    def __str__(self) -> str:
        model = "" if self.model == self.name else f" ({self.model})"
        return f"{self.name}{model}, embedded" if self.embedded else f"{self.name}{model} at {self.host}"

    @property
    def host(self) -> str:
        """Host and port that are called, for the operator."""
        url = urlsplit(self.url)
        return url.netloc.rpartition("@")[2]


class Profiles:
    """The models that callers may ask for, by name.

    Args:
        profiles: the models.
        default: name of the one that answers when a call names none.
        any_model: whether a name that is not listed is passed on to the API of the default.
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
        """Return the profile for *name*, as a call gives it.

        Raises:
            ModelNotFound: no such model is offered.
        """
        if not name:
            return self.default
        if profile := self._profiles.get(name):
            return profile
        if self.any_model:
            return replace(self.default, name=name, model=name)
        raise ModelNotFound("generation.model", "is not a model that this server offers")
