"""Two calls with the synchronous client; the second one remembers the first."""

import os

from ilab_chat import ChatClient, ChatError


def main() -> None:
    """Introduce a user, ask a question about them, and print what the answer remembered."""
    with ChatClient(os.environ.get("ILAB_CHAT_ADDRESS", "127.0.0.1:50051")) as client:
        try:
            print(client.chat("example-sync", "My name is Alice and I love hiking.", timeout=60).reply)
            response = client.chat("example-sync", "What do I love?", timeout=60)
        except ChatError as error:
            # The text begins with the code and the reason; docs/errors.md says what to do about each reason.
            raise SystemExit(str(error)) from error
    print(response.reply)
    for memory in response.memories:
        print("remembered:", memory.title or "an earlier turn", memory.snippet)


if __name__ == "__main__":
    main()
