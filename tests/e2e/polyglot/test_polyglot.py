"""The client programs in other languages, built and run against a real server with a scripted model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

import upstream as fake
from e2e.polyglot.programs import LANGUAGES, Language, Program, build
from ilab_chat import ChatClient, Unavailable
from processes import running_server

#: Compiling takes a minute on a busy machine.
pytestmark = pytest.mark.timeout(900)

#: The messages of the commands `deadline` and `cancel`. They differ, because on a busy machine a call whose deadline
#: has passed can reach the model while the next command runs.
LONG_STORY, STORY = "Tell me a long story.", "Tell me a story."

#: How the languages' libraries name the codes. C++ has the numbers only.
SPELLINGS = {
    "INVALID_ARGUMENT": {"INVALID_ARGUMENT", "InvalidArgument", "3"},
    "DEADLINE_EXCEEDED": {"DEADLINE_EXCEEDED", "DeadlineExceeded", "4"},
    "CANCELLED": {"CANCELLED", "Cancelled", "Canceled", "1"},
}


class Model:
    """Answers "Hello there.", but stops before the second word of a story until the caller leaves."""

    def __init__(self) -> None:
        self.refusals = 0
        """Number of next requests that it refuses, except for stories."""

    def __call__(self, request: fake.Request) -> fake.Reply:
        if request.said[-1] in {STORY, LONG_STORY}:
            return fake.Reply(hold_before=1)
        if self.refusals:
            self.refusals -= 1
            return fake.Reply(status=503, headers={"retry-after-ms": "20"})
        return fake.Reply()


@dataclass(frozen=True)
class Stack:
    """A running server, and the model behind it."""

    address: str
    upstream: fake.Upstream
    model: Model

    def messages(self, user_message: str) -> list[fake.Request]:
        """Return the requests so far that asked the model about *user_message*."""
        return [request for request in self.upstream.requests if request.said[-1] == user_message]


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    model = Model()
    with fake.running(model) as upstream:
        settings = {
            "ILAB_MEMORY_DB_PATH": str(tmp_path_factory.mktemp("polyglot") / "memory.db"),
            "OPENAI_BASE_URL": upstream.base_url,
            "OPENAI_MODEL": "test-model",
            # Each refusal reaches the caller.
            "ILAB_CHAT_MODEL_RETRIES": "0",
        }
        with running_server(**settings) as server:
            yield Stack(server.address, upstream, model)
            assert server.stop() == 0


@pytest.fixture(scope="session", params=LANGUAGES, ids=lambda language: language.name)
def program(request: pytest.FixtureRequest, stack: Stack) -> Program:
    language: Language = request.param
    return Program(language, build(language, request.config.cache.mkdir("polyglot")), stack.address)


def code(lines: list[str]) -> str:
    """Return the contract's name of the code that the program printed once."""
    [printed] = [line.removeprefix("error ") for line in lines if line.startswith("error ")]
    return next(name for name, spellings in SPELLINGS.items() if printed in spellings)


def test_chat(program: Program) -> None:
    assert program("chat") == ["reply Hello there."]


def test_stream_ends_with_the_joined_deltas(program: Program) -> None:
    *deltas, completed = program("stream")
    assert deltas
    assert "".join(line.removeprefix("delta ") for line in deltas) == "Hello there."
    assert completed == "completed Hello there."


def test_bad_request_has_decoded_details(program: Program) -> None:
    error, reason, field = program("invalid")
    assert code([error]) == "INVALID_ARGUMENT"
    assert reason == "reason INVALID_FIELD"
    assert field.startswith("field message ")


def test_deadline_ends_the_call(program: Program) -> None:
    lines = program("deadline")
    assert code(lines) == "DEADLINE_EXCEEDED"
    assert not any(line.startswith("completed") for line in lines)


def test_cancel_ends_the_request_to_the_model(program: Program, stack: Stack) -> None:
    before = len(stack.messages(STORY))
    delta, *rest = program("cancel")
    assert delta == "delta Hello"
    assert code(rest) == "CANCELLED"
    [story] = stack.messages(STORY)[before:]
    assert story.gone.wait(60), "the model's API still has its caller"


def test_refused_call_is_repeated_and_stored_once(program: Program, stack: Stack) -> None:
    message = "My name is Alice and I love hiking."
    with ChatClient(stack.address) as client:
        stored, asked = turns(client, program.user_id, message), len(stack.messages(message))
        stack.model.refusals = 1
        assert program("chat") == ["reply Hello there."]
        assert len(stack.messages(message)) == asked + 2
        assert turns(client, program.user_id, message) == stored + 1


def turns(client: ChatClient, user_id: str, message: str) -> int:
    """Return how many turns with this message are stored."""
    observations = client.memory.list_observations(user_id)
    return sum(each.topic_key.startswith("chat:turn/") and message in each.content for each in observations)


def test_refusal_is_unavailable_with_a_wait(stack: Stack) -> None:
    """The failure that the programs repeat."""
    stack.model.refusals = 1
    with ChatClient(stack.address, max_retries=0) as client, pytest.raises(Unavailable) as refused:
        client.chat("refused", "hi")
    assert refused.value.retry_after
