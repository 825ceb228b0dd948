"""Programs on the library, in the shape of its published recipes, on every store: a long run, and many users."""

from concurrent.futures import ThreadPoolExecutor

from ilab_memory import ILabMemory
from memory.long_running_agent import Agent
from memory.multi_user_app import App
from memory.support import Clock

TURNS = 60
USERS = 50
TURNS_OF_USER = 4


def test_an_agent_of_sixty_turns_keeps_one_session_and_its_decisions(mem: ILabMemory, clock: Clock) -> None:
    agent = Agent(mem, "agent-7f3a", lambda prompt: f"done, {len(prompt.splitlines())} lines read")
    session = agent.start()
    database = agent.decide("database", "We deploy the database on SQLite.")
    for number in range(TURNS):
        clock.forward(hours=1)
        if number == 30:
            assert agent.decide("database", "We deploy the database on PostgreSQL.") == database
        if number % 10 == 0:
            pattern = agent.notice(
                "flaky network", f"The network test fails on Mondays, seen {number // 10 + 1} times."
            )
        agent.turn(f"Step {number}: check the deploy of the database and the network test")

    # The decision of the first turn is found in the last one, as it is now.
    assert "We deploy the database on PostgreSQL." in agent.prompts[-1]
    assert "SQLite" not in agent.prompts[-1]
    assert "seen 6 times" in agent.prompts[-1]
    assert "Result: done" not in "".join(agent.prompts)
    assert max(map(len, agent.prompts[30:])) < 2 * max(map(len, agent.prompts[:30]))

    # One session, although it lasts for days, and three summaries.
    rows = mem.mem_list("agent-7f3a", limit=200)
    assert {row.session_id for row in rows} == {session}
    summaries = [row.content for row in rows if row.type == "summary"]
    assert [text.split(";")[0] for text in summaries] == [f"So far {turns} turns" for turns in (60, 40, 20)]
    assert mem.mem_stats("agent-7f3a") == {"observations": TURNS + 3 + 2, "sessions": 1}
    assert {row.id: row.revision_count for row in rows if row.topic_key} == {database: 2, pattern: 6}

    # A restart continues the run.
    again = Agent(mem, "agent-7f3a", lambda _: "done")
    assert again.start() == session
    again.turn("Check the database")
    assert "PostgreSQL" in again.prompts[0]
    assert agent.finish().id == session
    assert mem.mem_session_start("agent-7f3a").sessions_context[0].summary.startswith("60 turns. So far 60 turns")


def test_fifty_users_of_one_instance_see_their_own_memories_only(mem: ILabMemory) -> None:
    seen: dict[str, list[str]] = {}

    def model(prompt: str) -> str:
        secret = prompt.splitlines()[-1].split()[-1]
        seen.setdefault(secret, []).append(prompt)
        return f"Noted, {secret}"

    app = App(mem, model, salt=b"test")
    emails = [f"Person{number}@example.org" for number in range(USERS)]

    def talk(number: int) -> None:
        for turn in range(TURNS_OF_USER):
            app.chat(emails[number], f"Turn {turn}: the code of my locker is code{number}x")

    with ThreadPoolExecutor(16) as threads:
        list(threads.map(talk, range(USERS)))

    everyone = {f"code{number}x" for number in range(USERS)}
    assert seen.keys() == everyone
    for number in range(USERS):
        own = f"code{number}x"
        assert len(seen[own]) == TURNS_OF_USER
        for other in everyone - {own}:
            assert other not in "".join(seen[own])
        # All turns but the first see the ones before.
        assert all(prompt.count(own) > 1 for prompt in seen[own][1:])
        user = app.user_id(emails[number])
        assert "person" not in user
        assert app.user_id(f" {emails[number].upper()} ") == user
        assert mem.mem_stats(user) == {"observations": TURNS_OF_USER, "sessions": 1}

    assert app.forget(emails[0]) == TURNS_OF_USER
    assert mem.mem_stats(app.user_id(emails[0])) == {"observations": 0, "sessions": 0}
    assert mem.mem_stats(app.user_id(emails[1])) == {"observations": TURNS_OF_USER, "sessions": 1}
