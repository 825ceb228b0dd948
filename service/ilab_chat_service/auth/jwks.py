"""The public keys that verify tokens: a JWKS in a file or at a URL."""

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
from ilab_chat_service.limits import MIN_RSA_BITS

if TYPE_CHECKING:
    from collections.abc import Mapping

log = logging.getLogger(__name__)

#: Timeout of a request for the JWKS.
TIMEOUT_SECONDS = 5.0
#: The JWKS is fetched again when it is this old, so that a withdrawn key stops working.
LIFETIME_SECONDS = 300.0
#: Minimum time between two requests caused by unknown keys, since any caller can name one.
PAUSE_SECONDS = 10.0

CURVES = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}
RSA_ALGORITHMS = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})


@dataclass(frozen=True, slots=True)
class Key:
    """A public key and the algorithms it may verify, never those of another key type."""

    public: RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey
    algorithms: frozenset[str]


Keys: TypeAlias = "Mapping[str, Key]"


class KeySource(Protocol):
    """A source of public keys."""

    async def find(self, kid: str | None) -> Key | None:
        """Return the key with this id, or without an id the only key. None: there is no such key."""


class FileKeys:
    """A JWKS in a file, which is reloaded when it changes.

    Raises:
        OSError: the file cannot be read.
        ValueError: the file contains no usable key.
    """

    def __init__(self, path: str) -> None:
        self._file = FileReload([path], parse)

    async def find(self, kid: str | None) -> Key | None:
        """Return the key with this id. See `KeySource`."""
        return pick(await self._file.current(), kid)


class UrlKeys:
    """A JWKS at a URL, fetched again when it is old or a key is unknown. Call `fetch` before use, `close` after it."""

    def __init__(self, url: str, *, pause: float = PAUSE_SECONDS, lifetime: float = LIFETIME_SECONDS) -> None:
        # PyJWKClient does not follow redirects, which could lead from https to http.
        self._client = jwt.PyJWKClient(url, cache_jwk_set=False, timeout=TIMEOUT_SECONDS)
        self._pause = pause
        self._lifetime = lifetime
        self._keys: Keys = {}
        self._fetched_at = 0.0
        self._fetching: asyncio.Task[None] | None = None

    async def close(self) -> None:
        """Cancel a running request."""
        if self._fetching:
            self._fetching.cancel()
            await asyncio.wait([self._fetching])

    async def find(self, kid: str | None) -> Key | None:
        """Return the key with this id. Wait for a request only if the key is unknown. See `KeySource`."""
        key = pick(self._keys, kid)
        if time.monotonic() - self._fetched_at >= (self._lifetime if key else self._pause) and not self._fetching:
            self._fetching = asyncio.create_task(self._refetch())
        if key or not self._fetching:
            return key
        await asyncio.wait([self._fetching])
        return pick(self._keys, kid)

    async def _refetch(self) -> None:
        try:
            await self.fetch()
        except ValueError as error:
            log.error("ILAB_CHAT_JWT_JWKS: reload failed, keeping the previous version: %s", error)  # noqa: TRY400 - the traceback adds nothing
        finally:
            self._fetching = None

    async def fetch(self) -> None:
        """Fetch the keys.

        Raises:
            ValueError: the URL does not return a usable JWKS.
        """
        self._fetched_at = time.monotonic()
        try:
            document = await asyncio.to_thread(self._client.fetch_data)
        except Exception:  # noqa: BLE001 - PyJWT, urllib, http.client and json raise their own errors
            raise ValueError("the URL does not return a JWKS") from None
        self._keys = keys_of(document)


def pick(keys: Keys, kid: str | None) -> Key | None:
    """Return the key with this id, or without an id the only key. None: there is no such key."""
    if kid is None:
        return next(iter(keys.values())) if len(keys) == 1 else None
    return keys.get(kid)


def parse(file: bytes) -> Keys:
    """Return the keys of a JWKS document.

    Raises:
        ValueError: it is not a JWKS, or contains no usable key.
    """
    try:
        return keys_of(json.loads(file))
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError):
        raise ValueError("the file is not JSON") from None


def keys_of(document: Any) -> Keys:
    """Return the keys of a JWKS that can verify a signature, by id. Ignore others, for instance those for encryption.

    Raises:
        ValueError: there is no such key, or a token could not tell two keys apart.
    """
    entries = document.get("keys") if isinstance(document, dict) else None
    keys: dict[str, Key] = {}
    for entry in entries if isinstance(entries, list) else ():
        if not isinstance(entry, dict) or not (key := key_of(entry)):
            continue
        kid = entry.get("kid", "")
        if not isinstance(kid, str):
            raise ValueError("the kid of a key is not a string")  # noqa: TRY004 - the document is invalid, not the call
        if kid in keys:
            raise ValueError("two keys have the same kid" if kid else "two keys have no kid")
        keys[kid] = key
    if not keys:
        raise ValueError("the JWKS contains no public key that can verify signatures")
    if "" in keys and len(keys) > 1:
        raise ValueError("a key without kid must be the only key")
    return keys


def key_of(entry: dict[str, Any]) -> Key | None:
    """Return one key of a JWKS. None: it cannot verify a signature safely."""
    # A tuple, not a set: JSON values may be unhashable.
    if entry.get("kty") not in ("RSA", "EC", "OKP") or entry.get("use", "sig") != "sig":
        return None
    try:
        public = jwt.PyJWK(entry).key
    except Exception:  # noqa: BLE001 - PyJWT does not check types, so an invalid key may raise anything
        return None
    match public:
        case RSAPublicKey():
            algorithms = RSA_ALGORITHMS if public.key_size >= MIN_RSA_BITS else frozenset()
        case EllipticCurvePublicKey():
            algorithms = frozenset({CURVES.get(public.curve.name, "")})
        case Ed25519PublicKey():
            algorithms = frozenset({"EdDSA"})
        case _:
            return None  # a private key, or a type that JWT algorithms do not use
    if "alg" in entry:
        algorithms = frozenset(each for each in algorithms if each == entry["alg"])
    return Key(public, algorithms) if algorithms else None
