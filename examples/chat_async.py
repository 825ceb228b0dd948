"""Two calls with the asyncio client; the second one streams, and remembers the first."""

import asyncio
import os

from ilab_chat import AsyncChatClient, ChatError


async def main() -> None:
    """Introduce a user, stream the answer to a question, and print what it remembered."""
    async with AsyncChatClient(os.environ.get("ILAB_CHAT_ADDRESS", "127.0.0.1:50051")) as client:
        try:
            first = await client.chat("example-async", "My name is Alice and I love hiking.", timeout=60)
            print(first.reply)
            # Leaving the block before the end cancels the call and stops the model.
            async with client.stream_chat("example-async", "What do I love?", timeout=60) as stream:
                async for text in stream.text:
                    print(text, end="", flush=True)
        except ChatError as error:
            raise SystemExit(str(error)) from error
    print()
    for memory in stream.response.memories:
        print("remembered:", memory.title or "an earlier turn", memory.snippet)


if __name__ == "__main__":
    asyncio.run(main())
