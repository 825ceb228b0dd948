"""Settings of the model and the prompt."""

from __future__ import annotations

from dataclasses import dataclass

from ilab_chat_service.settings.addresses import url_fault, url_without_login
from ilab_chat_service.settings.fields import SettingsError, setting

DEFAULT_MODEL = "gpt-4o-mini"
PROMPT_TOKENS = 4000
EMBEDDED_PROMPT_TOKENS = 1000


@dataclass(frozen=True, kw_only=True)
class ModelSettings:
    """Which model answers, and what is sent to it."""

    openai_api_key: str = setting(
        "OPENAI_API_KEY",
        "",
        "API key of the model API. Without a key and a base URL, the embedded model answers.",
        secret=True,
    )
    openai_base_url: str = setting(
        "OPENAI_BASE_URL",
        "",
        "Base URL of an OpenAI-compatible API, usually ending in /v1; /chat/completions is appended. Empty: OpenAI.",
    )
    openai_model: str = setting(
        "OPENAI_MODEL",
        "",
        f"Name of the model that answers. Empty: {DEFAULT_MODEL}. Without OPENAI_API_KEY and OPENAI_BASE_URL, the "
        "embedded model answers instead.",
    )
    models_file: str = setting(
        "ILAB_CHAT_MODELS_FILE",
        "",
        "TOML file with the models that callers may request (docs/models.md). Empty: the API that the OPENAI_* "
        "variables name.",
    )
    model_timeout_seconds: float = setting(
        "ILAB_CHAT_MODEL_TIMEOUT_SECONDS", 120.0, "Model API read timeout, in seconds.", least=0.001
    )
    model_retries: int = setting(
        "ILAB_CHAT_MODEL_RETRIES",
        2,
        "Maximum number of retries of a model call that fails before its first token.",
        least=0,
    )
    instruction: str = setting(
        "ILAB_CHAT_INSTRUCTION",
        "You are a helpful assistant. Use prior context only if relevant.",
        "First line of the system prompt.",
    )
    escape_message: bool = setting(
        "ILAB_CHAT_ESCAPE_MESSAGE",
        False,
        "Escape control tokens of chat templates in the current message too. In recalled text they are always escaped.",
    )
    prompt_tokens: int = setting(
        "ILAB_CHAT_PROMPT_TOKENS",
        0,
        "Prompt budget, in estimated tokens. Memory and documents that exceed it are dropped, but never instructions "
        f"or message. 0: {PROMPT_TOKENS}, or {EMBEDDED_PROMPT_TOKENS} with the embedded model, which reads about "
        "300 tokens per second.",
        least=0,
    )

    @property
    def embedded(self) -> bool:
        """Whether the embedded model answers, because no key, base URL or models file is set."""
        return not (self.models_file or self.openai_api_key or self.openai_base_url)

    @property
    def prompt_budget(self) -> int:
        """The prompt budget in tokens, with the default resolved."""
        return self.prompt_tokens or (EMBEDDED_PROMPT_TOKENS if self.embedded else PROMPT_TOKENS)

    def check_model(self) -> None:
        """Check the base URL and the key, which become a request line and a header. Raises SettingsError."""
        for field, env in (("openai_base_url", "OPENAI_BASE_URL"), ("openai_model", "OPENAI_MODEL")):
            if self.models_file and getattr(self, field):
                raise SettingsError(f"{env}: conflicts with ILAB_CHAT_MODELS_FILE, which names the models; unset one")
        if self.openai_base_url and (fault := url_fault(self.openai_base_url)):
            raise SettingsError(f"OPENAI_BASE_URL: {fault}")
        if not all("!" <= character <= "~" for character in self.openai_api_key):
            raise SettingsError("OPENAI_API_KEY: must contain only visible ASCII characters")
        if self.openai_api_key and url_without_login(self.openai_base_url)[1]:
            raise SettingsError("OPENAI_BASE_URL: contains a user name, but OPENAI_API_KEY is set too; unset one")
