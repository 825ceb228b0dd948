"""Generate the reference tables of the documentation from the code, or check that they are current.

    python tools/reference.py [--check]

Writes docs/api.md from the comments of protos/, and the marked blocks of docs/configuration.md, docs/errors.md and
docs/metrics.md and docs/gateway.md from the settings, the table of errors, the metrics and the gateway, and those of
docs/clients/ from the programs in examples/. With --check it writes nothing and exits with 1 if a page differs from the
code.
"""

from __future__ import annotations

import argparse
import dataclasses
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from google.protobuf import descriptor_pb2
from prometheus_client import CollectorRegistry

from ilab_chat_gateway.problems import OWN_REASONS, STATUS
from ilab_chat_gateway.routes import ROUTES, Shape
from ilab_chat_gateway.settings import Settings as GatewaySettings
from ilab_chat_service.failures import FieldRefused, MemoryUnavailable, ModelRateLimited, ModelUnavailable, RateLimited
from ilab_chat_service.rpc.error_table import INTERNAL, TABLE, Row
from ilab_chat_service.rpc.errors import InvalidFields
from ilab_chat_service.settings import Settings
from ilab_chat_service.telemetry.metrics import Described, Metrics
from ilab_chat_service.telemetry.supervised import RESTARTS, RESTARTS_MEANING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
BUF = Path(sys.executable).with_name("buf")

#: Numbers of the fields of descriptor.proto, from which the path of a comment is made.
MESSAGES, ENUMS, SERVICES = 4, 5, 6
MEMBERS = 2  # fields of a message, values of an enum, methods of a service
ONEOFS = 8

#: Languages of fenced code by the suffix of a program. Tests run the blocks that say "js" instead of "javascript".
FENCES = {".cc": "cpp", ".go": "go", ".java": "java", ".js": "javascript", ".py": "py", ".rb": "ruby", ".sh": "sh"}

API_HEAD = """\
# API reference

Generated from the comments in `protos/ilab_chat/v1/` by `tools/reference.py`; edit those instead. All services are in
the package `ilab_chat.v1`. [Errors](errors.md) lists what a call can fail with, and [clients](clients/index.md) shows
calls in several languages. An `optional` field distinguishes "not set" from its default value.
"""

FieldType = descriptor_pb2.FieldDescriptorProto.Type


def main(arguments: Sequence[str]) -> int:
    """Write the pages, or compare them; return the exit code."""
    parser = argparse.ArgumentParser(description="Generate the reference pages of the documentation.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if a page differs")
    check = parser.parse_args(arguments).check
    wanted = pages()
    stale = [name for name, text in wanted.items() if read(DOCS / name) != text]
    if check:
        for name in stale:
            sys.stderr.write(f"docs/{name} differs from the code: run python tools/reference.py\n")
        return bool(stale)
    for name, text in wanted.items():
        (DOCS / name).write_text(text, encoding="utf-8")
    return 0


def read(path: Path) -> str:
    """Return the text of a page, empty if the file does not exist."""
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def pages() -> dict[str, str]:
    """Return what each generated page should be, by its name in docs/."""
    return {
        "api.md": api(),
        "configuration.md": with_block(read(DOCS / "configuration.md"), "settings", settings()),
        "metrics.md": with_block(read(DOCS / "metrics.md"), "metrics", metrics()),
        "errors.md": with_block(read(DOCS / "errors.md"), "errors", errors()),
        "gateway.md": gateway(read(DOCS / "gateway.md")),
        **{f"clients/{path.name}": with_programs(read(path)) for path in sorted((DOCS / "clients").glob("*.md"))},
    }


def with_programs(page: str) -> str:
    """Return a page of docs/clients/ with the files of examples/ that its markers name."""
    for name in re.findall(r"^<!-- ((?:\w+/)?[\w.]+\.\w+) -->$", page, re.MULTILINE):
        program = ROOT / "examples" / name
        page = with_block(page, name, f"```{FENCES[program.suffix]}\n{program.read_text(encoding='utf-8')}```\n")
    return page


def gateway(page: str) -> str:
    """Return the page of the gateway with its tables."""
    blocks = {"routes": routes(), "statuses": statuses(), "reasons": own_reasons(), "settings": gateway_settings()}
    for name, text in blocks.items():
        page = with_block(page, name, text)
    return page


def routes() -> str:
    """Return the table of the gateway's routes."""
    lines = ["| method | path | RPC |", "|---|---|---|", "| POST | `/chat` | `Chat`, with the fields of the recipe |"]
    for route in ROUTES:
        note = "" if route.shape is Shape.JSON else f"; {route.shape.value}"
        lines.append(f"| {route.method} | `{route.path}` | `{route.rpc}`{note} |")
    return "\n".join(lines) + "\n"


def statuses() -> str:
    """Return the table of HTTP statuses."""
    lines = ["| gRPC code | HTTP status |", "|---|---|"]
    lines += [f"| `{code.name}` | {status} |" for code, status in STATUS.items()]
    return "\n".join(lines) + "\n"


def own_reasons() -> str:
    """Return the table of the gateway's own reasons."""
    lines = ["| reason | status | when |", "|---|---|---|"]
    lines += [f"| `{reason}` | {status} | {cell(text)} |" for reason, (status, text) in OWN_REASONS.items()]
    return "\n".join(lines) + "\n"


def gateway_settings() -> str:
    """Return the table of the gateway's settings."""
    lines = ["| variable | default | meaning |", "|---|---|---|"]
    for field in dataclasses.fields(GatewaySettings):
        default = f"`{shown(field.default)}`" if shown(field.default) else ""
        lines.append(f"| `{field.metadata['env']}` | {default} | {cell(field.metadata['why'])} |")
    return "\n".join(lines) + "\n"


def with_block(page: str, name: str, text: str) -> str:
    """Return *page* with *text* between its markers.

    Raises:
        ValueError: the page does not have the markers exactly once.
    """
    block = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->\n)", re.DOTALL)
    if len(block.findall(page)) != 1:
        raise ValueError(f"the page must have <!-- {name} --> and <!-- /{name} --> exactly once")
    return block.sub(lambda found: f"{found[1]}{text}{found[2]}", page)


def settings() -> str:
    """Return a table for each dataclass of settings."""
    rooms = [base for base in reversed(Settings.__mro__) if base is not Settings and dataclasses.is_dataclass(base)]
    return "\n".join(line for room in rooms for line in settings_of(room))


def settings_of(room: type) -> Iterator[str]:
    """Yield the section of one dataclass of settings."""
    yield f"### {room.__name__.removesuffix('Settings')}\n"
    yield f"{summary(room)}\n"
    yield "| variable | default | meaning |"
    yield "|---|---|---|"
    for field in dataclasses.fields(room):
        if field.name in room.__annotations__:
            default = f"`{shown(field.default)}`" if shown(field.default) else ""
            yield f"| `{field.metadata['env']}` | {default} | {cell(field.metadata['why'])} |"
    yield ""


def shown(default: object) -> str:
    """Return a default as it is written in the environment."""
    return str(default).lower() if isinstance(default, bool) else str(default)


def metrics() -> str:
    """Return the table of metrics, in the order of the code."""
    described = [*Metrics(CollectorRegistry()).described, Described(RESTARTS, "counter", (), RESTARTS_MEANING)]
    lines = ["| metric | type | labels | meaning |", "|---|---|---|---|"]
    lines += [
        f"| `{each.name}` | {each.kind} | {', '.join(f'`{label}`' for label in each.labels)} | {cell(each.meaning)} |"
        for each in described
    ]
    return "\n".join(lines) + "\n"


def errors() -> str:
    """Return the table of errors, sorted by reason."""
    rows = [(row, kind) for kind, row in TABLE.items()]
    rows.sort(key=lambda each: (each[0].reason, each[0].code.name))
    lines = ["| reason | code | when | details |", "|---|---|---|---|"]
    lines += [error_row(row, summary(kind), details(kind, row)) for row, kind in rows]
    lines.append(error_row(INTERNAL, "A defect of the server. The log has the cause.", ""))
    return "\n".join(lines) + "\n"


def error_row(row: Row, when: str, more: str) -> str:
    """Return one row of the table of errors."""
    return f"| `{row.reason}` | `{row.code.name}` | {cell(when)} | {more} |"


def details(kind: type[BaseException], row: Row) -> str:
    """Return the details that the failure adds to ErrorInfo."""
    if issubclass(kind, InvalidFields | FieldRefused):
        return "`BadRequest`"
    if issubclass(kind, RateLimited):
        return "`QuotaFailure`, `RetryInfo`"
    always_has_delay = issubclass(kind, MemoryUnavailable | ModelRateLimited | ModelUnavailable)
    return "`RetryInfo`" if row.pushback or always_has_delay else ""


def summary(kind: type) -> str:
    """Return the first paragraph of a docstring, on one line."""
    return " ".join((kind.__doc__ or "").partition("\n\n")[0].split())


def cell(text: str) -> str:
    """Return *text* for a cell of a table: no markup but its code spans."""
    parts = text.replace("|", r"\|").split("`")
    return "`".join(part if index % 2 else part.replace("<", "&lt;") for index, part in enumerate(parts))


def api() -> str:
    """Return the API reference."""
    command: list[str | Path] = [BUF, "build", ROOT / "protos", "--output", "-#format=binpb"]
    built = subprocess.run(command, check=True, capture_output=True).stdout  # noqa: S603 - our own tool
    image = descriptor_pb2.FileDescriptorSet.FromString(built)
    files = [Page(file) for file in image.file if file.package.startswith("ilab_chat.")]
    return "\n".join([API_HEAD, *(line for page in files for line in page.lines())]).rstrip("\n") + "\n"


class Page:
    """The part of the reference that documents one proto file."""

    def __init__(self, file: descriptor_pb2.FileDescriptorProto) -> None:
        self._file = file
        self._comments = {
            tuple(location.path): one_line(location.leading_comments)
            if len(location.path) > 2  # noqa: PLR2004 - a member: one line in a table
            else paragraphs(location.leading_comments)
            for location in file.source_code_info.location
        }

    def lines(self) -> Iterator[str]:
        """Yield the lines of the file's section."""
        for number, service in enumerate(self._file.service):
            yield f"## {service.name}\n"
            yield f"{self._comment(SERVICES, number)}\n"
            yield "| method | request | response | meaning |"
            yield "|---|---|---|---|"
            for index, method in enumerate(service.method):
                yield (
                    f"| `{method.name}` | {link(method.input_type, stream=method.client_streaming)} "
                    f"| {link(method.output_type, stream=method.server_streaming)} "
                    f"| {cell(self._comment(SERVICES, number, MEMBERS, index))} |"
                )
            yield ""
        for number, message in enumerate(self._file.message_type):
            yield from self._message(number, message)
        for number, enum in enumerate(self._file.enum_type):
            yield f"### {enum.name}\n"
            yield f"{self._comment(ENUMS, number)}\n"
            yield "| value | number | meaning |"
            yield "|---|---|---|"
            for index, value in enumerate(enum.value):
                yield f"| `{value.name}` | {value.number} | {cell(self._comment(ENUMS, number, MEMBERS, index))} |"
            yield ""

    def _message(self, number: int, message: descriptor_pb2.DescriptorProto) -> Iterator[str]:
        yield f"### {message.name}\n"
        yield f"{self._comment(MESSAGES, number)}\n"
        for index, oneof in enumerate(message.oneof_decl):
            if comment := self._comment(MESSAGES, number, ONEOFS, index):
                yield f"One of the fields of `{oneof.name}`: {comment}\n"
        if not message.field:
            return
        yield "| field | number | type | meaning |"
        yield "|---|---|---|---|"
        for index, field in enumerate(message.field):
            comment = self._comment(MESSAGES, number, MEMBERS, index)
            yield f"| `{field.name}` | {field.number} | {type_of(field, message)} | {cell(comment)} |"
        yield ""

    def _comment(self, *path: int) -> str:
        return self._comments.get(path, "")


def one_line(comment: str) -> str:
    """Return a comment on one line, its list items as sentences."""
    return " ".join(re.sub(r"^ *- ", "", comment, flags=re.MULTILINE).split())


def paragraphs(comment: str) -> str:
    """Return a comment with each of its paragraphs and list items on one line."""
    parts = re.split(r"(\n\s*\n|\n(?= *- ))", comment.strip())
    return "".join(" ".join(each.split()) if each.strip() else "\n" * each.count("\n") for each in parts)


def type_of(field: descriptor_pb2.FieldDescriptorProto, message: descriptor_pb2.DescriptorProto) -> str:
    """Return the type of a field, linked if it is one of ours."""
    name = link(field.type_name) if field.type_name else FieldType.Name(field.type).removeprefix("TYPE_").lower()
    if field.proto3_optional:
        return f"optional {name}"
    if field.label == field.LABEL_REPEATED:
        return f"repeated {name}"
    if field.HasField("oneof_index"):
        return f"{name}, in `{message.oneof_decl[field.oneof_index].name}`"
    return name


def link(type_name: str, *, stream: bool = False) -> str:
    """Return the name of a type, with a link to its section if it is one of ours."""
    package, _, name = type_name.removeprefix(".").rpartition(".")
    text = f"[{name}](#{name.lower()})" if package.startswith("ilab_chat.") else f"`{package}.{name}`"
    return f"stream of {text}" if stream else text


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
