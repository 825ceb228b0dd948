"""TLS with files that change while the server runs."""

from __future__ import annotations

import asyncio
import dataclasses
import ssl
import time
from datetime import timedelta
from pathlib import Path

import grpc
import grpc.aio
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from certificates import DAY, Authority, Issued, Key, Validity
from ilab_chat_service.server import serving
from ilab_chat_service.settings import Settings, SettingsError
from rpcs import METHODS, call

STATS = next(method for method in METHODS if method.name == "GetStats")
OK = ("OK", "")


def with_tls(settings: Settings, folder: Path, server: Issued, clients: Authority | None = None) -> Settings:
    certificate, key = server.write(folder, "server")
    client_ca = ""
    if clients:
        (folder / "clients.pem").write_bytes(clients.certificate)
        client_ca = str(folder / "clients.pem")
    return dataclasses.replace(settings, tls_cert_file=certificate, tls_key_file=key, tls_client_ca_file=client_ca)


async def asked(address: str, credentials: grpc.ChannelCredentials) -> tuple[str, str]:
    """Return the result of a call over a new connection."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.secure_channel(address, credentials, options) as channel:
        return await call(channel, STATS, "alice")


async def test_calls_are_encrypted_and_plaintext_is_rejected(settings: Settings, tmp_path: Path) -> None:
    authority = Authority()
    async with serving(with_tls(settings, tmp_path, authority.server())) as address:
        assert await asked(address, authority.channel()) == OK
        assert (await asked(address, Authority().channel()))[0] == "UNAVAILABLE"
        async with grpc.aio.insecure_channel(address) as channel:
            assert (await call(channel, STATS, "alice"))[0] == "UNAVAILABLE"


async def test_certificate_is_reloaded_and_open_connections_continue(settings: Settings, tmp_path: Path) -> None:
    old, new = Authority(), Authority()
    async with (
        serving(with_tls(settings, tmp_path, old.server())) as address,
        grpc.aio.secure_channel(address, old.channel()) as channel,
    ):
        assert await call(channel, STATS, "alice") == OK
        new.server().write(tmp_path, "server")
        assert await asked(address, new.channel()) == OK
        assert (await asked(address, old.channel()))[0] == "UNAVAILABLE"
        assert await call(channel, STATS, "alice") == OK


@pytest.mark.parametrize("broken", ["server.pem", "server.key"])
async def test_invalid_or_mismatched_pair_keeps_the_previous_certificate(
    settings: Settings, tmp_path: Path, broken: str, caplog: pytest.LogCaptureFixture
) -> None:
    authority = Authority()
    async with serving(with_tls(settings, tmp_path, authority.server())) as address:
        for content in (b"", Authority().server().key, Authority().server().certificate):
            (tmp_path / broken).write_bytes(content)
            assert await asked(address, authority.channel()) == OK
        (tmp_path / broken).unlink()
        assert await asked(address, authority.channel()) == OK
        assert sum("keeping the previous version" in message for message in caplog.messages) == 4
        new = Authority()
        new.server().write(tmp_path, "server")
        assert await asked(address, new.channel()) == OK
    assert "PRIVATE" not in caplog.text


@pytest.mark.parametrize(("valid", "said"), [((-2 * DAY, -DAY), "has expired"), ((DAY, 2 * DAY), "is not valid yet")])
async def test_certificate_that_is_not_valid_now_keeps_the_previous_one(
    settings: Settings, tmp_path: Path, valid: Validity, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    authority = Authority()
    async with serving(with_tls(settings, tmp_path, authority.server())) as address:
        authority.server(valid=valid).write(tmp_path, "server")
        assert await asked(address, authority.channel()) == OK
        assert sum(f"keeping the previous version: the TLS certificate {said}" in each for each in caplog.messages) == 1
        new = Authority()
        new.server().write(tmp_path, "server")
        assert await asked(address, new.channel()) == OK


@pytest.mark.slow
async def test_certificate_is_used_once_it_is_valid(settings: Settings, tmp_path: Path) -> None:
    old, new = Authority(), Authority()
    async with serving(with_tls(settings, tmp_path, old.server())) as address:
        # The times in certificates are whole seconds.
        new.server(valid=(timedelta(seconds=4), DAY)).write(tmp_path, "server")
        assert await asked(address, old.channel()) == OK
        end = time.monotonic() + 60
        while await asked(address, new.channel()) != OK:
            assert time.monotonic() < end
            await asyncio.sleep(0.1)


async def test_server_starts_with_an_expired_certificate_and_warns(
    settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(with_tls(settings, tmp_path, Authority().server(valid=(-2 * DAY, -DAY)))):
        assert "the TLS certificate has expired" in caplog.messages


async def test_client_certificates_are_required_and_their_authority_is_reloaded(
    settings: Settings, tmp_path: Path
) -> None:
    authority, old, new = Authority(), Authority(), Authority()

    def as_client(of: Authority) -> grpc.ChannelCredentials:
        client = of.client()
        return grpc.ssl_channel_credentials(authority.certificate, client.key, client.certificate)

    async with serving(with_tls(settings, tmp_path, authority.server(), old)) as address:
        assert await asked(address, as_client(old)) == OK
        assert (await asked(address, as_client(new)))[0] == "UNAVAILABLE"
        assert (await asked(address, authority.channel()))[0] == "UNAVAILABLE"
        (tmp_path / "clients.pem").write_bytes(old.certificate + new.certificate)
        assert await asked(address, as_client(new)) == OK
        assert await asked(address, as_client(old)) == OK
        (tmp_path / "clients.pem").write_bytes(new.certificate)
        assert (await asked(address, as_client(old)))[0] == "UNAVAILABLE"


@pytest.mark.parametrize("content", [b"", b"text", Authority().server().certificate, Authority().server().key])
async def test_server_does_not_start_with_an_invalid_pair(settings: Settings, tmp_path: Path, content: bytes) -> None:
    tls = with_tls(settings, tmp_path, Authority().server())
    for name in ("server.pem", "server.key"):
        before = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(content)
        with pytest.raises(SettingsError, match=r"^ILAB_CHAT_TLS_CERT_FILE"):
            async with serving(tls):
                pass
        (tmp_path / name).write_bytes(before)


@pytest.mark.parametrize("name", ["server.pem", "clients.pem"])
@pytest.mark.parametrize("left", [0.5, 0.99])
async def test_truncated_chain_or_bundle_keeps_the_previous_one(
    settings: Settings, tmp_path: Path, name: str, left: float, caplog: pytest.LogCaptureFixture
) -> None:
    authority, second = Authority(), Authority()
    client = second.client()
    credentials = grpc.ssl_channel_credentials(authority.certificate, client.key, client.certificate)
    tls = with_tls(settings, tmp_path, authority.server(), second)
    async with serving(tls) as address:
        assert await asked(address, credentials) == OK
        whole = (tmp_path / name).read_bytes()
        more = second.certificate if name == "server.pem" else authority.certificate
        (tmp_path / name).write_bytes(whole + more[: int(len(more) * left)])
        assert await asked(address, credentials) == OK
    assert "keeping the previous version" in caplog.text
    assert "truncated" in caplog.text or "invalid" in caplog.text
    with pytest.raises(SettingsError, match=r"truncated|invalid"):
        async with serving(tls):
            pass


SERVED: dict[str, Key] = {
    "RSA 2048": rsa.generate_private_key(65537, 2048),
    "P-384": ec.generate_private_key(ec.SECP384R1()),
}
NOT_SERVED: dict[str, Key] = {
    "RSA 1024": rsa.generate_private_key(65537, 1024),
    "P-521": ec.generate_private_key(ec.SECP521R1()),
    "secp256k1": ec.generate_private_key(ec.SECP256K1()),
    "Ed25519": ed25519.Ed25519PrivateKey.generate(),
}


@pytest.mark.parametrize("name", SERVED)
async def test_supported_key_type_is_served(settings: Settings, tmp_path: Path, name: str) -> None:
    authority = Authority()
    async with serving(with_tls(settings, tmp_path, authority.server(SERVED[name]))) as address:
        assert await asked(address, authority.channel()) == OK


@pytest.mark.parametrize("name", NOT_SERVED)
async def test_key_type_that_clients_reject_is_rejected_at_start_and_on_reload(
    settings: Settings, tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    authority = Authority()
    refused = authority.server(NOT_SERVED[name])
    with pytest.raises(SettingsError, match=r"^ILAB_CHAT_TLS_CERT_FILE.*P-256 or P-384"):
        async with serving(with_tls(settings, tmp_path, refused)):
            pass
    async with serving(with_tls(settings, tmp_path, authority.server())) as address:
        refused.write(tmp_path, "server")
        assert await asked(address, authority.channel()) == OK
    assert "keeping the previous version: gRPC clients do not accept this type of key" in caplog.text


def test_openssl_accepts_the_test_certificates(tmp_path: Path) -> None:
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(*Authority().server().write(tmp_path, "server"))
