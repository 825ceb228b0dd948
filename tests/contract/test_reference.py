"""The reference pages are generated from the code, and complete."""

import dataclasses
import re
import subprocess
import sys

from contract.pages import page
from contract.process import ROOT
from ilab_chat.v1 import chat_pb2, memory_pb2
from ilab_chat_service.rpc.error_table import INTERNAL, TABLE
from ilab_chat_service.settings import Settings
from ilab_memory import ILabMemory


def test_generated_pages_are_current() -> None:
    checked = subprocess.run(
        [sys.executable, ROOT / "tools/reference.py", "--check"], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stderr


def test_each_setting_is_documented() -> None:
    documented = re.findall(
        r"^\| `(\w+)` \|", page("docs/configuration.md").partition("## All settings")[2], re.MULTILINE
    )
    assert sorted(documented) == sorted(field.metadata["env"] for field in dataclasses.fields(Settings))


def test_each_reason_is_documented_with_what_to_do() -> None:
    reasons = {row.reason for row in (*TABLE.values(), INTERNAL)}
    table, _, advice = page("docs/errors.md").partition("## What to do")
    advice = advice.partition("## ")[0]
    assert set(re.findall(r"^\| `(\w+)` \| `\w+` \|", table, re.MULTILINE)) == reasons
    rows = [row.split("|")[1] for row in advice.splitlines() if row.startswith("| `")]
    assert set(re.findall(r"`(\w+)`", "".join(rows))) == reasons


def test_lists_in_comments_of_the_contract_stay_lists_outside_tables() -> None:
    rules = page("docs/api.md").partition("Rules for every method:")[2].partition("\n| ")[0]
    items = [line for line in rules.splitlines() if line]
    assert len(items) > 5
    assert all(line.startswith("- ") and ". - " not in line for line in items)
    assert ". - " not in page("docs/api.md")


def test_contract_of_the_library_names_each_of_its_methods() -> None:
    contract = page("docs/ilab-memory.md")
    assert [name for name in dir(ILabMemory) if name.startswith("mem_") and f"`{name}" not in contract] == []


def test_each_method_message_and_field_is_documented() -> None:
    reference = page("docs/api.md")
    for file in (chat_pb2.DESCRIPTOR, memory_pb2.DESCRIPTOR):
        for service in file.services_by_name.values():
            section = reference.partition(f"\n## {service.name}\n")[2].partition("\n## ")[0]
            for method in service.methods:
                assert f"| `{method.name}` |" in section
        for message in file.message_types_by_name.values():
            section = reference.partition(f"\n### {message.name}\n")[2].partition("\n### ")[0]
            assert section, message.name
            for field in message.fields:
                assert f"| `{field.name}` | {field.number} |" in section, f"{message.name}.{field.name}"
