"""How a target is read: which servers it names, and what gRPC is told about them."""

import json
import re
import socket
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from batch import cases
from client.terminal import run
from ilab_chat import AsyncChatClient, ChatClient, tls_credentials
from ilab_chat._target import Target
from ilab_chat.v1 import chat_pb2, memory_pb2


def config_of(target: str) -> dict[str, Any]:
    options = dict(Target.parse(target).options())
    config: dict[str, Any] = json.loads(str(options["grpc.service_config"]))
    return config


@cases(
    ("target", "asks"),
    [
        ("127.0.0.1:50051", False),
        ("localhost:50051", False),
        ("[::1]:50051", False),
        ("ipv4:127.0.0.1:50051", False),
        ("127.0.0.1:50051,127.0.0.2:50051", False),
        ("dns:///localhost:50051", False),
        ("unix:/tmp/chat.sock", False),
        ("chat.example.com:443", True),
        ("127.0.0.1:50051,10.0.0.1:50051", True),
        ("ipv4:10.0.0.1:50051,127.0.0.1:50051", True),
        ("dns:///chat:50051", True),
        ("dns:chat:50051", True),
        ("xds:///localhost:50051", True),
    ],
)
def test_no_proxy_is_asked_for_what_is_on_this_machine(target: str, *, asks: bool) -> None:
    assert ("grpc.enable_http_proxy" not in dict(Target.parse(target).options())) is asks
    assert Target.parse(target).is_local is not asks


@cases(
    ("target", "name"),
    [
        ("dns:///chat:50051", "dns:///chat:50051"),
        ("dns://10.0.0.53/chat:50051", "dns://10.0.0.53/chat:50051"),
        ("dns:chat:50051", "dns:chat:50051"),
        ("10.0.0.1:50051,10.0.0.2:50052", "ipv4:10.0.0.1:50051,10.0.0.2:50052"),
        ("ipv4:10.0.0.1:50051,10.0.0.2:50052", "ipv4:10.0.0.1:50051,10.0.0.2:50052"),
        ("[fd00::1]:50051,[fd00::2]:50051", "ipv6:[fd00::1]:50051,[fd00::2]:50051"),
    ],
)
def test_several_servers_take_turns_as_long_as_they_serve(target: str, name: str) -> None:
    assert Target.parse(target).name == name
    config = config_of(target)
    assert config["loadBalancingConfig"] == [{"round_robin": {}}]
    assert config["healthCheckConfig"] == {"serviceName": "ilab_chat.v1.ChatService"}


@pytest.mark.parametrize("target", ["chat:50051", "10.0.0.1:50051", "dns:50051", "unix:/tmp/a,b", "xds:///chat"])
def test_one_server_or_proxy_is_left_to_grpc(target: str) -> None:
    assert Target.parse(target).name == target
    assert not {"loadBalancingConfig", "healthCheckConfig"} & config_of(target).keys()


@pytest.mark.parametrize(
    "target", ["chat-1:50051,chat-2:50051", "10.0.0.1:50051,[fd00::1]:50051", "10.0.0.1,10.0.0.2", "10.0.0.1:50051,"]
)
def test_several_addresses_that_grpc_cannot_take_are_refused(target: str) -> None:
    for kind in (ChatClient, AsyncChatClient):
        with pytest.raises(ValueError, match="dns:///name:port"):
            kind(target)


@cases(
    ("target", "fault", "meant"),
    [
        ("chat", "the address has no port", "chat:50051"),
        ("chat:", "the address has no port", "chat:50051"),
        ("[::1]", "the address has no port", "[::1]:50051"),
        ("", "the address is empty", "127.0.0.1:50051"),
        (":50051", "the address has no host", "127.0.0.1:50051"),
        ("chat:50051/", "an address ends with its port", "chat:50051"),
        ("chat:1/v1?x=1", "an address ends with its port", "chat:1"),
        ("chat/", "an address ends with its port", "chat:50051"),
        ("dns:///chat:1/", "an address ends with its port", "dns:///chat:1"),
        ("chat:http", "the port must be a number from 1 to 65535", "chat:50051"),
        ("chat:99999", "the port must be a number from 1 to 65535", "chat:50051"),
        ("chat:0", "the port must be a number from 1 to 65535", "chat:50051"),
        ("chat 50052", "an address contains no spaces", "chat:50052"),
        (" chat:1\n", "an address contains no spaces", "chat:1"),
        ("::1", "an IPv6 address is in brackets", "[::1]:50051"),
        ("::1:50051", "an IPv6 address is in brackets", "[::1]:50051"),
        ("http://chat", "an address has no http://", "chat:50051"),
        ("HTTP://chat:1/", "an address has no http://", "chat:1"),
        ("http://[::1]:1", "an address has no http://", "[::1]:1"),
        ("http://chat:port", "an address has no http://", "127.0.0.1:50051"),
        ("http://chat:8080/chat", "8080 is the port for HTTP, and this is a gRPC client", "chat:50051"),
        ("https://me@chat/x", "an address has no https://", "chat:443, with credentials=tls_credentials()"),
        ("grpcs://chat:1", "an address has no grpcs://", "chat:1, with credentials=tls_credentials()"),
    ],
)
def test_invalid_address_is_refused_with_a_suggestion(target: str, fault: str, meant: str) -> None:
    for kind in (ChatClient, AsyncChatClient):
        with pytest.raises(ValueError, match=r".+") as caught:
            kind(target)
        assert str(caught.value) == f"{fault}: type {meant}"


def test_a_list_of_addresses_has_no_name_that_a_certificate_could_be_for() -> None:
    for kind in (ChatClient, AsyncChatClient):
        with pytest.raises(ValueError, match="dns:///name:port"):
            kind("10.0.0.1:50051,10.0.0.2:50051", credentials=tls_credentials())


async def test_the_command_says_which_addresses_it_cannot_take() -> None:
    for command in (("health",), ("chat", "--user", "alice", "hi")):
        refused = await run(*command, "--address", "chat-1:50051,chat-2:50051")
        assert (refused.code, refused.out) == (2, "")
        assert refused.err.startswith("ilab-chat: a list of addresses must contain IP addresses of one family")


def test_max_retries_is_what_grpc_is_told() -> None:
    options = dict(Target.parse("dns:///chat:50051").options(max_retries=4))
    [repeated] = json.loads(str(options["grpc.service_config"]))["methodConfig"]
    assert repeated["retryPolicy"]["maxAttempts"] == 5
    none = json.loads(str(dict(Target.parse("dns:///chat:50051").options(max_retries=0))["grpc.service_config"]))
    assert none.keys() == {"loadBalancingConfig", "healthCheckConfig"}
    for kind in (ChatClient, AsyncChatClient):
        for wrong in (-1, 5):
            with pytest.raises(ValueError, match="max_retries must be 0 to 4"):
                kind(max_retries=wrong)


@pytest.mark.parametrize("target", ["127.0.0.1:50051", "dns:///chat:50051"])
def test_pitfall_19_just_the_methods_that_have_a_request_id_are_repeated(target: str) -> None:
    [repeated] = config_of(target)["methodConfig"]
    assert repeated.keys() == {"name", "retryPolicy"}  # and no timeout
    assert repeated["retryPolicy"]["retryableStatusCodes"] == ["UNAVAILABLE"]
    assert {(name["service"], name["method"]) for name in repeated["name"]} == {
        (service.full_name, method.name)
        for file in (chat_pb2.DESCRIPTOR, memory_pb2.DESCRIPTOR)
        for service in file.services_by_name.values()
        for method in service.methods
        if "request_id" in method.input_type.fields_by_name
    }


def test_the_documented_config_is_that_of_the_client() -> None:
    page = (Path(__file__).parents[2] / "docs/operations.md").read_text()
    blocks = re.findall(r"^```json\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    [block] = [block for block in blocks if "methodConfig" in block]
    assert json.loads(block) == config_of("dns:///ilab-chat:50051")


def test_each_client_has_a_connection_of_its_own() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, ExitStack() as stack:
        server.settimeout(10)
        for _ in range(2):
            client = stack.enter_context(ChatClient(f"127.0.0.1:{server.getsockname()[1]}"))
            stack.enter_context(client.stream_chat("alice", "Hi"))
            stack.enter_context(server.accept()[0])
