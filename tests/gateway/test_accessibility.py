"""The playground against axe-core's rules: light and dark, wide and narrow, in every state that a user meets."""

from __future__ import annotations

from collections.abc import AsyncIterator
from importlib.resources import files
from typing import Any, Literal

import pytest
from playwright.async_api import Page, expect

from http_gateway import Client
from ilab_chat import AsyncChatClient
from playground import reply_with_reasoning, say, visiting
from upstream import Reply, Upstream

pytestmark = pytest.mark.process

AXE = (files("axe_playwright_python") / "axe.min.js").read_text()
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
RUN = "tags => axe.run(document, {runOnly: tags, resultTypes: ['violations', 'incomplete']})"

Scheme = Literal["light", "dark"]


@pytest.fixture(params=["light", "dark"])
def scheme(request: pytest.FixtureRequest) -> Scheme:
    found: Scheme = request.param
    return found


@pytest.fixture(params=[1400, 320], ids=["wide", "narrow"])
async def page(request: pytest.FixtureRequest, scheme: Scheme, tab: Page, playground: Client) -> AsyncIterator[Page]:
    async with visiting(tab, playground.address, width=request.param, scheme=scheme):
        await expect(tab.get_by_text("Nothing said yet")).to_be_visible()
        yield tab


async def violations(page: Page) -> list[str]:
    """Return the rules that the page breaks, each with the elements. `incomplete` colours count: nothing is guessed."""
    # High enough for everything: axe-core cannot measure the contrast of what is scrolled away.
    width = page.viewport_size["width"] if page.viewport_size else 0
    await page.set_viewport_size({"width": width, "height": 8000})
    await page.evaluate(AXE)
    results: Any = await page.evaluate(RUN, TAGS)
    colours = [each for each in results["incomplete"] if each["id"] == "color-contrast"]
    return [
        f"{each['id']}: {node['html'][:200]} {node['failureSummary']}"
        for each in results["violations"] + colours
        for node in each["nodes"]
    ]


async def test_empty_page(page: Page) -> None:
    assert await violations(page) == []


async def test_page_with_everything_on_it(page: Page, address: str, upstream: Upstream) -> None:
    async with AsyncChatClient(address) as client:
        await client.chat("alice", "I love hiking.", conversation_id="work")
        await client.memory.end_session("alice", "Talked about hiking.", conversation_id="work")
    await page.get_by_role("button", name="Open").click()
    upstream.replies(reply_with_reasoning("Thinking. " * 40, "A long answer. " * 40))
    await say(page, "Hi, my name is Alice and I live in Rome.")
    await page.locator("#facts li", has_text="Rome").get_by_role("button", name="Pin").click()
    await expect(page.get_by_text("pinned", exact=True)).to_be_visible()
    await page.get_by_label("Message", exact=True).fill("And now?")
    await page.get_by_role("button", name="Preview the prompt").click()
    await expect(page.locator("#prompt table")).to_be_visible()
    for summary in await page.locator("summary").all():
        if await summary.is_visible():
            await summary.click()
    assert await violations(page) == []


async def test_page_after_a_failure(page: Page, upstream: Upstream) -> None:
    upstream.replies(Reply(status=401))
    await page.get_by_label("Message", exact=True).fill("Hi")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("button", name="Send again")).to_be_visible()
    assert await violations(page) == []


async def test_page_while_an_answer_runs(page: Page, upstream: Upstream) -> None:
    upstream.replies(Reply(pieces=("The first piece", " and the rest"), hold_before=1))
    await page.get_by_label("Message", exact=True).fill("Hi")
    await page.get_by_role("button", name="Send").click()
    await expect(page.locator(".turn.assistant")).to_contain_text("The first piece")
    assert await violations(page) == []
    await page.get_by_role("button", name="Stop").click()
    await expect(page.get_by_role("status")).to_contain_text("Stopped.")
