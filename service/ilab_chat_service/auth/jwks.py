"""The public keys that tokens are signed with: a JWKS in a file, or behind a URL."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from ilab_chat_service.file_reload import FileReload

if TYPE_CHECKING:
    from collections.abc import Mapping

log = logging.getLogger(__name__)

#: Seconds that a URL may take to answer.
TIMEOUT = 5.0
#: Seconds after which keys from a URL are read again, so that a withdrawn one stops working.
LIFETIME = 300.0
#: Seconds between two attempts that unknown keys cause: anybody can name one.
PAUSE = 10.0
LEAST_RSA_BITS = 2048

CURVES = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}
RSA_ALGORITHMS = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})


@dataclass(frozen=True, slots=True)
class Key:
    """A public key, and the algorithms that it may verify: never those of another type of key."""

    public: RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey
    algorithms: frozenset[str]


Keys: TypeAlias = "Mapping[str, Key]"


class KeySource(Protocol):
    """Where keys come from."""

    async def find(self, kid: str | None) -> Key | None:
        """Return the key of this id; without an id the only key, if there is but one."""


class FileKeys:
    """A JWKS in a file, read again when it changes.

    Raises:
        OSError: the file cannot be read.
        ValueError: it has no key that can be used.
    """

    def __init__(self, path: str) -> None:
        self._file = FileReload([path], parse)

    async def find(self, kid: str | None) -> Key | None:
        """Return the key of this id."""
        return pick(await self._file.current(), kid)


class UrlKeys:
    """A JWKS behind a URL, read again when it is old and when a key is not known. Made by `open`."""

    def __init__(self, url: str, *, pause: float = PAUSE, lifetime: float = LIFETIME) -> None:
        # It follows no redirection, which could lead away from https.
        self._client = jwt.PyJWKClient(url, cache_jwk_set=False, timeout=TIMEOUT)
        self._pause = pause
        self._lifetime = lifetime
        self._keys: Keys = {}
        self._attempted = 0.0
        self._reading: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Read the keys for the first time.

        Raises:
            ValueError: they cannot be read.
        """
        await self._read()

    async def close(self) -> None:
        """Stop reading."""
        if self._reading:
            self._reading.cancel()
            await asyncio.wait([self._reading])

    async def find(self, kid: str | None) -> Key | None:
        """Return the key of this id, read again if it is not known; a known one is not waited for."""
        key = pick(self._keys, kid)
        if time.monotonic() - self._attempted >= (self._lifetime if key else self._pause) and not self._reading:
            self._reading = asyncio.create_task(self._read_again())
        if key or not self._reading:
            return key
        await asyncio.wait([self._reading])
        return pick(self._keys, kid)

    async def _read_again(self) -> None:
        try:
            await self._read()
        except ValueError as error:
            log.error("ILAB_CHAT_JWT_JWKS cannot be read, the keys from before stay: %s", error)  # noqa: TRY400 - a traceback says nothing more
        finally:
            self._reading = None

    async def _read(self) -> None:
        self._attempted = time.monotonic()
        try:
            document = await asyncio.to_thread(self._client.fetch_data)
        except Exception:  # noqa: BLE001 - of PyJWT, urllib, http.client or json: all say that there are no keys
            raise ValueError("the URL does not answer with a JWKS") from None
        self._keys = keys_of(document)


def pick(keys: Keys, kid: str | None) -> Key | None:
    """Return the key of this id; without an id the only key, if there is but one."""
    if kid is None:
        return next(iter(keys.values())) if len(keys) == 1 else None
    return keys.get(kid)


def parse(file: bytes) -> Keys:
    """Return the keys of a JWKS document.

    Raises:
        ValueError: it is none, or has no key that can be used.
    """
    try:
        return keys_of(json.loads(file))
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError):
        raise ValueError("it is not JSON") from None


def keys_of(document: Any) -> Keys:
    """Return the keys of a JWKS that can verify a signature, by id; the others, as for encryption, do not count.

    Raises:
        ValueError: there is none, or more than one that a token would name in the same way.
    """
    entries = document.get("keys") if isinstance(document, dict) else None
    keys: dict[str, Key] = {}
    for entry in entries if isinstance(entries, list) else ():
        if not isinstance(entry, dict) or not (key := key_of(entry)):
            continue
        kid = entry.get("kid", "")
        if not isinstance(kid, str):
            raise ValueError("a key's kid is no text")  # noqa: TRY004 - what is wrong is a document, not a call
        if kid in keys:
            raise ValueError("two keys have the same kid" if kid else "two keys have no kid")
        keys[kid] = key
    if not keys:
        raise ValueError("it has no public key to verify signatures with")
    if "" in keys and len(keys) > 1:
        raise ValueError("a key without kid is not the only one")
    return keys


def key_of(entry: dict[str, Any]) -> Key | None:
    """Return one key of a JWKS. None: it cannot verify a signature, or not safely."""
    # A tuple, which compares: a set would hash, and not every value of JSON can be.
    if entry.get("kty") not in ("RSA", "EC", "OKP") or entry.get("use", "sig") != "sig":
        return None
    try:
        public = jwt.PyJWK(entry).key
    except Exception:  # noqa: BLE001 - whatever the library raises of values it does not expect: it is no key
        return None
    match public:
        case RSAPublicKey():
            algorithms = RSA_ALGORITHMS if public.key_size >= LEAST_RSA_BITS else frozenset()
        case EllipticCurvePublicKey():
            algorithms = frozenset({CURVES.get(public.curve.name, "")})
        case Ed25519PublicKey():
            algorithms = frozenset({"EdDSA"})
        case _:
            return None  # a private key, or of a type that has no algorithm here
    if "alg" in entry:
        algorithms = frozenset(each for each in algorithms if each == entry["alg"])
    return Key(public, algorithms) if algorithms else None
