"""The playground in a headless Chromium, as `make` installs it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

from playwright.async_api import Browser, ConsoleMessage, Dialog, Error, Page, async_playwright, expect

from upstream import Reply, chunk

CHROMIUM = Path(__file__).parent / "gateway/chromium/node_modules/.unpacked"


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """Run the browser."""
    async with async_playwright() as playwright:
        started = await playwright.chromium.launch(
            executable_path=CHROMIUM / "chromium",
            # Root cannot use the sandbox, and the pages are ours. The rest keeps it from calling its maker.
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"],
            env={**os.environ, "LD_LIBRARY_PATH": str(CHROMIUM / "lib")},
        )
        yield started
        await started.close()


@asynccontextmanager
async def visiting(
    tab: Page, address: str, *, width: int = 1280, scheme: Literal["light", "dark"] = "light"
) -> AsyncIterator[list[str]]:
    """Open the playground in a tab, and leave nothing of it there.

    Yield what goes wrong: errors of its scripts, dialogs, and what its policy refused.
    """
    faults: list[str] = []

    def note(fault: Error | Dialog) -> None:
        faults.append(fault.message)

    def note_refusal(message: ConsoleMessage) -> None:
        if "Content Security" in message.text:
            faults.append(message.text)

    tab.on("pageerror", note)
    tab.on("dialog", note)
    tab.on("console", note_refusal)
    await tab.set_viewport_size({"width": width, "height": 800})
    await tab.emulate_media(color_scheme=scheme)
    await tab.goto(f"http://{address}/playground")
    yield faults
    await tab.unroute_all()
    await tab.evaluate("localStorage.clear()")
    await tab.goto("about:blank")
    tab.remove_listener("pageerror", note)
    tab.remove_listener("dialog", note)
    tab.remove_listener("console", note_refusal)


async def say(page: Page, text: str) -> None:
    """Send a message, and wait for the end of its answer."""
    turns = page.locator(".turn.assistant")
    before = await turns.count()
    await page.get_by_label("Message", exact=True).fill(text)
    await page.keyboard.press("Enter")
    await expect(turns.nth(before).get_by_role("button", name="Repeat")).to_be_visible()


def reply_with_reasoning(reasoning: str, text: str) -> Reply:
    """Return an answer that begins with reasoning."""
    deltas = ({"reasoning_content": reasoning}, {"content": text})
    events = [chunk([{"index": 0, "delta": delta, "finish_reason": None}]) for delta in deltas]
    return Reply(events=[*events, chunk([{"index": 0, "delta": {}, "finish_reason": "stop"}])])
