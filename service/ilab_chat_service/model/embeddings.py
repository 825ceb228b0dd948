"""Embeddings by an OpenAI-compatible API: the API of a model profile, asked at `/embeddings`.

Calls block, on threads of the memory library. A call that takes longer than SECONDS fails, and after FAILURES_TO_OPEN
failures in a row all calls fail at once for a while. So a chat call is delayed by at most SECONDS, and then searches by
words.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from http import HTTPStatus
from typing import TYPE_CHECKING

import httpx2
import msgspec

from ilab_memory.core.embedder import EmbedderUnavailable

if TYPE_CHECKING:
    from collections.abc import Collection

    from ilab_chat_service.model.profiles import Profile

log = logging.getLogger(__name__)

#: Time limit of a call, and of the first one, for which a server may load its model.
SECONDS, FIRST_SECONDS = 0.4, 30.0
#: Failures in a row after which calls fail at once, and for how long.
FAILURES_TO_OPEN, OPEN_SECONDS = 3, 30.0
#: Longest response. A vector of 4,096 numbers takes about 90 KB.
RESPONSE_BYTES = 1024 * 1024
#: Statuses that the text causes, not the state of the API.
REJECTED = frozenset({400, 413, 422})
#: Path of chat completions, with which the profile's URL ends.
CHAT_PATH = "/chat/completions"


class Datum(msgspec.Struct):
    """One vector of a response."""

    embedding: list[float]


class Response(msgspec.Struct):
    """The part of a response that is read."""

    data: list[Datum]


DECODER = msgspec.json.Decoder(Response)


class ProfileEmbedder:
    """The `Embedder` over the API of *profile*. `embed` raises EmbedderUnavailable until `load` has returned.

    Keys that may change are read on *loop*. Making one reads certificates, and blocks.
    """

    def __init__(self, profile: Profile, loop: asyncio.AbstractEventLoop) -> None:
        url = httpx2.URL(profile.url)
        self.id = f"{profile.model} at {profile.host}"
        self.dimensions = 0
        self._profile = profile
        self._url = url.copy_with(path=url.path.removesuffix(CHAT_PATH) + "/embeddings")
        self._loop = loop
        self._client = httpx2.Client(timeout=SECONDS, follow_redirects=False)
        self._circuit = Circuit()

    def load(self) -> None:
        """Embed a word, to learn the number of dimensions.

        Raises:
            EmbedderUnavailable: the API did not answer.
        """
        try:
            self.dimensions = len(self._ask("Hello", FIRST_SECONDS))
        except ValueError as error:
            raise EmbedderUnavailable(str(error)) from None

    def embed(self, text: str) -> Collection[float]:
        """See `Embedder`."""
        if not self.dimensions:
            raise EmbedderUnavailable("the API has not answered yet")
        self._circuit.check()
        try:
            vector = self._ask(text, SECONDS)
        except EmbedderUnavailable as error:
            self._circuit.failed(str(error))
            raise
        self._circuit.succeeded()
        if len(vector) != self.dimensions:
            raise ValueError("the API returned a vector of another length")
        return vector

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _ask(self, text: str, seconds: float) -> list[float]:
        """Return the vector of *text*.

        Raises:
            EmbedderUnavailable: the API failed, or took longer than *seconds*.
            ValueError: it rejected the text.
        """
        until = time.monotonic() + seconds
        body = msgspec.json.encode({"model": self._profile.model, "input": text, **self._profile.body})
        try:
            with self._client.stream(
                "POST", self._url, content=body, headers=self._headers(seconds), timeout=seconds
            ) as response:
                content = bytearray()
                # Not decompressed: a small piece could expand to gigabytes. A compressed body fails to parse as JSON.
                for piece in response.iter_raw():
                    content += piece
                    if len(content) > RESPONSE_BYTES or time.monotonic() > until:
                        raise EmbedderUnavailable("the response is too long or too slow")
        except (httpx2.HTTPError, httpx2.InvalidURL, TimeoutError) as error:
            raise EmbedderUnavailable(f"the API cannot be reached: {type(error).__name__}") from None
        if response.status_code in REJECTED:
            raise ValueError(f"the API rejected the text: status {response.status_code}")
        if response.status_code != HTTPStatus.OK:
            raise EmbedderUnavailable(f"the API failed: status {response.status_code}")
        try:
            return DECODER.decode(content).data[0].embedding
        except (msgspec.DecodeError, IndexError):
            raise EmbedderUnavailable("the response is not one of /embeddings") from None

    def _headers(self, seconds: float) -> dict[str, str]:
        key = self._profile.key
        if not isinstance(key, str):
            key = asyncio.run_coroutine_threadsafe(key.current(), self._loop).result(seconds)
        headers = {"Content-Type": "application/json", "Accept-Encoding": "identity", **self._profile.headers}
        if key:
            name = self._profile.key_header
            headers |= {name: key} if name else {"Authorization": f"Bearer {key}"}
        return headers


class Circuit:
    """Rejects calls for OPEN_SECONDS after FAILURES_TO_OPEN failures in a row. Then one call decides."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._failures = 0
        self._closed_until = 0.0

    def check(self) -> None:
        """Raise EmbedderUnavailable while calls are rejected."""
        with self._lock:
            now = time.monotonic()
            if now < self._closed_until:
                raise EmbedderUnavailable("the API failed just now")
            if self._failures >= FAILURES_TO_OPEN:
                # One call probes. Other calls pass once it has succeeded.
                self._closed_until = now + OPEN_SECONDS

    def failed(self, reason: str) -> None:
        """Record a failure."""
        with self._lock:
            self._failures += 1
            if self._failures == FAILURES_TO_OPEN:
                log.warning("embedder: %s; memory is searched by words for now", reason)
            if self._failures >= FAILURES_TO_OPEN:
                self._closed_until = time.monotonic() + OPEN_SECONDS

    def succeeded(self) -> None:
        """Record a success."""
        with self._lock:
            if self._failures >= FAILURES_TO_OPEN:
                log.info("embedder: available again")
            self._failures, self._closed_until = 0, 0.0
