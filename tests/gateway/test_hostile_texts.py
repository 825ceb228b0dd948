"""No text that the playground shows becomes markup or runs: each place, with several attempts at once."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from http_gateway import Client
from ilab_chat import AsyncChatClient
from playground import reply_with_reasoning, say, visiting
from upstream import Reply, Upstream

pytestmark = pytest.mark.process

#: Each would set `window.owned`, in element content, in an attribute, as a link, or in a script's string.
ATTEMPTS = {
    "image": "<img src=x onerror=owned=1>",
    "script": "<script>owned=1</script>",
    "attribute": "\"'><svg/onload=owned=1>",
    "link": "javascript:owned=1//<a href=javascript:owned=1>x</a>",
    "style": "</style></textarea></title><iframe srcdoc='<script>parent.owned=1</script>'>",
    "template": "${owned=1}{{constructor.constructor('owned=1')()}}`;owned=1;//",
}


@pytest.fixture(params=ATTEMPTS.values(), ids=list(ATTEMPTS))
def attempt(request: pytest.FixtureRequest) -> str:
    text: str = request.param
    return text


@pytest.fixture
async def page(tab: Page, playground: Client) -> AsyncIterator[Page]:
    """The page. At the end, nothing may have run, nothing been loaded, and no element made of a text."""
    async with visiting(tab, playground.address) as faults:
        await expect(tab.get_by_text("Nothing said yet")).to_be_visible()
        yield tab
        assert await tab.evaluate("typeof owned") == "undefined"
        made = "body img, body script, body svg, body iframe, body style, body a[href^=javascript]"
        assert await tab.locator(made).count() == 0
        assert await tab.evaluate("document.querySelectorAll('[onerror], [onload], [srcdoc]').length") == 0
        assert tab.url == f"http://{playground.address}/playground"
        # The policy is the second line of defence: it must not have been needed.
        assert faults == []


async def open_user(page: Page, user: str) -> None:
    await page.get_by_role("combobox", name="User id").fill(user)
    await page.get_by_role("button", name="Open").click()


async def unfold(page: Page) -> None:
    for summary in await page.locator("summary").all():
        if await summary.is_visible():
            await summary.click()


async def test_stored_texts(page: Page, address: str, attempt: str) -> None:
    """User id, fact, title, key, message, reply and the summary of a session."""
    async with AsyncChatClient(address) as client:
        await client.memory.save(
            attempt, f"I love {attempt}", type="preference", title=attempt, topic_key=attempt, pinned=True
        )
        await client.chat(attempt, f"Said: {attempt}")
        await client.memory.end_session(attempt, f"Summary: {attempt}")
    await open_user(page, attempt)
    await expect(page.locator("#facts li", has_text=f"I love {attempt}")).to_be_visible()
    await expect(page.locator("#log", has_text=f"Said: {attempt}")).to_be_visible()
    await unfold(page)
    await expect(page.locator("#sessions li", has_text=f"Summary: {attempt}")).to_be_visible()


async def test_answer_with_reasoning_and_memories(page: Page, upstream: Upstream, attempt: str) -> None:
    await open_user(page, attempt)
    upstream.replies(reply_with_reasoning(f"Thinking: {attempt}", f"Reply: {attempt}"))
    await say(page, f"I love {attempt}")
    turn = page.locator(".turn.assistant").last
    await expect(turn).to_contain_text(f"Reply: {attempt}")
    await turn.locator("summary").click()
    await expect(turn).to_contain_text(f"Thinking: {attempt}")
    await page.get_by_label("Message", exact=True).fill(f"Do you know my hobby, {attempt}?")
    await page.get_by_role("button", name="Preview the prompt").click()
    await expect(page.locator("#prompt table")).to_be_visible()
    await unfold(page)
    await expect(page.locator("#prompt pre").last).to_contain_text(attempt)


async def test_conversation(page: Page, attempt: str) -> None:
    await page.get_by_role("combobox", name="Conversation").fill("<b>x</b>")
    await page.get_by_role("button", name="Open").click()
    await say(page, attempt)
    await expect(page.get_by_role("button", name="<b>x</b>")).to_be_visible()
    assert await page.locator("body b").count() == 0


async def test_errors(page: Page, upstream: Upstream, attempt: str) -> None:
    """Of the model, of the gateway for an invalid conversation, and of a proxy in between."""
    upstream.replies(Reply(status=400, body=json.dumps({"error": {"message": attempt, "code": attempt}}).encode()))
    await page.get_by_label("Message", exact=True).fill(attempt)
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("button", name="Send again")).to_be_visible()
    body = json.dumps({"detail": attempt, "field_violations": [{"field": attempt, "description": attempt}]})
    await page.route("**/v1/**", lambda route: route.fulfill(status=400, body=body, content_type="text/html"))
    await page.get_by_role("button", name="Open").click()
    await expect(page.get_by_role("status")).to_contain_text(attempt)


async def test_events_of_a_stream(page: Page, attempt: str) -> None:
    """Model name, problem and every text of an event, from any author."""
    done = {
        "model": attempt, "memories": [memory(attempt)], "replayed": True, "request_id": attempt,
        "remembered": [{"content": attempt}], "usage": {"input_tokens": attempt, "output_tokens": attempt},
    }  # fmt: skip
    events = [("started", {"memories": [memory(attempt)]}), ("text_delta", {"text": attempt}), ("completed", done)]
    body = "".join(f"event: {kind}\nid: 1\ndata: {json.dumps(data)}\n\n" for kind, data in events)
    await page.route("**/v1/chat:stream", lambda route: route.fulfill(body=body, content_type="text/event-stream"))
    await say(page, "Hi")
    await expect(page.locator("#memories li").first).to_contain_text(attempt)
    await expect(page.locator(".turn.assistant").last).to_contain_text(f"remembered: {attempt}")


def memory(text: str) -> dict[str, object]:
    return {
        "source": f"MEMORY_SOURCE_{text}", "type": text, "snippet": text, "title": text, "score": 0.5,
        "update_time": text, "observation_id": "1", "earlier": True,
    }  # fmt: skip


async def test_import(page: Page, tmp_path: Path, address: str, attempt: str) -> None:
    async with AsyncChatClient(address) as client:
        await client.memory.save("source", f"I love {attempt}", type="preference", title=attempt)
        lines = [item async for item in client.memory.export("source")]
    assert lines
    await open_user(page, "source")
    async with page.expect_download() as downloading:
        await page.get_by_role("button", name="Export").click()
    file = tmp_path / "export.jsonl"
    await (await downloading.value).save_as(file)
    await open_user(page, "alice")
    await page.locator("#import").set_input_files(file)
    await expect(page.get_by_role("status")).to_contain_text("Imported 1 sessions and 1 observations.")
    await expect(page.locator("#facts li", has_text=f"I love {attempt}")).to_be_visible()
    bad = tmp_path / "bad.jsonl"
    bad.write_text(json.dumps({attempt: attempt}) + "\n")
    await page.locator("#import").set_input_files(bad)
    await expect(page.get_by_role("status")).to_contain_text("line 1")
