"""Compressed bodies that we did not request: small on the wire, gigabytes when decoded."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest

from ilab_chat.v1 import chat_pb2, chat_pb2_grpc
from ilab_chat_service.model.content_encoding import PIECE_BYTES, Decoder, UndecodableBody
from processes import ServerProcess, running_server
from upstream import Reply, Request, running

#: Decoded size of a bomb in bytes, and number of concurrent requests for one.
BOMB = 10 * 1024 * 1024 * 1024
BOMBS = 2
#: Pause between two calls of the others, in seconds.
PAUSE_SECONDS = 0.02
#: Maximum memory of the server beyond that of a good answer, in bytes.
MEMORY = 64 * 1024 * 1024

BLOCK = 16 * 1024 * 1024
PRIVATE_WINDOW = -15
GZIP_WINDOW = 31
GZIP_HEAD = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03"


def bomb(text: bytes, head: bytes = GZIP_HEAD) -> Iterator[bytes]:
    """Yield a gzip of BOMB bytes of *text* in independent blocks."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, PRIVATE_WINDOW)
    block = deflate.compress(text * (BLOCK // len(text))) + deflate.flush(zlib.Z_FULL_FLUSH)
    yield head
    for _ in range(BOMB // BLOCK):
        yield block


def bomb_in_a_bomb() -> Iterator[bytes]:
    deflate = zlib.compressobj(9, zlib.DEFLATED, GZIP_WINDOW)
    for part in bomb(b"\0"):
        yield deflate.compress(part)
    yield deflate.flush()


DELTA = b'data: {"choices": [{"delta": {"content": "twenty characters..."}}]}\n\n'
DELTAS = "gzip of deltas"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bomb:
    """A body and the content-encoding of its response."""

    encoding: str = "gzip"
    text: bytes = b"\0"
    head: bytes = GZIP_HEAD
    twice: bool = False

    def parts(self) -> Iterator[bytes]:
        return bomb_in_a_bomb() if self.twice else bomb(self.text, self.head)


BODIES = {
    "gzip of zeros": Bomb(),
    "gzip of comments": Bomb(text=b": %s\n\n" % (b"ping" * 50)),
    DELTAS: Bomb(text=DELTA),
    "gzip of an event": Bomb(text=b'data: {"choices": ['),
    "gzip of a document": Bomb(text=b'{"choices": [['),
    "deflate": Bomb(encoding="deflate", head=b"\x78\x9c"),
    "gzip twice": Bomb(encoding="gzip, gzip", twice=True),
    "br": Bomb(encoding="br"),
    "zstd": Bomb(encoding="zstd"),
}
STATUSES = {"success": 200, "error": 500}


def hostile(request: Request) -> Reply:
    """Answer with the bomb that the last line of the message names."""
    said = request.messages[-1]["content"].rpartition("bomb: ")[2]
    if said not in CASES:
        return Reply()
    body, status = CASES[said]
    return Reply(parts=body.parts(), status=status, headers={"content-encoding": body.encoding})


CASES = {f"{name} as {kind}": (body, status) for name, body in BODIES.items() for kind, status in STATUSES.items()}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    database = tmp_path_factory.mktemp("memory") / "memory.db"
    with (
        running(hostile) as upstream,
        running_server(
            ILAB_MEMORY_DB_PATH=str(database), OPENAI_BASE_URL=upstream.base_url, ILAB_CHAT_MODEL_RETRIES="0"
        ) as server,
    ):
        yield server


def peak(server: ServerProcess) -> int:
    """Return the peak memory of *server*, in bytes."""
    found = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{server.process.pid}/status").read_text())
    assert found
    return int(found[1]) * 1024


@pytest.mark.parametrize(
    ("name", "streams"),
    [*((name, False) for name in CASES), *((f"{name} as success", True) for name in ("gzip of zeros", DELTAS))],
)
def test_bombs_use_bounded_memory_while_others_are_answered(
    server: ServerProcess,
    name: str,
    streams: bool,  # noqa: FBT001
) -> None:
    with grpc.insecure_channel(server.address) as channel, ThreadPoolExecutor(BOMBS) as threads:
        stub: Any = chat_pb2_grpc.ChatServiceStub(channel)

        def ask(number: int) -> grpc.StatusCode:
            # Each model has its own circuit breaker.
            request: dict[str, Any] = {
                "user_id": f"user-{number}",
                "message": f"bomb: {name}",
                "generation": {"model": f"{name.replace(' ', '-')}-{number}-{streams}"},
            }
            try:
                if streams:
                    list(stub.StreamChat(chat_pb2.StreamChatRequest(**request), timeout=60))
                else:
                    stub.Chat(chat_pb2.ChatRequest(**request), timeout=60)
            except grpc.RpcError as error:
                code: grpc.StatusCode = error.code()
                return code
            return grpc.StatusCode.OK

        good = chat_pb2.ChatRequest(user_id="neighbour", message="Hi", memory_mode=chat_pb2.MEMORY_MODE_OFF)
        assert stub.Chat(good, timeout=60).reply == "Hello there."
        before = peak(server)
        bombs = [threads.submit(ask, number) for number in range(BOMBS)]
        while wait(bombs, timeout=PAUSE_SECONDS).not_done:
            assert stub.Chat(good, timeout=60).reply == "Hello there."
        # These are answers that end at the limit of a reply.
        is_answer = name == f"{DELTAS} as success"
        expected = grpc.StatusCode.OK if is_answer else grpc.StatusCode.UNAVAILABLE
        assert {each.result() for each in bombs} == {expected}
        assert peak(server) - before < MEMORY


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip"])
def test_unsupported_encoding_is_logged(server: ServerProcess, encoding: str) -> None:
    name = {"gzip, gzip": "gzip twice"}.get(encoding, encoding)
    with grpc.insecure_channel(server.address) as channel:
        stub: Any = chat_pb2_grpc.ChatServiceStub(channel)
        request = chat_pb2.ChatRequest(
            user_id="alice",
            message=f"bomb: {name} as success",
            generation=chat_pb2.GenerationOptions(model=f"log-{name.replace(' ', '-')}"),
        )
        with pytest.raises(grpc.RpcError):
            stub.Chat(request, timeout=60)
    line = json.loads(server.read_until(f"log-{name.replace(' ', '-')}").string)
    assert line["upstream.error"].startswith("content-encoding")


def decoder(encoding: str, *received: bytes) -> Decoder:
    parts = iter(received)

    async def receive() -> bytes:
        return next(parts, b"")

    return Decoder(receive, encoding)


async def read_all(decoder: Decoder) -> list[bytes]:
    pieces = []
    while piece := await decoder.receive():
        pieces.append(piece)
    return pieces


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
@pytest.mark.parametrize("cut", [1, 7, 10_000])
@pytest.mark.parametrize("size", [0, 1, PIECE_BYTES - 1, PIECE_BYTES, 3 * PIECE_BYTES + 1])
async def test_decoded_pieces_are_bounded_and_complete(encoding: str, cut: int, size: int) -> None:
    text = bytes(number * 7 % 251 for number in range(size))
    deflate = zlib.compressobj(9, zlib.DEFLATED, GZIP_WINDOW if encoding == "gzip" else zlib.MAX_WBITS)
    body = deflate.compress(text) + deflate.flush()
    pieces = await read_all(decoder(encoding, *(body[at : at + cut] for at in range(0, len(body), cut)), b"rest"))
    assert b"".join(pieces) == text
    assert all(len(piece) <= PIECE_BYTES for piece in pieces)


async def test_event_is_decoded_as_soon_as_it_arrives() -> None:
    deflate = zlib.compressobj(9, zlib.DEFLATED, GZIP_WINDOW)
    events = decoder("gzip", *(deflate.compress(DELTA) + deflate.flush(zlib.Z_SYNC_FLUSH) for _ in range(3)))
    assert [await events.receive() for _ in range(3)] == [DELTA] * 3


@pytest.mark.parametrize(("encoding", "body"), [("gzip", b"not gzip at all"), ("br", b"x"), ("gzip, gzip", b"x")])
async def test_undecodable_body_is_an_error(encoding: str, body: bytes) -> None:
    with pytest.raises(UndecodableBody):
        await read_all(decoder(encoding, body))
