"""The playground when things are many, late, broken, or of somebody else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Page, Route, expect

from http_gateway import Client, gateway
from ilab_chat import AsyncChatClient
from ilab_chat_service.server import serving
from ilab_chat_service.settings import Settings
from playground import say, visiting
from upstream import Reply, Upstream

pytestmark = pytest.mark.process

TURNS = 25
FACTS = 60


@asynccontextmanager
async def shown(browser: Browser, address: str) -> AsyncIterator[Page]:
    """Open the page. Errors of its scripts fail the test."""
    opened = await browser.new_page()
    faults: list[str] = []
    opened.on("pageerror", lambda error: faults.append(str(error)))
    await opened.goto(f"http://{address}/playground")
    yield opened
    await opened.close()
    assert faults == []


@pytest.fixture
async def page(tab: Page, playground: Client) -> AsyncIterator[Page]:
    async with visiting(tab, playground.address) as faults:
        await expect(tab.get_by_text("Nothing said yet")).to_be_visible()
        yield tab
        assert faults == []


async def open_user(page: Page, user: str) -> None:
    await page.get_by_role("combobox", name="User id").fill(user)
    await page.get_by_role("button", name="Open").click()


async def test_message_is_sent_as_the_user_who_is_shown(page: Page, address: str) -> None:
    await say(page, "I love hiking.")
    await page.get_by_role("combobox", name="User id").fill("bob")
    await page.get_by_label("Message", exact=True).fill("I love chess.")
    await page.keyboard.press("Enter")
    await expect(page.get_by_text("remembered: I love chess.")).to_be_visible()
    await expect(page.locator("#opened")).to_have_text("bob · default")
    await expect(page.locator("#log")).not_to_contain_text("hiking")
    await expect(page.locator("#facts")).not_to_contain_text("hiking")
    async with AsyncChatClient(address) as client:
        assert [fact.content async for fact in client.memory.list_facts("bob")] == ["I love chess."]


async def test_nothing_of_another_user_stays_or_comes_late(page: Page) -> None:
    await say(page, "I love hiking.")
    held, late = asyncio.Event(), asyncio.Event()

    async def hold(route: Route) -> None:
        await held.wait()
        with suppress(Exception):  # the page may have given it up
            await route.continue_()
        late.set()

    await page.route("**/users/alice/**", hold)
    await page.get_by_role("button", name="Open").click()
    await expect(page.locator("#facts li")).to_have_count(0)
    await open_user(page, "bob")
    await expect(page.get_by_text("No facts yet")).to_be_visible()
    held.set()
    await asyncio.wait_for(late.wait(), 30)
    await say(page, "I love chess.")
    await expect(page.locator("#facts li")).to_have_count(1)
    await expect(page.locator("main")).not_to_contain_text("hiking")


async def test_list_that_cannot_be_loaded_says_so(page: Page) -> None:
    await say(page, "I love hiking.")
    await page.route("**/facts?*", lambda route: route.fulfill(status=503, json={"detail": "gone for lunch"}))
    await page.get_by_role("button", name="Open").click()
    await expect(page.locator("#facts")).to_have_text("Not loaded.")
    await expect(page.get_by_role("status")).to_have_text("gone for lunch")


@pytest.mark.parametrize("user", [".", ".."])
async def test_user_whom_no_path_can_name_is_refused_with_a_reason(page: Page, user: str) -> None:
    await open_user(page, user)
    await expect(page.get_by_role("status")).to_contain_text("Use another user id")


async def test_long_history_and_many_facts_are_shown_page_by_page(page: Page, address: str) -> None:
    async with AsyncChatClient(address) as client:
        for number in range(TURNS):
            await client.chat("long", f"Message {number:02}")
        for number in range(FACTS):
            await client.memory.save("long", f"Fact {number:02}", type="preference", title=f"fact {number}")
    await open_user(page, "long")
    turns, facts = page.locator("#log .turn.user"), page.locator("#facts [data-fact]")
    await expect(turns.last).to_have_text(f"Message {TURNS - 1}")
    await page.get_by_role("button", name="Show earlier turns").click()
    await expect(turns).to_have_text([f"Message {number:02}" for number in range(TURNS)])
    await expect(page.get_by_role("button", name="Show earlier turns")).to_have_count(0)
    await page.get_by_role("button", name="Show more").click()
    await expect(facts).to_have_count(FACTS)
    await expect(page.get_by_role("button", name="Show more")).to_have_count(0)


async def test_earlier_answer_can_be_explained(page: Page) -> None:
    await say(page, "I love hiking.")
    await expect(page.locator("#subject")).to_have_text("For “I love hiking.”")
    await say(page, "What do I love?")
    await expect(page.locator("#memories")).to_contain_text("I love hiking.")
    await expect(page.locator("#prompt")).to_contain_text("Estimated tokens by section")
    await page.get_by_role("button", name="Why?").first.click()
    await expect(page.locator("#subject")).to_have_text("For “I love hiking.”")
    await expect(page.locator("#memories")).to_have_text("No memory entered the prompt of this answer.")
    await expect(page.get_by_role("heading", name="Why this answer")).to_be_focused()


async def test_new_conversation_shares_the_facts_and_not_the_turns(page: Page, upstream: Upstream) -> None:
    await page.get_by_role("button", name="Hi, my name is Alice").click()
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("button", name="Repeat")).to_be_visible()
    await page.get_by_role("button", name="New conversation").click()
    await expect(page.locator("#opened")).to_have_text("alice · chat-2")
    await expect(page.get_by_label("Message", exact=True)).to_be_focused()
    await say(page, "What do I love?")
    assert upstream.requests[-1].said == ["What do I love?"]
    assert "I love hiking." in upstream.requests[-1].system
    await page.get_by_role("button", name="default", exact=True).click()
    await expect(page.locator("#log .turn.user")).to_have_text(["Hi, my name is Alice and I love hiking."])


async def test_failure_is_explained_where_the_answer_would_be(page: Page, upstream: Upstream) -> None:
    upstream.replies(Reply(status=401))
    await page.get_by_label("Message", exact=True).fill("Hi")
    await page.keyboard.press("Enter")
    await expect(page.locator(".turn.assistant")).to_contain_text("failed: the model's API refused the request")
    await expect(page.locator(".turn.assistant")).not_to_contain_text("Waiting")


async def test_page_says_that_the_server_requires_a_token(browser: Browser, settings: Settings, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text("alices-token-0123456789 user:alice\n")
    protected = replace(settings, auth="tokens", auth_tokens_file=str(tokens))
    async with (
        serving(protected) as address,
        gateway(address, playground=True) as web,
        shown(browser, web.address) as page,
    ):
        await expect(page.get_by_role("status")).to_contain_text("requires a valid token")
        await page.get_by_label("Token").fill("alices-token-0123456789")
        await page.get_by_role("button", name="Open").click()
        await expect(page.get_by_text("No facts yet")).to_be_visible()
        await say(page, "Hi")


async def test_page_works_without_storage(browser: Browser, playground: Client) -> None:
    opened = await browser.new_page()
    forbid = "Object.defineProperty(window, 'sessionStorage', {get() { throw new DOMException('', 'SecurityError'); }})"
    await opened.add_init_script(forbid)
    await opened.goto(f"http://{playground.address}/playground")
    await say(opened, "Hi")
    await opened.close()


async def test_broken_stream_is_taken_up_again_without_a_second_request(
    browser: Browser, playground: Client, upstream: Upstream
) -> None:
    upstream.replies(Reply(pieces=("The first piece", " and the rest."), hold_before=1))
    async with breakable(playground.address) as (address, cut), shown(browser, address) as page:
        await expect(page.get_by_text("Nothing said yet")).to_be_visible()
        await page.get_by_label("Message", exact=True).fill("Hi")
        async with page.expect_request(
            lambda request: request.headers.get("last-event-id") is not None, timeout=60_000
        ):
            await page.keyboard.press("Enter")
            await expect(page.locator(".turn.assistant")).to_contain_text("The first piece")
            cut()
        upstream.release()
        await expect(page.locator(".turn.assistant .text").last).to_have_text("The first piece and the rest.")
        await expect(page.get_by_role("button", name="Repeat")).to_be_visible()
    assert len(upstream.requests) == 1


@asynccontextmanager
async def breakable(address: str) -> AsyncIterator[tuple[str, Callable[[], None]]]:
    """Forward connections to *address*. The function cuts those of clients; the gateway does not notice."""
    clients: set[asyncio.StreamWriter] = set()
    running: set[asyncio.Task[Any]] = set()

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65_536):
                writer.write(data)

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with ExitStack() as stack:
            stack.callback(writer.transport.abort)
            task = asyncio.current_task()
            assert task
            running.add(task)
            stack.callback(running.discard, task)
            clients.add(writer)
            host, port = address.split(":")
            gateway_reader, gateway_writer = await asyncio.open_connection(host, int(port))
            stack.callback(gateway_writer.transport.abort)
            await asyncio.gather(forward(reader, gateway_writer), forward(gateway_reader, writer))

    def cut() -> None:
        for writer in clients:
            writer.transport.abort()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()[:2]
    try:
        yield f"{host}:{port}", cut
    finally:
        server.close()
        for task in [*running]:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
