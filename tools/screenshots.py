"""Take the picture of the playground that the documentation shows: docs/playground.png.

    PYTHONPATH=tests python tools/screenshots.py [FOLDER]

Server, gateway and browser are real; the model is the scripted one of the tests. Needs the browser of `make test`.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from playwright.async_api import expect

import upstream as fake
from http_gateway import gateway
from ilab_chat_service.server import serving
from ilab_chat_service.settings import Settings
from playground import chromium, say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from playwright.async_api import Page

DOCS = Path(__file__).resolve().parent.parent / "docs"
WIDTH, HEIGHT = 1400, 900
TALK = (
    ("Hi, my name is Alice and I love hiking.", "Nice to meet you, Alice! The hills are calling, then."),
    ("I live in Rome.", "Rome has fine hikes nearby: the Apennines begin an hour to the east."),
    (
        "What should I do this weekend?",
        "Take the train to Tivoli and hike up Monte Catillo: you love hiking, and it starts near Rome.",
    ),
)


async def take(folder: Path, address: str, model: fake.Upstream) -> Path:
    """Talk with the page of a gateway in front of the server at *address*, and return the picture."""
    target = folder / "playground.png"
    async with gateway(address, playground=True) as web, chromium() as browser:
        page = await browser.new_page(
            viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light", reduced_motion="reduce"
        )
        await page.goto(f"http://{web.address}/playground")
        await talk(page, model)
        await page.screenshot(path=target)
    return target


async def talk(page: Page, model: fake.Upstream) -> None:
    """Have the conversation of the picture, and preview the next prompt."""
    for message, reply in TALK:
        model.replies(fake.Reply(pieces=(reply,)))
        await say(page, message)
    await page.get_by_label("Message", exact=True).fill("And what should I pack?")
    await page.get_by_role("button", name="Preview the prompt").click()
    await expect(page.locator("#prompt table")).to_be_visible()
    await page.locator("#message").blur()


async def main(arguments: Sequence[str]) -> None:
    """Take the picture."""
    folder = Path(arguments[0]) if arguments else DOCS
    with fake.running() as model, tempfile.TemporaryDirectory() as data:
        settings = Settings(
            address="127.0.0.1:0",
            memory_db_path=f"{data}/memory.db",
            openai_base_url=model.base_url,
            openai_model="test-model",
            consolidation="off",
            embedder="none",
            propagation_seconds=0,
        )
        async with serving(settings) as address:
            print(await take(folder, address, model))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
