"""Both clients, and the command, against the real service over TLS with a token."""

import asyncio
import dataclasses
import itertools
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from batch import cases
from certificates import Authority
from client.scripted import ScriptedChatService
from client.terminal import Finished, run
from ilab_chat import AsyncChatClient, ChatClient, PermissionDenied, Unauthenticated, Unavailable, tls_credentials
from ilab_chat_service.server import serving
from ilab_chat_service.settings import Settings

TOKEN = "alices-token-0123456789"
CLIENTS: list[type[ChatClient | AsyncChatClient]] = [ChatClient, AsyncChatClient]
each_client = pytest.mark.parametrize("kind", CLIENTS)


@dataclass(frozen=True)
class Secured:
    address: str
    ca: Path
    certificate: str
    key: str
    token: Path


@pytest.fixture
async def secured(settings: Settings, tmp_path: Path) -> AsyncIterator[Secured]:
    """A server that asks for a client certificate and a token."""
    authority = Authority()
    (tmp_path / "ca.pem").write_bytes(authority.certificate)
    (tmp_path / "tokens").write_text(f"{TOKEN} user:alice\n")
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    server, key = authority.server().write(tmp_path, "server")
    client = authority.client().write(tmp_path, "client")
    settings = dataclasses.replace(
        settings,
        tls_cert_file=server,
        tls_key_file=key,
        tls_client_ca_file=str(tmp_path / "ca.pem"),
        auth="tokens",
        auth_tokens_file=str(tmp_path / "tokens"),
    )
    async with serving(settings) as address:
        yield Secured(address, tmp_path / "ca.pem", *client, tmp_path / "token")


async def reply(kind: type[ChatClient | AsyncChatClient], secured: Secured, user: str, token: str | None) -> str:
    credentials = tls_credentials(ca_file=secured.ca, cert_file=secured.certificate, key_file=secured.key)
    client = kind(secured.address, credentials=credentials, token=token)
    if isinstance(client, AsyncChatClient):
        async with client:
            assert (await client.memory.stats(user)).observations == 0
            return (await client.chat(user, "hi")).reply
    with client:
        assert (await asyncio.to_thread(client.memory.stats, user)).observations == 0
        return (await asyncio.to_thread(client.chat, user, "hi")).reply


@each_client
async def test_tls_and_a_token_are_all_it_takes(secured: Secured, kind: type[ChatClient | AsyncChatClient]) -> None:
    assert await reply(kind, secured, "alice", TOKEN) == "Hello there."
    with pytest.raises(PermissionDenied) as denied:
        await reply(kind, secured, "bob", TOKEN)
    assert denied.value.reason == "USER_MISMATCH"
    with pytest.raises(Unauthenticated) as unknown:
        await reply(kind, secured, "alice", None)
    assert unknown.value.reason == "MISSING_CREDENTIALS"
    with pytest.raises(Unavailable):
        await reply(kind, dataclasses.replace(secured, ca=Path(secured.certificate)), "alice", TOKEN)


@each_client
async def test_a_token_may_be_another_for_each_call(
    service: ScriptedChatService, target: str, kind: type[ChatClient | AsyncChatClient]
) -> None:
    numbers = itertools.count(1)
    client = kind(target, token=lambda: f"token-{next(numbers)}", metadata=(("a", "b"),))
    for number in (1, 2):
        if isinstance(client, AsyncChatClient):
            await client.chat("alice", "hi", metadata=(("c", "d"),))
        else:
            await asyncio.to_thread(client.chat, "alice", "hi", metadata=(("c", "d"),))
        assert service.metadata["authorization"] == f"Bearer token-{number}"
        assert (service.metadata["a"], service.metadata["c"]) == ("b", "d")
    if isinstance(client, AsyncChatClient):
        await client.aclose()
    else:
        client.close()


@each_client
@cases("target", ["example.com:50051", "dns:///example.com:50051", "192.0.2.1:50051", "127.evil.com:1"])
async def test_a_token_does_not_leave_the_machine_in_plaintext(
    kind: type[ChatClient | AsyncChatClient], target: str
) -> None:
    with pytest.raises(ValueError, match="plaintext") as caught:
        kind(target, token=TOKEN)
    assert TOKEN not in str(caught.value)
    for client in (
        kind(target, token=TOKEN, allow_plaintext_token=True),
        kind(target, token=TOKEN, credentials=tls_credentials()),
        kind(target),
    ):
        await client.aclose() if isinstance(client, AsyncChatClient) else client.close()


@pytest.mark.parametrize("token", ["", "two words", "line\n", "clé", lambda: ""])
def test_invalid_token_is_refused_and_not_quoted(token: str | Callable[[], str]) -> None:
    with ChatClient(token=token) as client, pytest.raises(ValueError, match="visible ASCII") as caught:
        client.chat("alice", "hi")
    assert not isinstance(token, str) or not token or token not in str(caught.value)


def test_a_certificate_needs_its_key(tmp_path: Path) -> None:
    for files in ({"cert_file": "c"}, {"key_file": "k"}):
        with pytest.raises(ValueError, match="key"):
            tls_credentials(**files)
    with pytest.raises(FileNotFoundError):
        tls_credentials(ca_file=tmp_path / "missing.pem")


async def command(secured: Secured, *arguments: str, **variables: str) -> Finished:
    tls = ("--tls-ca", str(secured.ca), "--tls-cert", secured.certificate, "--tls-key", secured.key)
    return await run(*arguments, "--address", secured.address, *tls, env=variables)


async def test_the_command_speaks_tls_and_takes_its_token_from_a_file_or_the_environment(secured: Secured) -> None:
    said = await command(secured, "chat", "--user", "alice", "hi", "--token-file", str(secured.token))
    assert said == Finished(0, "Hello there.\n", "")
    assert (await command(secured, "memory", "stats", "--user", "alice", ILAB_CHAT_TOKEN=TOKEN)).code == 0
    assert await command(secured, "health") == Finished(0, "SERVING\n", "")
    refused = await command(secured, "chat", "--user", "alice", "hi")
    assert refused.code == 1
    assert "ILAB_CHAT_TOKEN" in refused.err


async def test_the_command_refuses_in_one_line(tmp_path: Path) -> None:
    chat = ("chat", "--user", "alice", "hi", "--address", "192.0.2.1:1")
    plaintext = await run(*chat, env={"ILAB_CHAT_TOKEN": TOKEN})
    assert (plaintext.code, len(plaintext.err.splitlines())) == (2, 1)
    assert TOKEN not in plaintext.err
    assert "use --tls, or --allow-plaintext-token" in plaintext.err
    allowed = await run(*chat, "--allow-plaintext-token", env={"ILAB_CHAT_TOKEN": TOKEN})
    assert (allowed.code, "UNAVAILABLE" in allowed.err) == (1, True)
    half = await run(*chat, "--tls-cert", "c.pem")
    assert (half.code, len(half.err.splitlines())) == (2, 1)
    missing = await run(*chat, "--token-file", str(tmp_path / "missing"))
    assert missing.code == 2
    assert "missing" in missing.err
