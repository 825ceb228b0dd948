"""An app with many users on one shared instance of the library. Users are known by opaque ids only."""

import hashlib
from collections.abc import Callable

from ilab_memory import ILabMemory


class App:
    """Answers messages of any user, from any thread, with the memories of that user alone."""

    def __init__(self, memory: ILabMemory, model: Callable[[str], str], *, salt: bytes) -> None:
        self._memory = memory
        self._model = model
        self._salt = salt

    def user_id(self, email: str) -> str:
        """Return the id under which the memory knows a person: it says nothing about them."""
        return hashlib.blake2b(email.strip().lower().encode(), key=self._salt, digest_size=16).hexdigest()

    def chat(self, email: str, message: str) -> str:
        """Answer as the published recipe does: hydrate, ask, persist."""
        user_id = self.user_id(email)
        session = self._memory.mem_session_start(user_id)
        found = self._memory.mem_search(user_id, message)
        lines = [f"- ({each.type}) {each.title}: {each.snippet}" for each in (*session.memories, *found)]
        reply = self._model("\n".join([*dict.fromkeys(lines), message]))
        self._memory.mem_save(
            user_id, f"User: {message}\nAssistant: {reply}", type="discovery", title=f"Turn: {message[:60]}"
        )
        return reply

    def forget(self, email: str) -> int:
        """Erase a user."""
        return self._memory.mem_forget(self.user_id(email))
