"""The shape of the contract: what a rename or a change of number would break."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from batch import cases
from contract.process import BIN, ROOT
from ilab_chat.v1 import chat_pb2, errors_pb2, memory_pb2

FILES = (chat_pb2.DESCRIPTOR, memory_pb2.DESCRIPTOR, errors_pb2.DESCRIPTOR)
MESSAGES = [message for file in FILES for message in file.message_types_by_name.values()]

REQUEST = {
    "user_id": 1,
    "message": 2,
    "request_id": 3,
    "generation": 4,
    "memory_mode": 5,
    "turn_retention": 6,
    "conversation_id": 7,
    "instructions": 8,
    "context": 9,
    "time_zone": 10,
    "memory_types": 11,
}
SHAPES: Mapping[str, Mapping[str, int]] = {
    "ChatRequest": REQUEST,
    "StreamChatRequest": REQUEST,
    "PreviewPromptRequest": REQUEST,
    "ContextDocument": {"title": 1, "text": 2},
    "GenerationOptions": {
        "model": 1,
        "temperature": 2,
        "top_p": 3,
        "max_output_tokens": 4,
        "stop_sequences": 5,
        "seed": 6,
        "reasoning_effort": 7,
        "response_format": 8,
    },
    "ResponseFormat": {"text": 1, "json_object": 2, "json_schema": 3},
    "JsonSchemaFormat": {"name": 1, "schema": 2, "strict": 3},
    "StreamChatResponse": {"started": 1, "text_delta": 2, "completed": 3, "heartbeat": 4, "reasoning_delta": 5},
    "ChatResponse": {
        "session_id": 1,
        "reply": 2,
        "request_id": 3,
        "observation_id": 4,
        "finish_reason": 5,
        "usage": 6,
        "model": 7,
        "memories": 8,
        "new_session": 9,
        "replayed": 10,
        "create_time": 11,
        "conversation_id": 12,
        "model_response_id": 13,
        "included_documents": 14,
        "remembered": 15,
        "forgotten_observation_id": 16,
        "correlation_id": 17,
    },
    "ChatStarted": {
        "session_id": 1,
        "new_session": 2,
        "model": 3,
        "request_id": 4,
        "memories": 5,
        "conversation_id": 6,
        "model_response_id": 7,
        "included_documents": 8,
        "correlation_id": 9,
    },
    "PreviewPromptResponse": {
        "messages": 1,
        "memories": 2,
        "tokens": 3,
        "model": 4,
        "session_id": 5,
        "conversation_id": 6,
        "included_documents": 7,
    },
    "HydratedMemory": {
        "observation_id": 1,
        "type": 2,
        "title": 3,
        "snippet": 4,
        "score": 5,
        "update_time": 6,
        "source": 7,
        "earlier": 8,
    },
    "RememberedFact": {"observation_id": 1, "type": 2, "title": 3, "content": 4, "topic_key": 5, "pinned": 6},
}
PACKAGES = {
    "csharp_namespace": "IlabChat.V1",
    "go_package": "ilab_chat/v1;ilabchatv1",
    "java_package": "ilab.chat.v1",
    "objc_class_prefix": "ILC",
    "php_namespace": "IlabChat\\V1",
    "ruby_package": "IlabChat::V1",
}


@cases("name", SHAPES)
def test_fields_have_the_names_and_numbers_of_the_design(name: str) -> None:
    fields = chat_pb2.DESCRIPTOR.message_types_by_name[name].fields
    assert {field.name: field.number for field in fields} == SHAPES[name]


def test_the_three_requests_have_the_same_fields_of_the_same_types() -> None:
    def fields(name: str) -> list[tuple[object, ...]]:
        return [
            (field.name, field.number, field.type, field.is_repeated, field.message_type, field.enum_type)
            for field in chat_pb2.DESCRIPTOR.message_types_by_name[name].fields
        ]

    assert fields("ChatRequest") == fields("StreamChatRequest") == fields("PreviewPromptRequest")


@cases("message", MESSAGES)
def test_names_follow_the_conventions(message: Descriptor) -> None:
    """https://google.aip.dev/140, 142 and 216: no `is_`, times end with `_time`, states are enums."""
    for field in message.fields:
        assert not field.name.startswith(("is_", "has_"))
        assert field.name != "limit"
        is_time = field.message_type is not None and field.message_type.full_name == "google.protobuf.Timestamp"
        assert is_time == field.name.endswith("_time")
        if field.name == "state":
            assert field.type == FieldDescriptor.TYPE_ENUM


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_file_says_where_its_code_goes_in_each_language(file: object) -> None:
    options = file.GetOptions()  # type: ignore[attr-defined]
    assert {name: getattr(options, name) for name in PACKAGES} == PACKAGES
    assert options.java_multiple_files


def test_only_well_known_types_are_imported() -> None:
    for file in (ROOT / "protos/ilab_chat/v1").glob("*.proto"):
        imports = re.findall(r'^import "(.*)";', file.read_text(), re.MULTILINE)
        assert all(name.startswith("google/protobuf/") for name in imports)


@pytest.mark.parametrize(
    ("before", "after", "breaks"),
    [
        ("string time_zone = 10;", "string time_zone = 10;", False),
        ("string time_zone = 10;", "string time_zone = 10;\n  // More.\n  string more = 99;", False),
        ("string time_zone = 10;", "string zone = 10;", True),
        ("string time_zone = 10;", "string time_zone = 12;", True),
        ("string time_zone = 10;", "bytes time_zone = 10;", True),
        ("rpc PreviewPrompt(PreviewPromptRequest) returns (PreviewPromptResponse);", "", True),
    ],
)
def test_a_change_that_breaks_clients_is_found(tmp_path: Path, before: str, after: str, *, breaks: bool) -> None:
    shutil.copytree(ROOT / "protos", tmp_path, dirs_exist_ok=True)
    chat = tmp_path / "ilab_chat/v1/chat.proto"
    text = chat.read_text()
    assert before in text
    chat.write_text(text.replace(before, after))
    command: list[str | Path] = [BIN / "buf", "breaking", tmp_path, "--against", ROOT / "protos/baseline.binpb"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.stderr == ""
    assert (run.returncode != 0) == breaks, run.stdout
