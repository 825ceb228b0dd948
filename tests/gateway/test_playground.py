"""The playground in a real browser: a newcomer's first minutes, hostile texts, and what the page may load."""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Page, Route, expect

from http_gateway import Client
from ilab_chat import AsyncChatClient
from playground import say, visiting
from upstream import Reply, Upstream

pytestmark = pytest.mark.process

ROOT = Path(__file__).parents[2]
FILES = ROOT / "gateway/ilab_chat_gateway/playground"

HOSTILE = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"


@pytest.fixture
async def page(tab: Page, playground: Client) -> AsyncIterator[Page]:
    """The page, open. Errors of its scripts and refused loads fail the test."""
    async with visiting(tab, playground.address) as faults:
        await expect(tab.get_by_text("Nothing said yet")).to_be_visible()
        yield tab
        assert faults == []


async def test_newcomer_chats_sees_the_memory_corrects_it_and_forgets(page: Page, upstream: Upstream) -> None:
    await say(page, "Hi, my name is Alice and I love hiking.")
    await expect(page.locator(".turn.assistant").last).to_contain_text("Hello there.")
    fact = page.locator("#facts li", has_text="I love hiking.")
    await expect(fact).to_be_visible()

    await fact.get_by_text("Edit").click()
    await fact.get_by_role("textbox").fill("I love climbing.")
    await fact.get_by_role("button", name="Save").click()
    await expect(page.locator("#facts li", has_text="I love climbing.")).to_be_visible()

    await say(page, "What do I love?")
    assert "I love climbing." in upstream.requests[-1].system
    memory = page.locator("#memories li", has_text="I love climbing.")
    await expect(memory).to_contain_text("fact")
    await page.get_by_text("1 earlier turn of this conversation").click()
    await page.locator("#memories details details").get_by_text("Full text").click()
    await expect(page.locator("#memories details details")).to_contain_text("I love hiking.")

    await page.get_by_label("Message", exact=True).fill("And now?")
    await page.get_by_role("button", name="Preview the prompt").click()
    await expect(page.locator("#prompt")).to_contain_text("Estimated tokens by section")
    await page.locator("#prompt summary", has_text="system").click()
    await expect(page.locator("#prompt pre").first).to_contain_text("I love climbing.")
    assert len(upstream.requests) == 2

    await page.locator("#forget").fill("bob")
    await page.get_by_role("button", name="Forget").click()
    await expect(page.get_by_role("status")).to_contain_text("Type the user id exactly")
    await page.locator("#forget").fill("alice")
    await page.get_by_role("button", name="Forget").click()
    await expect(page.get_by_role("status")).to_contain_text("Erased")
    await expect(page.get_by_text("No facts yet")).to_be_visible()


async def test_fact_is_pinned_and_deleted(page: Page) -> None:
    await say(page, "I love hiking.")
    fact = page.locator("#facts li", has_text="I love hiking.")
    await fact.get_by_role("button", name="Pin").click()
    await expect(fact.get_by_text("pinned", exact=True)).to_be_visible()
    await fact.get_by_role("button", name="Delete").click()
    await expect(page.get_by_text("No facts yet")).to_be_visible()


async def test_repeat_shows_the_stored_answer(page: Page, upstream: Upstream) -> None:
    await say(page, "Hi")
    await page.get_by_role("button", name="Repeat").click()
    await expect(page.locator(".turn.assistant").last.get_by_text("replayed")).to_be_visible()
    assert len(upstream.requests) == 1


async def test_turn_sent_while_the_history_loads_stays(page: Page, address: str) -> None:
    async with AsyncChatClient(address) as client:
        await client.chat("alice", "The first thing.")
    held = asyncio.Event()

    async def hold(route: Route) -> None:
        await held.wait()
        await route.continue_()

    await page.route("**/observations?*", hold)
    await page.get_by_role("button", name="Open").click()
    await say(page, "The second thing.")
    held.set()
    await expect(page.locator("#log .turn")).to_contain_text(["The first thing.", "The second thing.", "Hello there."])


async def test_text_streams_and_stop_ends_the_model(page: Page, upstream: Upstream) -> None:
    upstream.replies(Reply(pieces=("The first piece", " and the rest"), hold_before=1))
    await page.get_by_label("Message", exact=True).fill("Hi")
    await page.get_by_role("button", name="Send").click()
    await expect(page.locator(".turn.assistant")).to_contain_text("The first piece")
    await page.get_by_role("button", name="Stop").click()
    await expect(page.get_by_role("status")).to_contain_text("Stopped.")
    assert await asyncio.to_thread(upstream.requests[0].gone.wait, 10)


async def test_failure_is_shown_and_can_be_sent_again(page: Page, upstream: Upstream) -> None:
    upstream.replies(Reply(status=401))
    await page.get_by_label("Message", exact=True).fill("Hi")
    await page.keyboard.press("Enter")
    await page.get_by_role("button", name="Send again").click()
    await expect(page.get_by_role("button", name="Repeat")).to_be_visible()


async def test_no_text_becomes_markup(page: Page, playground: Client, address: str, upstream: Upstream) -> None:
    async with AsyncChatClient(address) as client:
        await client.memory.save(HOSTILE, f"I love {HOSTILE}", type="preference", title=HOSTILE)
        await client.memory.end_session(HOSTILE, HOSTILE)
        await client.chat(HOSTILE, HOSTILE, conversation_id="<b>x</b>")
    await page.get_by_role("combobox", name="User id").fill(HOSTILE)
    await page.get_by_role("button", name="Open").click()
    await expect(page.locator("#facts li", has_text="I love <img")).to_be_visible()
    upstream.replies(Reply(pieces=(HOSTILE,)))
    await say(page, HOSTILE)
    upstream.replies(Reply(status=400, body=HOSTILE.encode()))
    await page.get_by_label("Message", exact=True).fill(HOSTILE)
    await page.get_by_role("button", name="Preview the prompt").click()
    await expect(page.locator("#prompt table")).to_be_visible()
    for summary in await page.locator("summary").all():
        if await summary.is_visible():
            await summary.click()
    await expect(page.locator("#sessions li", has_text="<img").first).to_be_visible()
    assert await page.locator("body img, body script").count() == 0
    assert await page.locator("#conversation-list b").count() == 0
    assert await page.title() == "ilab-chat playground"
    assert playground.address in page.url


@pytest.mark.parametrize("path", ["/", "/playground/"])
async def test_address_alone_leads_to_the_page(playground: Client, path: str) -> None:
    answer = await playground.get(path)
    assert (answer.status, answer.headers["location"]) == (307, "/playground")


async def test_page_loads_from_one_host_in_under_100_kilobytes(browser: Browser, playground: Client) -> None:
    opened = await browser.new_page()
    urls: list[str] = []
    opened.on("request", lambda request: urls.append(request.url))
    await opened.goto(f"http://{playground.address}/playground", wait_until="networkidle")
    assert {re.sub(r"^http://([^/]+)/.*", r"\1", url) for url in urls if not url.startswith("data:")} == {
        playground.address
    }
    assert sum(path.stat().st_size for path in FILES.iterdir()) < 100_000
    await opened.close()


async def test_page_works_by_keyboard_and_in_a_narrow_window(browser: Browser, playground: Client) -> None:
    opened = await browser.new_page(viewport={"width": 360, "height": 700}, color_scheme="dark")
    await opened.goto(f"http://{playground.address}/playground")
    await expect(opened.get_by_text("Nothing said yet")).to_be_visible()
    await opened.keyboard.press("Tab")
    await opened.keyboard.press("Enter")  # the link that skips to the message
    await opened.keyboard.press("Tab")
    focused: Any = await opened.evaluate("document.activeElement.id")
    assert focused in {"message", "send"}
    await opened.get_by_label("Message", exact=True).focus()
    await opened.keyboard.type("Hi")
    await opened.keyboard.press("Enter")
    await expect(opened.get_by_role("button", name="Repeat")).to_be_visible()
    wide: Any = await opened.evaluate("document.documentElement.scrollWidth")
    assert wide <= 360
    background: Any = await opened.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == "rgb(22, 24, 29)"
    await opened.close()


async def test_token_is_sent_and_never_shown(page: Page, playground: Client) -> None:
    await page.get_by_label("Token").fill("secret-token-0123456789")
    async with page.expect_request(re.compile("/facts")) as asked:
        await page.get_by_role("button", name="Open").click()
    assert (await (await asked.value).all_headers())["authorization"] == "Bearer secret-token-0123456789"
    assert "secret-token" not in await page.locator("body").inner_text()
    assert await page.get_by_label("Token").get_attribute("type") == "password"
    assert playground.address in page.url


async def test_playground_is_off_unless_asked_for(web: Client) -> None:
    assert (await web.get("/playground")).status == 404


async def test_policy_allows_no_inline_script_and_no_other_host(playground: Client) -> None:
    answer = await playground.get("/playground")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy


def test_scripts_never_parse_markup() -> None:
    risky = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|setHTML|DOMParser|srcdoc"
    for path in FILES.iterdir():
        assert re.findall(risky, path.read_text()) == [], path.name
    assert re.findall(r"<script(?![^>]*src=)|\son\w+=|\bstyle=", (FILES / "index.html").read_text()) == []
