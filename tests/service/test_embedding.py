"""Memory that is found by meaning: embedded after a turn, by an API or in this process, and never waited for."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import replace

import grpc.aio
import pytest

import metrics
from ilab_chat.v1 import chat_pb2, chat_pb2_grpc, memory_pb2, memory_pb2_grpc
from ilab_chat_service.embedding_setup import open_embedder
from ilab_chat_service.memory.background_embedding import BATCH
from ilab_chat_service.model import embeddings
from ilab_chat_service.model.embeddings import ProfileEmbedder
from ilab_chat_service.model.profiles import Profile
from ilab_chat_service.server import serving
from ilab_chat_service.settings import Settings, SettingsError, read
from ilab_chat_service.startup_summary import StartedServer, startup_summary
from ilab_memory import EmbedderUnavailable, semantic
from memory.concepts import DIMENSIONS, vector
from processes import running_server
from upstream import Reply, Request, Upstream, running

ENCODED = json.dumps({"data": [{"embedding": vector("nuts")}]}).encode()

STATEMENT, QUESTION = "I'm allergic to peanuts.", "Any meals I should avoid?"


def answer(request: Request) -> Reply:
    """Answer like an API that has both methods."""
    if not request.path.partition("?")[0].endswith("/embeddings"):
        return Reply()
    return Reply(body=json.dumps({"data": [{"embedding": vector(request.body["input"])}]}).encode())


def embedded_texts(upstream: Upstream) -> list[str]:
    return [each.body["input"] for each in upstream.requests if each.path.partition("?")[0].endswith("/embeddings")]


class Caller:
    def __init__(self, channel: grpc.aio.Channel, path: str) -> None:
        self.stub: chat_pb2_grpc.ChatServiceAsyncStub = chat_pb2_grpc.ChatServiceStub(channel)
        self.memory: memory_pb2_grpc.MemoryServiceAsyncStub = memory_pb2_grpc.MemoryServiceStub(channel)
        self.path = path

    async def say(self, message: str, user_id: str = "alice", conversation_id: str = "") -> None:
        await self.stub.Chat(chat_pb2.ChatRequest(user_id=user_id, message=message, conversation_id=conversation_id))

    async def save(self, user_id: str, content: str) -> None:
        await self.memory.SaveObservation(
            memory_pb2.SaveObservationRequest(user_id=user_id, content=content, type="discovery", title="note")
        )

    async def found(self, message: str = QUESTION) -> list[str]:
        """Return what search adds to the prompt for *message* in a new conversation."""
        request = chat_pb2.PreviewPromptRequest(user_id="alice", message=message, conversation_id="new")
        shown = await self.stub.PreviewPrompt(request)
        return [each.snippet for each in shown.memories if each.source == chat_pb2.MEMORY_SOURCE_SEARCH]

    async def embedded(self, count: int) -> None:
        """Wait until this number of observations is embedded."""

        def cursor() -> int:
            with closing(sqlite3.connect(self.path)) as connection:
                return int(connection.execute("SELECT coalesce(sum(cursor), 0) FROM embedded").fetchone()[0])

        async with asyncio.timeout(30):
            while await asyncio.to_thread(cursor) < count:  # noqa: ASYNC110 - only the file tells
                await asyncio.sleep(0.01)


@asynccontextmanager
async def caller_of(settings: Settings, upstream: Upstream) -> AsyncIterator[Caller]:
    settings = replace(settings, openai_base_url=upstream.base_url, embedder="profile:embed-1")
    async with serving(settings) as address, grpc.aio.insecure_channel(address) as channel:
        yield Caller(channel, settings.memory_db_path)


async def test_a_turn_is_found_by_its_meaning(settings: Settings) -> None:
    with running(answer) as upstream:
        async with caller_of(settings, upstream) as caller:
            await caller.say("The harbour is nice. <private>my code is 1234</private>")
            await caller.say("The doctor warned about nuts.")
            await caller.embedded(2)
            assert await caller.found() == ["The doctor warned about nuts."]
        asked = next(each for each in upstream.requests if each.path.partition("?")[0].endswith("/embeddings"))
        assert asked.path == "/v1/embeddings"
        assert asked.body["model"] == "embed-1"
        assert "1234" not in str(embedded_texts(upstream))


async def test_saved_and_imported_observations_are_embedded_too(settings: Settings) -> None:
    with running(answer) as upstream:
        async with caller_of(settings, upstream) as caller:
            await caller.save("alice", "Nuts made me sick.")
            await caller.embedded(1)
            assert len(await caller.found()) == 1


async def test_many_observations_of_one_user_do_not_delay_those_of_another(settings: Settings) -> None:
    begun, released = threading.Event(), threading.Event()

    def held(request: Request) -> Reply:
        if "of bob" in str(request.body.get("input")):
            begun.set()
            released.wait(30)
        return answer(request)

    with running(held) as upstream:
        async with caller_of(settings, upstream) as caller:
            # Wait until the rows that were there at the start are embedded.
            await caller.save("carol", "The harbour is nice.")
            await caller.embedded(1)
            for number in range(5 * BATCH):
                await caller.save("bob", f"Note {number} of bob.")
            assert await asyncio.to_thread(begun.wait, 30)
            await caller.save("alice", "Nuts made me sick.")
            released.set()
            async with asyncio.timeout(30):
                while not any("Nuts" in text for text in embedded_texts(upstream)):  # noqa: ASYNC110 - see above
                    await asyncio.sleep(0.01)
        order = ["bob" in text for text in embedded_texts(upstream) if "of bob" in text or "Nuts" in text]
        assert order.index(False) <= 2 * BATCH


async def test_next_start_embeds_rows_saved_without_an_embedder(settings: Settings) -> None:
    with running(answer) as upstream:
        async with serving(settings) as address, grpc.aio.insecure_channel(address) as channel:
            caller = Caller(channel, settings.memory_db_path)
            await caller.say("The doctor warned about nuts.")
            assert await caller.found() == []
        async with caller_of(settings, upstream) as caller:
            await caller.embedded(1)
            assert len(await caller.found()) == 1


async def test_metrics_tell_what_was_embedded_and_what_is_left(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    settings = replace(settings, metrics_address="127.0.0.1:0")
    is_away = threading.Event()
    is_away.set()

    def unless_away(request: Request) -> Reply:
        return Reply(status=503) if is_away.is_set() and request.path.endswith("/embeddings") else answer(request)

    with running(unless_away) as upstream:
        async with caller_of(settings, upstream) as caller:
            await caller.say("The doctor warned about nuts.")
        caplog.clear()
        async with caller_of(settings, upstream):
            scrape = await asyncio.to_thread(metrics.Scrape, metrics.url_in(caplog.messages))
            assert scrape.value("ilab_chat_embedding_pending_observations") == 1
            assert scrape.value("ilab_chat_embedded_observations_total") == 0
        is_away.clear()
        caplog.clear()
        async with caller_of(settings, upstream):
            url = metrics.url_in(caplog.messages)
            await asyncio.to_thread(
                metrics.until, url, lambda scrape: scrape.value("ilab_chat_embedded_observations_total") == 1
            )


async def test_a_forgotten_user_leaves_no_vector(settings: Settings) -> None:
    with running(answer) as upstream:
        async with caller_of(settings, upstream) as caller:
            await caller.say("The doctor warned about nuts.")
            await caller.embedded(1)
            await caller.memory.ForgetUser(memory_pb2.ForgetUserRequest(user_id="alice"))
            with closing(sqlite3.connect(caller.path)) as connection:
                for table in ("vectors", "embedded"):
                    assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)


async def test_an_endpoint_that_does_not_answer_delays_no_chat(settings: Settings) -> None:
    def hang(request: Request) -> Reply:
        is_embedding = request.path.endswith("/embeddings") and request.body["input"] != "Hello"
        return Reply(parts=[b"{"], stays_open=True) if is_embedding else answer(request)

    with running(hang) as upstream:
        async with caller_of(settings, upstream) as caller:
            async with asyncio.timeout(30):
                for number in range(20):
                    # Not a statement, which every prompt would have.
                    await caller.say(f"The wharf {'of the canal ' * number}is closed.", conversation_id=str(number))
                assert await caller.found("Which wharf is closed?")


@pytest.fixture
async def embedder(upstream: Upstream) -> AsyncIterator[ProfileEmbedder]:
    upstream.otherwise = answer
    profile = Profile(
        name="e", model="embed-1", url=f"{upstream.base_url}/chat/completions?version=1", key="sk-1",
        headers={"x-team": "a"}, body={"dimensions": 64}, prompt_tokens=1, token_limit="none",
    )  # fmt: skip
    with closing(await asyncio.to_thread(ProfileEmbedder, profile, asyncio.get_running_loop())) as made:
        yield made


async def failing(call: Callable[[], object]) -> type[BaseException]:
    try:
        await asyncio.to_thread(call)
    except Exception as error:  # noqa: BLE001 - the type is the result
        return type(error)
    raise AssertionError("did not fail")


async def test_a_profile_is_asked_with_its_key_headers_and_fields(
    embedder: ProfileEmbedder, upstream: Upstream
) -> None:
    assert await failing(lambda: embedder.embed("too early")) is EmbedderUnavailable
    await asyncio.to_thread(embedder.load)
    assert embedder.dimensions == DIMENSIONS
    assert await asyncio.to_thread(embedder.embed, "nuts") == pytest.approx(vector("nuts"))
    last = upstream.requests[-1]
    assert last.path == "/v1/embeddings?version=1"
    assert last.headers["Authorization"] == "Bearer sk-1"
    assert last.headers["x-team"] == "a"
    assert last.headers["Accept-Encoding"] == "identity"
    assert last.body == {"model": "embed-1", "input": "nuts", "dimensions": 64}
    assert embedder.id == f"embed-1 at 127.0.0.1:{upstream.server_port}"


@pytest.mark.parametrize(
    ("reply", "failure"),
    [
        (Reply(status=400), ValueError),
        (Reply(status=500), EmbedderUnavailable),
        (Reply(status=401), EmbedderUnavailable),
        (Reply(status=307, headers={"location": "/elsewhere"}), EmbedderUnavailable),
        (Reply(body=b"{}"), EmbedderUnavailable),
        (Reply(body=b'{"data": []}'), EmbedderUnavailable),
        (Reply(body=gzip.compress(ENCODED), headers={"content-encoding": "gzip"}), EmbedderUnavailable),
        (Reply(body=b'{"data": [{"embedding": [1.0]}]}'), ValueError),
        (Reply(body=b" " * (embeddings.RESPONSE_BYTES + 1)), EmbedderUnavailable),
    ],
)
async def test_invalid_embedding_response_has_its_error(
    embedder: ProfileEmbedder, upstream: Upstream, reply: Reply, failure: type[BaseException]
) -> None:
    await asyncio.to_thread(embedder.load)
    upstream.script.append(reply)
    assert await failing(lambda: embedder.embed("nuts")) is failure


async def test_after_failures_in_a_row_the_api_rests(
    embedder: ProfileEmbedder, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    await asyncio.to_thread(embedder.load)
    upstream.otherwise = lambda _: Reply(status=503)
    for _ in range(6):
        assert await failing(lambda: embedder.embed("nuts")) is EmbedderUnavailable
    assert len(upstream.requests) == 1 + embeddings.FAILURES_TO_OPEN
    upstream.otherwise = answer
    monkeypatch.setattr(embedder._circuit, "_closed_until", 0.0)
    assert await asyncio.to_thread(embedder.embed, "nuts")
    assert await asyncio.to_thread(embedder.embed, "milk")


@pytest.mark.parametrize("value", ["on", "profile:", "profile"])
def test_an_unknown_embedder_is_refused(value: str) -> None:
    with pytest.raises(SettingsError, match=r"ILAB_MEMORY_EMBEDDER: must be auto, local, none or profile:NAME"):
        read({"ILAB_MEMORY_EMBEDDER": value})


async def test_a_profile_that_does_not_exist_is_refused(
    settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.mktemp("models") / "models.toml"
    file.write_text('[models.chat]\nbase_url = "http://127.0.0.1:1/v1"\n')
    wrong = replace(settings, openai_base_url="", openai_model="", models_file=str(file), embedder="profile:other")
    with pytest.raises(SettingsError, match=r"ILAB_MEMORY_EMBEDDER: there is no such model"):
        async with open_embedder(wrong):
            pass


async def test_local_needs_the_extra_and_auto_does_without(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(semantic, "PACKAGE", "a-package-that-is-not-installed")
    async with open_embedder(replace(settings, embedder="auto")) as found:
        assert found is None
    with pytest.raises(SettingsError, match=r"local needs the extra semantic"):
        async with open_embedder(replace(settings, embedder="local")):
            pass


def test_one_start_line_says_how_memory_is_searched() -> None:
    def line(embedder: str | None = None, **environ: str) -> str:
        lines = startup_summary(
            StartedServer(settings=read(environ), address="a", memory="m", models=[], embedder=embedder)
        )
        (found,) = [each for each in lines if each.startswith("embedder: ")]
        return found

    assert line("use-3") == "embedder: use-3, loaded in the background; until then memory is searched by words"
    assert line() == "embedder: none: the extra `semantic` is not installed; memory is searched by words"
    off = line(ILAB_MEMORY_EMBEDDER="none")
    assert off == "embedder: none: ILAB_MEMORY_EMBEDDER=none; memory is searched by words"


@pytest.mark.process
@pytest.mark.slow
def test_the_local_embedder_is_loaded_in_the_background(
    upstream: Upstream, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("memory") / "memory.db"
    variables = {"OPENAI_BASE_URL": upstream.base_url, "ILAB_CHAT_LOG_FORMAT": "text"}
    with running_server(ILAB_MEMORY_DB_PATH=str(path), ILAB_MEMORY_EMBEDDER="local", **variables) as server:
        server.read_until("use-multilingual-3 is ready after")
        log = "".join(server.log)
        assert log.index("serving on") < log.index("is ready after")
