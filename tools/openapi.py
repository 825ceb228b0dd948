"""Write the OpenAPI document of the gateway from the contract and the table of routes, or check that it is current.

    python tools/openapi.py [--check]

The document is gateway/ilab_chat_gateway/openapi.json, which the gateway serves at /openapi.json.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from google.protobuf import descriptor_pb2

from ilab_chat_gateway.routes import ROUTES, Route, Shape

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT = Path(__file__).resolve().parent.parent
DOCUMENT = ROOT / "gateway/ilab_chat_gateway/openapi.json"
BUF = Path(sys.executable).with_name("buf")
PACKAGE = ".ilab_chat.v1."

Field = descriptor_pb2.FieldDescriptorProto
SCALARS: dict[int, dict[str, Any]] = {
    Field.TYPE_STRING: {"type": "string"},
    Field.TYPE_BOOL: {"type": "boolean"},
    Field.TYPE_INT32: {"type": "integer", "format": "int32"},
    # proto3 JSON writes 64-bit integers as strings, because JavaScript rounds large numbers.
    Field.TYPE_INT64: {"type": "string", "format": "int64", "pattern": "^-?[0-9]+$"},
    Field.TYPE_DOUBLE: {"type": "number", "format": "double"},
    Field.TYPE_BYTES: {"type": "string", "contentEncoding": "base64"},
}
WELL_KNOWN: dict[str, dict[str, Any]] = {
    ".google.protobuf.Timestamp": {"type": "string", "format": "date-time"},
    ".google.protobuf.FieldMask": {"type": "string", "description": "Comma-separated names of fields."},
    ".google.protobuf.Struct": {"type": "object"},
}
REQUEST_ID = {"type": "string", "maxLength": 64, "pattern": "^[!-~]*$"}
IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "The request_id: a repeat within 24 hours returns the stored response.",
    "schema": REQUEST_ID,
}
LAST_EVENT_ID = {
    "name": "Last-Event-ID",
    "in": "header",
    "description": "The id of the last event received. With the same body, the answer is sent again from its start.",
    "schema": REQUEST_ID,
}
#: Parameters of paths. The contract's own limits are in its comments.
IN_PATH = {
    "user_id": {"type": "string", "minLength": 1},
    "observation_id": {"type": "string", "pattern": "^[1-9][0-9]{0,17}$"},
}
PROBLEM = {
    "type": "object",
    "description": "RFC 9457 problem details. docs/gateway.md lists the statuses, docs/errors.md the reasons.",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "reason": {"type": "string", "description": "A name of ErrorReason, or a reason of the gateway."},
        "code": {"type": "string", "description": "The gRPC status code."},
        "field_violations": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"field": {"type": "string"}, "description": {"type": "string"}},
            },
        },
        "retry_after": {"type": "number", "description": "Seconds to wait, as in Retry-After."},
        "request_id": {"type": "string"},
    },
}
RECIPE = {
    "post": {
        "operationId": "RecipeChat",
        "summary": "Answer one message, and remember it. The recipe's route; /v1/chat has every field.",
        "tags": ["ChatService"],
        "parameters": [IDEMPOTENCY_KEY],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {
                        "type": "object",
                        "required": ["user_id", "message"],
                        "properties": {
                            "user_id": {"type": "string", "minLength": 1},
                            "message": {"type": "string", "minLength": 1},
                        },
                    }
                }
            },
        },
        "responses": {
            "200": {
                "description": "The answer.",
                "content": {
                    "application/json": {
                        "schema": {
                            "type": "object",
                            "required": ["session_id", "reply"],
                            "properties": {"session_id": {"type": "string"}, "reply": {"type": "string"}},
                        }
                    }
                },
            },
            "default": {"$ref": "#/components/responses/Problem"},
        },
    }
}

#: Described by their owner, whose schemas are not repeated here.
OPENAI = {
    "/v1/openai/chat/completions": {
        "post": {
            "operationId": "createChatCompletion",
            "summary": "OpenAI's chat completions. docs/gateway.md lists the supported parameters.",
            "tags": ["OpenAI"],
            "parameters": [IDEMPOTENCY_KEY],
            "requestBody": {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}},
            "responses": {
                "200": {
                    "description": "A completion, or its chunks.",
                    "content": {
                        "application/json": {"schema": {"type": "object"}},
                        "text/event-stream": {"schema": {"type": "object"}},
                    },
                },
                "default": {"description": "OpenAI's error object.", "content": {"application/json": {}}},
            },
        }
    },
    "/v1/openai/models": {
        "get": {
            "operationId": "listModels",
            "summary": "List the server's default model.",
            "tags": ["OpenAI"],
            "responses": {"200": {"description": "The list.", "content": {"application/json": {}}}},
        }
    },
    "/v1/openai/models/{model}": {
        "get": {
            "operationId": "retrieveModel",
            "summary": "Return one model of the list.",
            "tags": ["OpenAI"],
            "parameters": [{"name": "model", "in": "path", "required": True, "schema": {"type": "string"}}],
            "responses": {
                "200": {"description": "The model.", "content": {"application/json": {}}},
                "default": {"description": "OpenAI's error object.", "content": {"application/json": {}}},
            },
        }
    },
}


def main(arguments: Sequence[str]) -> int:
    """Write the document, or compare it; return the exit code."""
    parser = argparse.ArgumentParser(description="Generate the OpenAPI document of the gateway.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if the document differs")
    check = parser.parse_args(arguments).check
    wanted = json.dumps(Contract().document(), indent=1, ensure_ascii=False) + "\n"
    if check:
        if not DOCUMENT.is_file() or DOCUMENT.read_text(encoding="utf-8") != wanted:
            sys.stderr.write("openapi.json differs from the contract: run python tools/openapi.py\n")
            return 1
        return 0
    DOCUMENT.write_text(wanted, encoding="utf-8")
    return 0


class Contract:
    """The contract with its comments, which the generated code does not have."""

    def __init__(self) -> None:
        command: list[str | Path] = [BUF, "build", ROOT / "protos", "--output", "-#format=binpb"]
        built = subprocess.run(command, check=True, capture_output=True).stdout  # noqa: S603 - our own tool
        image = descriptor_pb2.FileDescriptorSet.FromString(built)
        self._messages: dict[str, descriptor_pb2.DescriptorProto] = {}
        self._enums: dict[str, descriptor_pb2.EnumDescriptorProto] = {}
        self._comments: dict[str, str] = {}
        for file in image.file:
            if f".{file.package}." == PACKAGE:
                self._read(file)

    def _read(self, file: descriptor_pb2.FileDescriptorProto) -> None:
        comments = {
            tuple(each.path): " ".join(each.leading_comments.split()) for each in file.source_code_info.location
        }
        for number, message in enumerate(file.message_type):
            self._messages[message.name] = message
            self._comments[message.name] = comments.get((4, number), "")
            for index, field in enumerate(message.field):
                self._comments[f"{message.name}.{field.name}"] = comments.get((4, number, 2, index), "")
        for number, enum in enumerate(file.enum_type):
            self._enums[enum.name] = enum
            self._comments[enum.name] = comments.get((5, number), "")
        for number, service in enumerate(file.service):
            for index, method in enumerate(service.method):
                self._comments[f"{service.name}.{method.name}"] = comments.get((6, number, 2, index), "")

    def document(self) -> dict[str, Any]:
        """Return the OpenAPI document."""
        paths: dict[str, Any] = {"/chat": RECIPE}
        for route in ROUTES:
            paths.setdefault(route.path, {})[route.method.lower()] = self.operation(route)
        paths |= OPENAI
        for path, summary in (("/livez", "Whether the process runs."), ("/readyz", "Whether the server serves.")):
            paths[path] = {"get": probe(path, summary)}
        used = sorted(self.reachable(name for route in ROUTES for name in messages_of(route)))
        returned = self.reachable(route.descriptor.output_type.name for route in ROUTES)
        return {
            "openapi": "3.1.0",
            "info": {
                "title": "ilab-chat",
                "version": "1",
                "description": "The HTTP face of the gRPC contract ilab_chat.v1: proto3 JSON of the same messages, "
                "with the names of the contract. Unset fields are included in responses; 64-bit numbers are strings.",
                "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            },
            "security": [{}, {"bearer": []}],
            "paths": paths,
            "components": {
                "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
                "responses": {
                    "Problem": {
                        "description": "The request failed.",
                        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
                    }
                },
                "schemas": {"Problem": PROBLEM}
                | {name: self.schema(name, is_closed=name not in returned) for name in used},
            },
        }

    def operation(self, route: Route) -> dict[str, Any]:
        """Return the operation of a route."""
        operation: dict[str, Any] = {
            "operationId": route.rpc,
            "summary": self._comments[f"{route.service}.{route.rpc}"],
            "tags": [route.service],
            "parameters": list(self.parameters(route)),
        }
        if route.has_body:
            name = "ExportUserResponse" if route.shape is Shape.UPLOAD else route.descriptor.input_type.name
            media = "application/x-ndjson" if route.shape is Shape.UPLOAD else "application/json"
            operation["requestBody"] = {"required": True, "content": {media: {"schema": reference(name)}}}
        output = reference(route.descriptor.output_type.name)
        media = {Shape.EVENTS: "text/event-stream", Shape.DOWNLOAD: "application/x-ndjson"}.get(
            route.shape, "application/json"
        )
        operation["responses"] = {
            "200": {"description": route.shape.value.capitalize() + ".", "content": {media: {"schema": output}}},
            "default": {"$ref": "#/components/responses/Problem"},
        }
        return operation

    def parameters(self, route: Route) -> Iterator[dict[str, Any]]:
        """Yield the parameters of a route: of the path, the query and the headers."""
        in_path = [name for name in ("user_id", "observation_id") if f"{{{name}}}" in route.path]
        for name in in_path:
            yield {"name": name, "in": "path", "required": True, "schema": IN_PATH[name]}
        if not route.has_body:
            message = self._messages[route.descriptor.input_type.name]
            for field in message.field:
                if field.name not in in_path:
                    yield {
                        "name": field.name,
                        "in": "query",
                        "description": self._comments[f"{message.name}.{field.name}"],
                        "schema": self.field_type(field),
                    }
        if route.has_request_id:
            yield IDEMPOTENCY_KEY
        if route.shape is Shape.EVENTS:
            yield LAST_EVENT_ID

    def schema(self, name: str, *, is_closed: bool) -> dict[str, Any]:
        """Return the schema of a message or an enum. A request is closed: fields that it does not have are refused."""
        if name in self._enums:
            values = [value.name for value in self._enums[name].value]
            return {"type": "string", "description": self._comments[name], "enum": values}
        message = self._messages[name]
        return {
            "type": "object",
            "description": self._comments[name],
            "properties": {
                field.name: self.field_type(field) | {"description": self._comments[f"{name}.{field.name}"]}
                for field in message.field
            },
            **({"additionalProperties": False} if is_closed else {}),
        }

    def field_type(self, field: descriptor_pb2.FieldDescriptorProto) -> dict[str, Any]:
        """Return the schema of a field, without its comment."""
        if field.type in {Field.TYPE_MESSAGE, Field.TYPE_ENUM}:
            kind = WELL_KNOWN.get(field.type_name) or reference(field.type_name.removeprefix(PACKAGE))
        else:
            kind = SCALARS[field.type]
        return {"type": "array", "items": kind} if field.label == Field.LABEL_REPEATED else dict(kind)

    def reachable(self, names: Iterator[str]) -> set[str]:
        """Return the messages and enums that *names* refer to, and *names*."""
        found: set[str] = set()
        left = set(names)
        while left:
            name = left.pop()
            found.add(name)
            if name in self._messages:
                types = {field.type_name for field in self._messages[name].field if field.type_name}
                left |= {each.removeprefix(PACKAGE) for each in types if each.startswith(PACKAGE)} - found
        return found


def messages_of(route: Route) -> Iterator[str]:
    """Yield the messages that a route's schemas refer to."""
    if route.shape is Shape.UPLOAD:
        yield "ExportUserResponse"
    elif route.has_body:
        yield route.descriptor.input_type.name
    yield route.descriptor.output_type.name


def reference(name: str) -> dict[str, Any]:
    """Return a reference to a schema."""
    return {"$ref": f"#/components/schemas/{name}"}


def probe(path: str, summary: str) -> dict[str, Any]:
    """Return the operation of a health probe."""
    return {
        "operationId": path.strip("/"),
        "summary": summary,
        "tags": ["Health"],
        "responses": {
            "200": {"description": "Yes.", "content": {"text/plain": {"schema": {"type": "string"}}}},
            "default": {"$ref": "#/components/responses/Problem"},
        },
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
