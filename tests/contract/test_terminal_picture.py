"""The picture of the terminal, as the tool draws it from what programs print."""

from __future__ import annotations

import importlib.util
import re
from typing import Any
from xml.etree import ElementTree as ET

from batch import cases
from contract.process import ROOT

SVG = "{http://www.w3.org/2000/svg}"


def load() -> Any:
    spec = importlib.util.spec_from_file_location("terminal_picture", ROOT / "tools/terminal_picture.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


tool = load()


def texts(svg: str) -> list[str]:
    return ["".join(each.itertext()) for each in ET.fromstring(svg).iter(f"{SVG}text")]


def test_colours_become_classes_and_text_is_escaped() -> None:
    line = "\x1b[32mOK \x1b[0m <Chat> & \x1b[1m\x1b[2mdim"
    assert tool.spans(line) == (
        '<tspan class="green">OK </tspan> &lt;Chat&gt; &amp; <tspan class="bold dim">dim</tspan>'
    )
    assert texts(tool.picture([line, "next"])) == ["OK  <Chat> & dim", "next"]


@cases("length", [0, 1, 111, 112, 113, 300])
def test_long_lines_break_as_on_the_terminal(length: int) -> None:
    broken = tool.lines("x" * length + "\r\nend\r\n")
    assert broken[-1] == "end"
    assert "".join(broken[:-1]) == "x" * length
    assert max(map(len, broken)) <= tool.COLUMNS


def test_committed_picture_shows_the_commands_of_the_readme_and_both_colours() -> None:
    svg = (ROOT / "docs/terminal.svg").read_text()
    shown = texts(svg)
    assert "prefers-color-scheme: dark" in svg
    readme = (ROOT / "README.md").read_text()
    [console] = re.findall(r"```console\n(.*?)```", readme, re.DOTALL)
    for line in console.replace(".venv/run/bin/", "").splitlines():
        assert line in shown
