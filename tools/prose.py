"""Check the project's English: wording that readers stumble over, and names that were retired.

    python tools/prose.py [PATH ...]

It reads comments, docstrings, strings and test names of Python files, comments of protos, and Markdown outside code
blocks. Without arguments it checks the files of the repository, new ones included. Each finding says what to write
instead. The exit code is 1 if there is any finding.
"""

from __future__ import annotations

import ast
import io
import re
import subprocess
import sys
import tokenize
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent

#: What readers stumble over, and what to write instead.
HABITS = {
    r"\bmeanwhile\b": "name the event: `while the call runs`",
    r"\banew\b": "`again`, or a new one of what",
    r"\b(?:is|are|was|were) (?-i:none)\b": "`is not set`, `is invalid`, or the noun: `if no session is active`",
    r"(?<!there )\b(?:is|are|was|were) no (?!longer\b|more\b|better\b|matter\b)[a-z]+": "`is not a ...`",
    r"\bcommas between\b": "`comma-separated`",
    r"\bso many\b|\bas many as\b|\bat most so\b": "the number, or the name of the limit",
    r"(?:^|[.:;(] )Who (?!are|is)[a-z]+(?![^.;]*\?)": "name the actor: `a caller that ...`",
    r"(?:^|[.:] )(?-i:What (?![^.]*\?)[a-z])": "the noun that is meant: `the fields that ...`, `text that ...`",
    r"\bfor ever\b": "`forever`, or `without end`",
    r"\bin the place of\b": "`instead of`, or `replaces`",
    r"\bgiv(?:es?|ing) way\b": "`releases the GIL`, `yields to`",
    r"\binterpreter's lock\b|\bgets? the interpreter\b": "`the GIL`",
    r"\bas it comes\b": "name the event",
    r"\bsees? to it\b|\bsee to that\b": "`makes sure`",
    r"\ba (?:\w+) a (?:line|user|turn|call|host|process|store|version|file|commit|row|page|message)\b": "`... per ...`",
    r"\bstands? (?:in|at|there|beside|between)\b": "`is in`",
    r"\bbeside\b": "`next to`, `together with`, `compared with`, `besides`",
    r"\b(?:is|are) (?:one|those) of a\b": "say whose it is",
    r"\bwhat has been\b|\bwhat is none\b": "name it",
    r"\bsay how callers are known\b": "`set the authentication mode`",
    r"\bwhatever becomes of\b": "`even if ... fails`",
    r"\bthe others along\b": "say what happens to whom",
    r"\bwhoever\b": "name the actor: `a caller that ...`, or `no matter who`",
    r"\bput together of\b": "`built from`",
    r"\bthose who\b": "name them: `callers that ...`",
    r"(?:^|[:(.] )(?-i:[Mm]ost) (?!of\b)[a-z]+ (?:of|that|in) ": "`maximum number of`",
    r"\breturns? what (?:makes|tells|replaces|completes|starts|removes|adds|takes)\b": "name what is returned",
    r"\bas the loop (?:sees|takes)\b": "the type that is returned",
    r"\bsomewhat\b|\bthereby\b|\btherein\b|\bthereof\b": "a plain word",
}

#: Names that have been replaced, and their replacements.
RETIRED = {
    r"\breplay logs?\b|\bReplayLog\b": "idempotency store",
    r"\bturnstiles?\b": "single flight, in flight",
    r"\bclaims connection\b": "lock session",
    r"\bdefus(?:e|ed|es|ing)\b": "neutralize, escape",
    r"\bwhole characters\b": "surrogates",
    r"\bunknown_methods\b": "grpc_server",
    r"\bsacrifices?\b": "eviction order",
    r"\bechoes\b|\bwithout_echo\b": "leak redaction",
    r"\bdoomed\b": "tombstone",
    r"\badapters/": "the rooms model/, memory/, idempotency/, auth/",
}

RULES = [(re.compile(pattern, re.IGNORECASE | re.MULTILINE), advice) for pattern, advice in (HABITS | RETIRED).items()]

#: Not ours, generated, or history.
SKIPPED = ("tools/prose.py", "client/ilab_chat/v1/", "tests/contract/recipe/", "LICENSE")

FENCE = re.compile(r"^(```|~~~).*?^\1", re.DOTALL | re.MULTILINE)
INLINE_CODE = re.compile(r"`[^`\n]*`")


def main(arguments: list[str]) -> int:
    """Print the findings in *arguments*, or in every tracked file; return the exit code."""
    paths = [Path(each).resolve() for each in arguments] or tracked()
    findings = [each for path in paths for each in findings_in(path)]
    sys.stdout.writelines(f"{each}\n" for each in findings)
    if findings:
        sys.stdout.write(f"{len(findings)} findings\n")
    return bool(findings)


def tracked() -> list[Path]:
    """Return the files to check: tracked, or untracked and not ignored."""
    patterns = ["*.py", "*.md", "*.proto", "*.toml", "*.yaml", "*.yml", "Makefile"]
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *patterns]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout  # noqa: S603
    names = [name for name in listed.split("\0") if name and not name.startswith(SKIPPED)]
    return [ROOT / name for name in names if (ROOT / name).is_file()]


def findings_in(path: Path) -> Iterator[str]:
    """Yield a line for each finding in a file."""
    for first_line, text in prose_of(path):
        for rule, advice in RULES:
            for found in rule.finditer(text):
                line = first_line + text.count("\n", 0, found.start())
                shown = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
                yield f"{shown}:{line}: {found[0].strip()!r}: write {advice}"


def prose_of(path: Path) -> Iterator[tuple[int, str]]:
    """Yield what people read in a file, each piece with the number of its first line."""
    source = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        yield from prose_of_python(source)
    elif path.suffix == ".md":
        yield 1, blanked(INLINE_CODE, blanked(FENCE, source))
    elif path.suffix == ".proto":
        yield from comments(source, "//")
    else:
        yield from comments(source, "#")


def prose_of_python(source: str) -> Iterator[tuple[int, str]]:
    """Yield comments, docstrings and other strings, and the names of tests as sentences."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string.lstrip("#: ")
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            yield node.lineno, blanked(INLINE_CODE, node.value)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            yield node.lineno, node.name.removeprefix("test_").replace("_", " ")


def comments(source: str, mark: str) -> Iterator[tuple[int, str]]:
    """Yield the text after *mark* of each line that has one."""
    for number, line in enumerate(source.splitlines(), 1):
        _, found, text = line.partition(mark)
        if found:
            yield number, text.strip()


def blanked(pattern: re.Pattern[str], text: str) -> str:
    """Return *text* with what matches *pattern* blanked, so that line numbers stay."""
    return pattern.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), text)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
