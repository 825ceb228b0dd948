"""Authentication over a real channel."""

from __future__ import annotations

import asyncio
import dataclasses
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf.descriptor import MethodDescriptor
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2

from certificates import Authority
from ilab_chat_service.server import serving
from ilab_chat_service.settings import Settings
from processes import run_server
from rpcs import METHODS, bearer, call

SERVICE = "service-token-0123456789"
ALICES = "alices-token-0123456789"
TOKENS = f"# two callers\n\n{SERVICE}\n{ALICES}  user:alice\n"

STATS = next(method for method in METHODS if method.name == "GetStats")
MISSING = ("UNAUTHENTICATED", "MISSING_CREDENTIALS")
INVALID = ("UNAUTHENTICATED", "INVALID_CREDENTIALS")
MISMATCH = ("PERMISSION_DENIED", "USER_MISMATCH")
OK = ("OK", "")

each_method = pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    path = tmp_path / "tokens"
    path.write_text(TOKENS)
    return path


@pytest.fixture
async def channel(settings: Settings, tokens: Path) -> AsyncIterator[grpc.aio.Channel]:
    settings = dataclasses.replace(settings, auth="tokens", auth_tokens_file=str(tokens))
    async with serving(settings) as address, grpc.aio.insecure_channel(address) as channel:
        yield channel


@each_method
async def test_every_method_authenticates_and_checks_the_user(
    channel: grpc.aio.Channel, method: MethodDescriptor
) -> None:
    assert await call(channel, method, "alice") == MISSING
    assert await call(channel, method, "alice", bearer("wrong")) == INVALID
    assert await call(channel, method, "bob", bearer(ALICES)) == MISMATCH
    assert await call(channel, method, "", bearer("wrong")) == INVALID
    for token, user in ((ALICES, "alice"), (SERVICE, "alice"), (SERVICE, "bob")):
        assert (await call(channel, method, user, bearer(token)))[0] not in {"UNAUTHENTICATED", "PERMISSION_DENIED"}


async def test_authorization_is_checked_before_the_fields(channel: grpc.aio.Channel) -> None:
    for method in METHODS:
        assert await call(channel, method, "", bearer(ALICES)) == MISMATCH, method.name
        assert await call(channel, method, "", bearer(SERVICE)) == ("INVALID_ARGUMENT", "INVALID_FIELD"), method.name


async def test_rejected_call_changes_nothing(channel: grpc.aio.Channel) -> None:
    save = next(method for method in METHODS if method.name == "Chat")
    assert await call(channel, save, "bob", bearer(SERVICE)) == OK
    forget = next(method for method in METHODS if method.name == "ForgetUser")
    assert await call(channel, forget, "bob", bearer(ALICES)) == MISMATCH
    stats: Any = channel.unary_unary("/ilab_chat.v1.MemoryService/GetStats")
    assert await stats(b"\n\x03bob", metadata=bearer(SERVICE)) == b"\x08\x01\x10\x01"


@pytest.mark.parametrize(
    "metadata",
    [
        (("authorization", SERVICE),),
        (("authorization", "Bearer"),),
        (("authorization", "Bearer "),),
        (("authorization", f"Basic {SERVICE}"),),
        (*bearer(SERVICE), *bearer(SERVICE)),
        bearer(SERVICE + "x"),
        bearer(SERVICE[:-1]),
        bearer("x" * 7000),
    ],
)
async def test_unknown_token_is_rejected(channel: grpc.aio.Channel, metadata: tuple[tuple[str, str], ...]) -> None:
    assert await call(channel, STATS, "alice", metadata) == INVALID


async def test_token_of_10_mb_is_rejected(channel: grpc.aio.Channel) -> None:
    # gRPC itself rejects it: its limit is some KB of headers.
    code, _ = await call(channel, STATS, "alice", bearer("x" * 10_000_000))
    assert code != "OK"
    assert await call(channel, STATS, "alice", bearer(SERVICE)) == OK


async def test_authorization_scheme_is_case_insensitive(channel: grpc.aio.Channel) -> None:
    assert await call(channel, STATS, "alice", (("authorization", f"bEARER {SERVICE}"),)) == OK


async def test_health_needs_no_credentials(channel: grpc.aio.Channel) -> None:
    stub: Any = health_pb2_grpc.HealthStub(channel)
    request = health_pb2.HealthCheckRequest()
    assert (await stub.Check(request)).status == health_pb2.HealthCheckResponse.SERVING
    watch = stub.Watch(request)
    assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
    watch.cancel()


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
async def test_reflection_needs_credentials(channel: grpc.aio.Channel, version: str) -> None:
    reflect = channel.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    asked = [reflection_pb2.ServerReflectionRequest(list_services="")]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for _ in reflect(iter(asked)):
            pass
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert [response async for response in reflect(iter(asked), metadata=bearer(SERVICE))]


@pytest.mark.usefixtures("files_checked_at_each_call")
async def test_tokens_file_is_reloaded_while_calls_run(channel: grpc.aio.Channel, tokens: Path) -> None:
    new = "another-token-0123456789"
    # Like Kubernetes: write a new file and rename it atomically.
    (tokens.parent / "next").write_text(f"{SERVICE}\n{new}\n")
    os.replace(tokens.parent / "next", tokens)  # noqa: PTH105
    while await call(channel, STATS, "alice", bearer(new)) != OK:
        assert await call(channel, STATS, "alice", bearer(SERVICE)) == OK
    assert await call(channel, STATS, "alice", bearer(ALICES)) == INVALID


@pytest.mark.usefixtures("files_checked_at_each_call")
@pytest.mark.parametrize(
    "content",
    ["", TOKENS.removesuffix("  user:alice\n"), TOKENS.removesuffix("\n"), TOKENS.replace(ALICES, f" {ALICES}")],
)
async def test_invalid_tokens_file_keeps_the_previous_tokens(
    channel: grpc.aio.Channel, tokens: Path, caplog: pytest.LogCaptureFixture, content: str
) -> None:
    tokens.write_text(content)  # noqa: ASYNC240 - it is short
    while not any("keeping the previous version" in message for message in caplog.messages):
        assert await call(channel, STATS, "alice", bearer(SERVICE)) == OK
    assert await call(channel, STATS, "alice", bearer(ALICES)) == OK
    assert await call(channel, STATS, "bob", bearer(ALICES)) == MISMATCH
    assert SERVICE not in caplog.text
    assert ALICES not in caplog.text


def test_server_does_not_start_with_a_truncated_tokens_file(tokens: Path) -> None:
    tokens.write_text(TOKENS.removesuffix("  user:alice\n"))
    ended = run_server(
        ILAB_MEMORY_DB_PATH=str(tokens.parent / "memory.db"),
        ILAB_CHAT_AUTH="tokens",
        ILAB_CHAT_AUTH_TOKENS_FILE=str(tokens),
        OPENAI_BASE_URL="http://127.0.0.1:9/v1",
    )
    assert ended.returncode == 2
    assert "ILAB_CHAT_AUTH_TOKENS_FILE: line 4: the last line does not end with a newline" in ended.stderr
    assert ALICES not in ended.stderr


async def test_credentials_are_neither_logged_nor_returned(
    channel: grpc.aio.Channel, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    rpc: Any = channel.unary_unary("/ilab_chat.v1.MemoryService/GetStats")
    said = ""
    for token in ("secret-0123456789", ALICES, SERVICE):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await rpc(b"\n\x0bthe-user-id" if token != SERVICE else b"", metadata=bearer(token))
        said += str(caught.value)
    said += "".join(str(vars(record)) for record in caplog.records)
    assert "USER_MISMATCH" in said
    for secret in ("secret-0123", ALICES, SERVICE, "the-user-id", "alice"):
        assert secret not in said


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        (["spiffe://example.org/ns/shop/sa/orders"], OK),
        (["spiffe://example.org/ns/bank/sa/a/b"], OK),
        (["spiffe://example.org/ns/shop/sa/orders2"], INVALID),
        (["spiffe://example.org/ns/shop/sa"], INVALID),
        (["spiffe://example.org/ns/bank"], INVALID),
        (["spiffe://other.org/ns/shop/sa/orders"], INVALID),
        (["https://example.org/ns/shop/sa/orders"], MISSING),
        (["spiffe://example.org/ns/shop/sa/orders", "spiffe://example.org/ns/bank/sa/a"], MISSING),
        ([], MISSING),
        (["spiffe://example.org/ns/bank/.hidden/..a"], OK),
        (["spiffe://example.org/ns/shop/sa/orders\0x"], INVALID),
        (["spiffe://example.org/ns/shop/sa/orders\0", "spiffe://example.org/ns/shop/sa/orders"], MISSING),
        (["spiffe://example.org/ns/shop/sa/orders\n"], INVALID),
        (["spiffe://example.org/ns/shop/sa/orders?a=b"], INVALID),
        (["spiffe://example.org/ns/bank/"], INVALID),
        (["spiffe://example.org/ns/bank/../shop/sa/admin"], INVALID),
        (["spiffe://example.org/ns/bank/a/.."], INVALID),
        (["spiffe://example.org/ns/bank/./a"], INVALID),
        (["spiffe://example.org/ns/bank//a"], INVALID),
        (["spiffe://example.org/ns/bank/%2e%2e/a"], INVALID),
        (["spiffe://example.org/ns/bank/a?b"], INVALID),
        (["spiffe://example.org/ns/bank/a#b"], INVALID),
        (["spiffe://example.org/ns/bank/" + "a" * 2048], INVALID),
    ],
)
async def test_spiffe_id_must_be_on_the_allow_list(
    settings: Settings, tmp_path: Path, ids: list[str], expected: tuple[str, str]
) -> None:
    authority = Authority()
    async with serving(with_spiffe(settings, tmp_path, authority)) as address:
        credentials = authority.channel(authority.client(*ids))
        async with grpc.aio.secure_channel(address, credentials) as channel:
            assert await call(channel, STATS, "anybody", bearer(SERVICE)) == expected


def with_spiffe(settings: Settings, folder: Path, authority: Authority) -> Settings:
    certificate, key = authority.server().write(folder, "server")
    (folder / "ca.pem").write_bytes(authority.certificate)
    return dataclasses.replace(
        settings,
        tls_cert_file=certificate,
        tls_key_file=key,
        tls_client_ca_file=str(folder / "ca.pem"),
        auth="spiffe",
        spiffe_ids="spiffe://example.org/ns/shop/sa/orders, spiffe://example.org/ns/bank/*",
    )


@pytest.mark.parametrize(
    ("ca", "usages", "why"),
    [
        (True, (), "CA:TRUE"),
        (True, ("key_cert_sign",), "CA:TRUE"),
        (False, ("key_cert_sign",), "keyCertSign"),
        (False, ("crl_sign",), "cRLSign"),
        (False, ("key_agreement", "key_encipherment"), ""),
    ],
)
async def test_spiffe_signing_certificate_is_rejected(
    settings: Settings,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    ca: bool,  # noqa: FBT001
    usages: tuple[str, ...],
    why: str,
) -> None:
    authority = Authority()
    signing = authority.client("spiffe://example.org/ns/shop/sa/orders", ca=ca, usages=usages)
    async with (
        serving(with_spiffe(settings, tmp_path, authority)) as address,
        grpc.aio.secure_channel(address, authority.channel(signing)) as channel,
    ):
        assert await call(channel, STATS, "anybody") == (INVALID if why else OK)
    logged = [vars(record)["fields"].get("status_message", "") for record in caplog.records if record.msg == "call"]
    assert all(why in message for message in logged)
    assert len(logged) == (1 if why else 0)


async def test_without_authentication_any_caller_may_act_for_any_user(settings: Settings) -> None:
    async with serving(settings) as address, grpc.aio.insecure_channel(address) as channel:
        calls = (call(channel, STATS, user, bearer("ignored")) for user in ("alice", "bob"))
        assert await asyncio.gather(*calls) == [OK, OK]
