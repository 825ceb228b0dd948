"""A long-running agent on the library: one session for the whole run, and a prompt that does not grow with it."""

from collections.abc import Callable
from dataclasses import dataclass, field

from ilab_memory import ILabMemory, Session

#: Turns between two summaries of the run so far.
SUMMARIZE_EVERY = 20
#: Memories of each kind in a prompt.
LIMIT = 5


@dataclass
class Agent:
    """Asks *model* in each turn with what it decided and learned before, and with the last summary."""

    memory: ILabMemory
    user_id: str
    model: Callable[[str], str]
    turns: int = 0
    prompts: list[str] = field(default_factory=list)
    _since_summary: list[str] = field(default_factory=list)
    _summary: str = ""

    def start(self) -> str:
        """Open the session of the run, or continue it after a restart."""
        started = self.memory.mem_session_start(self.user_id)
        self._summary = next((each.snippet for each in started.memories if each.type == "summary"), "")
        return started.session_id

    def turn(self, task: str) -> str:
        """Do one task: look up decisions and patterns, ask the model, store what came out."""
        found = self.memory.mem_search(self.user_id, task, limit=LIMIT, types=["decision", "pattern"])
        known = [f"- ({each.type}) {each.title}: {each.snippet}" for each in found]
        prompt = "\n".join(filter(None, [self._summary, *known, f"Task: {task}"]))
        self.prompts.append(prompt)
        reply = self.model(prompt)
        self.turns += 1
        self.memory.mem_save(self.user_id, f"Task: {task}\nResult: {reply}", type="discovery", title=task)
        self._since_summary.append(f"{task}: {reply}")
        if self.turns % SUMMARIZE_EVERY == 0:
            self._summarize()
        return reply

    def decide(self, topic: str, decision: str) -> int:
        """Store a decision. A later one on the same topic replaces it."""
        saved = self.memory.mem_save(
            self.user_id, decision, type="decision", title=topic, topic_key=f"decision/{topic}"
        )
        return saved.id

    def notice(self, topic: str, pattern: str) -> int:
        """Store a pattern that repeats. Each time it is seen, its observation is revised."""
        saved = self.memory.mem_save(self.user_id, pattern, type="pattern", title=topic, topic_key=f"pattern/{topic}")
        return saved.id

    def finish(self) -> Session:
        """End the session of the run."""
        return self.memory.mem_session_end(self.user_id, summary=f"{self.turns} turns. {self._summary}")

    def _summarize(self) -> None:
        self._summary = f"So far {self.turns} turns; last: {self._since_summary[-1]}"
        self.memory.mem_session_summary(self.user_id, self._summary)
        self._since_summary.clear()
