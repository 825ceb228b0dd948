"""docs/models.md agrees with the reader of the models file, and its examples can be read."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec import inspect

from contract.process import ROOT
from ilab_chat_service.model.profile_table import ModelTable, bare, described, keys_of
from ilab_chat_service.model.profiles_file import read_profiles
from ilab_chat_service.settings import Settings

PAGE = (ROOT / "docs/models.md").read_text()
EXAMPLES = re.findall(r"^```toml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def rows(table: inspect.Type, prefix: str = "") -> Iterator[str]:
    for name, kind, default, text in keys_of(table):
        if isinstance(kind, inspect.StructType):
            yield from rows(kind, f"{prefix}{name}.")
        else:
            yield f"| `{prefix}{name}` | {described(kind)} | {shown(default)} | {text} |"


def shown(default: object) -> str:
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    return f"`{default}`" if default else ""


def test_table_of_keys_is_that_of_the_reader() -> None:
    [written] = re.findall(r"<!-- keys -->\n(.*)\n<!-- /keys -->", PAGE, re.DOTALL)
    header = ["| key | value | default | what it is |", "|---|---|---|---|"]
    table = "\n".join([*header, *rows(bare(inspect.type_info(ModelTable)))])
    assert written == table, f"put this into docs/models.md:\n{table}"


@pytest.mark.parametrize("example", EXAMPLES)
def test_each_example_is_read(tmp_path: Path, example: str) -> None:
    # A key file of an example need not exist here.
    key_file = tmp_path / "key"
    key_file.write_text("k")
    text = re.sub(r'(api_key_file = )".*"', rf'\1"{key_file}"', example)
    path = tmp_path / "models.toml"
    path.write_text(text)
    variables = dict.fromkeys(["OPENAI_API_KEY", *re.findall(r'api_key_env = "(\w+)"', text)], "k")
    profiles = read_profiles(Settings(models_file=str(path)), variables)
    assert {profile.name for profile in profiles} == tomllib.loads(text)["models"].keys()


def test_each_vendor_has_an_example() -> None:
    vendors = "OpenAI", "Azure OpenAI", "Ollama", "vLLM", "llama.cpp", "OpenRouter", "Gemini", "Mistral", "DeepSeek"
    for vendor in vendors:
        [section] = re.findall(rf"^### {re.escape(vendor)}$(.*?)(?=^##)", PAGE + "\n##", re.MULTILINE | re.DOTALL)
        assert "```toml" in section
        assert "https://" in section
