"""The rules by which bench/remember.py counts answers, and bench/life.py accepts lives.

In a program of its own: the names of the bench's modules are those of folders of these tests.
"""

import random
from dataclasses import replace
from pathlib import Path

import life as lives
from ilab_chat.v1 import chat_pb2
from life import Life, Question
from remember import common_prefix, shortfall

SHORT = Path(__file__).with_name("short_life.toml")
ROLES = {
    "system": chat_pb2.PROMPT_ROLE_SYSTEM,
    "user": chat_pb2.PROMPT_ROLE_USER,
    "assistant": chat_pb2.PROMPT_ROLE_ASSISTANT,
}


def judge(life: Life, question: Question, *messages: tuple[str, str]) -> str:
    """Return the shortfall of a prompt of these roles and texts."""
    return shortfall(
        [chat_pb2.PromptMessage(role=ROLES[role], content=text) for role, text in messages], question, life
    )


def answers(life: Life) -> None:
    question = Question(text="Where do I live?", kind="outdated", answers=("Graz",), unmarked=("Ulm",))
    asked = ("user", question.text)
    assert not judge(life, question, ("system", "- home: graz"), asked)
    assert not judge(life, question, ("user", "I moved to\nGraz."), ("assistant", "Nice."), asked)
    assert not judge(life, question, ("user", f"<context>I moved to Graz.</context>\n{question.text}"))
    assert judge(life, question, ("system", "- home: Grazing"), asked) == "missing: Graz"
    several = replace(question, answers=(), all=("Graz", "Ulm"), unmarked=())
    assert judge(life, several, ("system", "- home: Graz"), asked) == "missing: Ulm"
    echoed = replace(question, answers=("live",))
    assert judge(life, echoed, ("system", "nothing"), asked) == "missing: live"


def outdated(life: Life) -> None:
    question = Question(text="Where do I live?", kind="outdated", answers=("Graz",), unmarked=("Ulm",))
    asked = ("user", question.text)
    for line in ("- home: Ulm (earlier)", "- moved from Ulm to Graz", "- Assistant: since you live in Ulm"):
        assert not judge(life, question, ("system", f"- home: Graz\n{line}"), asked), line
    assert judge(life, question, ("system", "- home: Graz\n- I live in Ulm"), asked) == "unmarked: Ulm"
    assert (
        judge(life, question, ("system", "- home: Graz"), ("user", f"I live in Ulm\n{question.text}"))
        == "unmarked: Ulm"
    )
    # The conversation is ordered by time.
    assert not judge(life, question, ("user", "I live in Ulm"), ("assistant", "Or in Graz?"), asked)


def dates(life: Life) -> None:
    question = Question(text="When was it?", kind="date", answers=("dentist",), said_on=1)
    asked = ("user", question.text)
    assert not judge(life, question, ("system", "- dentist [2026-03-03]"), asked)
    assert not judge(life, question, ("system", "- 3 March: dentist"), asked)
    assert judge(life, question, ("system", "- dentist [2026-03-02]"), asked)
    assert judge(life, question, ("system", "[2026-03-03]" + " so" * 500 + " dentist"), asked)


def opt_outs(life: Life) -> None:
    question = Question(text="What do I earn?", kind="opt-out", absent=("58,000",))
    asked = ("user", question.text)
    assert not judge(life, question, ("system", "- 158,000"), asked)
    assert judge(life, question, ("assistant", "58,000 is fine."), asked) == "present: 58,000"


def contradictions(life: Life) -> None:
    for change, fault in (
        ({"kind": "other"}, "does not exist"),
        ({"answers": ()}, "has no answer"),
        ({"answers": ("Oslo",)}, "nobody said"),
        ({"text": "Who plays the oboe?"}, "itself"),
        ({"kind": "no shared word"}, "shares play, sister"),
    ):
        [found] = lives.contradictions(replace(life, questions=(replace(life.questions[0], **change),)))
        assert fault in found, found
    chat = tuple(replace(each, reply="oboe" if not each.is_told else each.reply) for each in life.exchanges)
    assert "filler contains 'oboe'" in next(lives.contradictions(replace(life, exchanges=chat)))


def schedule(life: Life) -> None:
    assert life == lives.read(str(SHORT)), "the same file gave another life"
    assert len(life.exchanges) == 20
    told = [each.message.split()[-1] for each in life.exchanges if each.is_told]
    assert told == ["Ulm.", "one?", "oboe.", "canoe."]
    made = lives.filler(random.Random(1), "english")
    assert max(len(made.reply()) for _ in range(100)) > 1500


def prefixes() -> None:
    assert [common_prefix(*pair) for pair in (("", "a"), ("abc", "abx"), ("ab", "abc"), ("abc", "abc"))] == [0, 2, 2, 3]


def main() -> None:
    life = lives.read(str(SHORT))
    for check in (answers, outdated, dates, opt_outs, contradictions, schedule):
        check(life)
    prefixes()


if __name__ == "__main__":
    main()
