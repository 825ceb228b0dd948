"""Signed tokens, with keys from a file and from a real HTTP server, over a real channel."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import hashlib
import hmac
import json
import os
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from batch import cases
from ilab_chat_service.auth.jwks import UrlKeys, parse
from ilab_chat_service.server import serving
from ilab_chat_service.settings import Settings, SettingsError
from rpcs import METHODS, bearer, call

STATS = next(method for method in METHODS if method.name == "GetStats")
INVALID = ("UNAUTHENTICATED", "INVALID_CREDENTIALS")
MISMATCH = ("PERMISSION_DENIED", "USER_MISMATCH")
OK = ("OK", "")

RSA = rsa.generate_private_key(65537, 2048)
WEAK = rsa.generate_private_key(65537, 1024)
EC = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()
STRANGER = ec.generate_private_key(ec.SECP256R1())
PEM = RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def jwk(key: Any, kid: str, **more: str) -> dict[str, Any]:
    public = key.public_key()
    of = {"RSA": RSAAlgorithm, "ECC": ECAlgorithm, "Ed2": OKPAlgorithm}
    name = "RSA" if isinstance(key, rsa.RSAPrivateKey) else "ECC" if isinstance(key, type(EC)) else "Ed2"
    return {**of[name].to_jwk(public, as_dict=True), "kid": kid, **more}  # type: ignore[attr-defined]


KEYS = [
    jwk(RSA, "rsa"),
    jwk(EC, "ec", use="sig", alg="ES256"),
    jwk(ED, "ed"),
    jwk(WEAK, "weak"),
    jwk(EC, "e", use="enc"),
]


def token(key: Any = EC, kid: str | None = "ec", algorithm: str = "ES256", **changes: Any) -> str:
    claims = {"iss": "https://issuer.example", "aud": "ilab-chat", "sub": "alice", "exp": time.time() + 300} | changes
    claims = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(claims, key, algorithm, {"kid": kid} if kid else None)


def segment(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def forged(algorithm: str, secret: bytes | None) -> str:
    """Return a token that no library makes: unsigned, or signed with a public key as if it were a shared secret."""
    claims = {"iss": "https://issuer.example", "aud": "ilab-chat", "sub": "alice", "exp": time.time() + 300}
    signed = f"{segment({'alg': algorithm, 'kid': 'rsa', 'typ': 'JWT'})}.{segment(claims)}"
    if secret is None:
        return f"{signed}."
    mac = base64.urlsafe_b64encode(hmac.new(secret, signed.encode(), hashlib.sha256).digest())
    return f"{signed}.{mac.rstrip(b'=').decode()}"


def with_header(**header: Any) -> str:
    """Return a token whose header contains arbitrary JSON values."""
    return f"{segment({'kid': 'ec', 'alg': 'ES256'} | header)}.{segment({})}.AAAA"


def with_jwt(settings: Settings, jwks: str) -> Settings:
    issuer = "https://issuer.example"
    return dataclasses.replace(settings, auth="jwt", jwt_jwks=jwks, jwt_issuer=issuer, jwt_audience="ilab-chat")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "jwks.json"
    path.write_text(json.dumps({"keys": KEYS}))
    return path


@pytest.fixture
async def channel(settings: Settings, file: Path) -> AsyncIterator[grpc.aio.Channel]:
    async with serving(with_jwt(settings, str(file))) as address, grpc.aio.insecure_channel(address) as channel:
        yield channel


@cases(
    ("make", "user", "expected"),
    [
        (token, "alice", OK),
        (token, "bob", MISMATCH),
        (lambda: token(RSA, "rsa", "RS256"), "alice", OK),
        (lambda: token(RSA, "rsa", "PS256"), "alice", OK),
        (lambda: token(ED, "ed", "EdDSA"), "alice", OK),
        (lambda: token(aud=["other", "ilab-chat"]), "alice", OK),
        (lambda: token(scope="email ilab-chat:any-user", sub=None), "bob", OK),
        (lambda: token(scp=["ilab-chat:any-user"]), "bob", OK),
        (lambda: token(scope="ilab-chat:any-user-not"), "bob", MISMATCH),
        (lambda: token(exp=time.time() - 5), "alice", OK),
        (lambda: token(nbf=time.time() + 5), "alice", OK),
        (lambda: token(exp=time.time() - 60), "alice", INVALID),
        (lambda: token(nbf=time.time() + 300), "alice", INVALID),
        (lambda: token(exp=None), "alice", INVALID),
        (lambda: token(exp="never"), "alice", INVALID),
        (lambda: token(aud="other"), "alice", INVALID),
        (lambda: token(aud=None), "alice", INVALID),
        (lambda: token(iss="https://other.example"), "alice", INVALID),
        (lambda: token(iss=None), "alice", INVALID),
        (lambda: token(sub=None), "alice", INVALID),
        (lambda: token(sub=""), "", INVALID),
        (lambda: token(STRANGER), "alice", INVALID),
        (lambda: token(STRANGER, "unknown"), "alice", INVALID),
        (lambda: token(EC, "e"), "alice", INVALID),
        (lambda: token(EC, None), "alice", INVALID),
        (lambda: token(EC, "rsa"), "alice", INVALID),
        (lambda: token(RSA, "ec", "RS256"), "alice", INVALID),
        (lambda: token(RSA, "rsa", "RS512"), "alice", INVALID),
        (lambda: forged("none", None), "alice", INVALID),
        (lambda: forged("None", None), "alice", INVALID),
        (lambda: forged("HS256", PEM), "alice", INVALID),
        (lambda: forged("HS256", b""), "alice", INVALID),
        (lambda: forged("RS256", PEM), "alice", INVALID),
        (lambda: token()[:-4], "alice", INVALID),
        (lambda: with_header(alg=["ES256"]), "alice", INVALID),
        (lambda: with_header(alg={"a": 1}), "alice", INVALID),
        (lambda: with_header(alg=5), "alice", INVALID),
        (lambda: with_header(kid=["ec"]), "alice", INVALID),
        (lambda: with_header(kid={}), "alice", INVALID),
        (lambda: with_header(crit=[{}]), "alice", INVALID),
        (lambda: token(exp=[1]), "alice", INVALID),
        (lambda: token(exp={}), "alice", INVALID),
        (lambda: token(exp=float("inf")), "alice", INVALID),
        (lambda: token(nbf=float("-inf")), "alice", INVALID),
        (lambda: token(aud=[["ilab-chat"]]), "alice", INVALID),
        (lambda: token(aud={"ilab-chat": 1}), "alice", INVALID),
        (lambda: token(sub=["alice"]), "alice", INVALID),
        (lambda: token(scope=[["ilab-chat:any-user"]]), "bob", MISMATCH),
        (lambda: "a.b.c", "alice", INVALID),
        (lambda: "no-jwt-at-all", "alice", INVALID),
    ],
)
async def test_token_is_accepted_or_rejected(
    channel: grpc.aio.Channel, make: Callable[[], str], user: str, expected: tuple[str, str]
) -> None:
    assert await call(channel, STATS, user, bearer(make())) == expected


@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")
async def test_weak_rsa_key_verifies_nothing(channel: grpc.aio.Channel) -> None:
    assert await call(channel, STATS, "alice", bearer(token(WEAK, "weak", "RS256"))) == INVALID


async def test_missing_token_has_its_own_reason(channel: grpc.aio.Channel) -> None:
    assert await call(channel, STATS, "alice") == ("UNAUTHENTICATED", "MISSING_CREDENTIALS")


async def test_error_explains_the_rejection_without_quoting_claims(channel: grpc.aio.Channel) -> None:
    rpc: Any = channel.unary_unary("/ilab_chat.v1.MemoryService/GetStats")
    for made, text in ((token(exp=1, sub="secret"), "expired"), (token(aud="secret"), "audience")):
        with pytest.raises(grpc.aio.AioRpcError, match=text) as caught:
            await rpc(b"", metadata=bearer(made))
        assert "secret" not in str(caught.value)


@pytest.mark.usefixtures("files_checked_at_each_call")
async def test_key_file_is_reloaded(channel: grpc.aio.Channel, file: Path) -> None:
    assert await call(channel, STATS, "alice", bearer(token(STRANGER, "new"))) == INVALID
    (file.parent / "next").write_text(json.dumps({"keys": [jwk(STRANGER, "new")]}))
    os.replace(file.parent / "next", file)  # noqa: PTH105
    while await call(channel, STATS, "alice", bearer(token(STRANGER, "new"))) != OK:
        pass
    assert await call(channel, STATS, "alice", bearer(token(STRANGER, None))) == OK
    assert await call(channel, STATS, "alice", bearer(token())) == INVALID


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"keys": {}}', '{"keys": [{"kty": "oct", "k": "c2VjcmV0"}, 1]}'])
def test_document_without_public_keys_is_rejected(text: str) -> None:
    with pytest.raises(ValueError, match=r"not JSON|no public key"):
        parse(text.encode())


INVALID_KEYS = [
    {"kty": ["RSA"]},
    {"kty": {}},
    {"kty": 5, "use": []},
    {"kty": "RSA"},
    {"kty": "EC", "crv": ["P-256"], "x": "AA", "y": "AA"},
    {"kty": "EC", "alg": ["ES256"]},
    {"kty": "OKP", "crv": "X25519", "x": "AA"},
    jwk(RSA, "rsa") | {"n": 5},
    jwk(RSA, "rsa") | {"e": [1]},
    jwk(RSA, "rsa") | {"alg": ["RS256"]},
    jwk(RSA, "rsa") | {"alg": {}},
    jwk(RSA, "rsa") | {"use": ["sig"]},
    jwk(WEAK, "weak"),
]


@pytest.mark.parametrize("entry", INVALID_KEYS)
async def test_server_does_not_start_with_only_an_invalid_key(
    settings: Settings, file: Path, entry: dict[str, Any]
) -> None:
    file.write_text(json.dumps({"keys": [entry]}))  # noqa: ASYNC240 - it is short
    with pytest.raises(SettingsError, match=r"^ILAB_CHAT_JWT_JWKS: the JWKS contains no public key"):
        async with serving(with_jwt(settings, str(file))):
            pass


async def test_file_with_only_an_invalid_key_keeps_the_previous_keys(
    channel: grpc.aio.Channel, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file.write_text(json.dumps({"keys": [{"kty": ["RSA"]}]}))  # noqa: ASYNC240 - it is short
    while "keeping the previous version" not in caplog.text:
        assert await call(channel, STATS, "alice", bearer(token())) == OK
        await asyncio.sleep(0.01)
    assert await call(channel, STATS, "alice", bearer(token())) == OK


def without_kid(key: Any) -> dict[str, Any]:
    return {name: value for name, value in jwk(key, "").items() if name != "kid"}


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        ([without_kid(EC), without_kid(STRANGER)], "two keys have no kid"),
        ([without_kid(EC), jwk(STRANGER, "")], "two keys have no kid"),
        ([without_kid(EC), jwk(STRANGER, "other")], "must be the only key"),
        ([jwk(EC, "ec"), jwk(STRANGER, "ec")], "the same kid"),
        ([jwk(EC, "ec") | {"kid": ["ec"]}], "not a string"),
    ],
)
def test_ambiguous_kids_are_rejected(keys: list[Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        parse(json.dumps({"keys": keys}).encode())


def test_key_without_kid_may_be_the_only_key() -> None:
    weak_and_other = [without_kid(WEAK), {"kty": "oct", "k": "c2VjcmV0"}]
    assert len(parse(json.dumps({"keys": [without_kid(EC), *weak_and_other]}).encode())) == 1


def test_private_and_invalid_keys_are_ignored() -> None:
    private = RSAAlgorithm.to_jwk(RSA, as_dict=True)
    assert set(parse(json.dumps({"keys": [*INVALID_KEYS, private, jwk(EC, "ec")]}).encode())) == {"ec"}


class Issuer:
    """A real HTTP server with keys. Set `status` to make it fail."""

    def __init__(self) -> None:
        self.keys = [jwk(EC, "ec")]
        self.status = 200
        self.headers: dict[str, str] = {}
        self.requests = 0
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.requests += 1
                self.send_response(issuer.status)
                for name, value in issuer.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                if not self.path.startswith("/broken"):
                    self.wfile.write(json.dumps({"keys": issuer.keys}).encode())

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/jwks"


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    issuer = Issuer()
    thread = threading.Thread(target=issuer.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield issuer
    issuer.server.shutdown()
    issuer.server.server_close()
    thread.join()


async def test_keys_are_fetched_from_a_url(settings: Settings, issuer: Issuer) -> None:
    async with serving(with_jwt(settings, issuer.url)) as address, grpc.aio.insecure_channel(address) as channel:
        assert await call(channel, STATS, "alice", bearer(token())) == OK
        assert await call(channel, STATS, "bob", bearer(token())) == MISMATCH
        for _ in range(20):
            assert await call(channel, STATS, "alice", bearer(token(STRANGER, "unknown"))) == INVALID
    assert issuer.requests == 1


async def test_unknown_keys_cause_at_most_one_request_per_pause(issuer: Issuer) -> None:
    keys = UrlKeys(issuer.url, pause=0)
    await keys.fetch()
    issuer.keys = [jwk(STRANGER, "new")]
    assert await keys.find("new")
    assert await keys.find("ec") is None
    assert issuer.requests == 3
    await keys.close()
    keys = UrlKeys(issuer.url, pause=1e6)
    await keys.fetch()
    assert await keys.find("unknown") is None
    assert issuer.requests == 4
    await keys.close()


async def test_old_keys_are_refetched_and_kept_while_the_url_is_down(
    issuer: Issuer, caplog: pytest.LogCaptureFixture
) -> None:
    keys = UrlKeys(issuer.url, pause=0, lifetime=0)
    await keys.fetch()
    issuer.status = 503
    while "does not return a JWKS" not in caplog.text:
        assert await keys.find("ec")
        assert await keys.find("new") is None
    issuer.status = 200
    issuer.keys = [{"kty": ["RSA"]}]
    while "no public key" not in caplog.text:
        assert await keys.find("ec")
        assert await keys.find("new") is None
    assert await keys.find("ec")
    issuer.keys = [jwk(STRANGER, "new")]
    assert await keys.find("new")
    assert await keys.find("ec") is None
    await keys.close()


@pytest.mark.parametrize(
    "change",
    [{"status": 500}, {"status": 302, "headers": {"Location": "/jwks"}}, {"keys": []}, {"keys": [{"kty": ["RSA"]}]}],
)
async def test_server_does_not_start_without_keys(settings: Settings, issuer: Issuer, change: dict[str, Any]) -> None:
    for name, value in change.items():
        setattr(issuer, name, value)
    with pytest.raises(SettingsError, match=r"^ILAB_CHAT_JWT_JWKS: "):
        async with serving(with_jwt(settings, issuer.url)):
            pass


async def test_key_server_that_does_not_speak_http_is_rejected(settings: Settings) -> None:
    async def other(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(other, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/jwks"
    async with server:
        with pytest.raises(SettingsError, match=r"^ILAB_CHAT_JWT_JWKS: "):
            async with serving(with_jwt(settings, url)):
                pass


async def test_url_without_a_jwks_is_rejected(settings: Settings, issuer: Issuer) -> None:
    with pytest.raises(SettingsError, match=r"^ILAB_CHAT_JWT_JWKS: "):
        async with serving(with_jwt(settings, issuer.url.replace("/jwks", "/broken"))):
            pass
