"""A scripted server for tests of programs that use the client. It runs in the process of the test.

    from ilab_chat import ChatClient
    from ilab_chat.testing import ScriptedServer

    with ScriptedServer() as server, ChatClient(server.address) as client:
        server.reply("Hello Alice.")
        server.fail("SERVER_BUSY", retry_after=2)
        assert client.chat("alice", "hi").reply == "Hello Alice."  # the next call fails; one more has no answer

`ilab_chat.testing.fixtures` has fixtures for pytest. Needs nothing but the client.
"""

from ilab_chat.testing._answers import REASONS
from ilab_chat.testing._server import RecordedCall, ScriptedServer

__all__ = ["REASONS", "RecordedCall", "ScriptedServer"]
