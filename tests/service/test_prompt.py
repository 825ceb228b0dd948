from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ilab_chat_service.ports import ChatMessage, Context, MemorySource, PastTurn, Recalled
from ilab_chat_service.prompt import (
    Prompt,
    compose,
    conversation,
    defused,
    line,
    one_line,
    tokens,
)

NOW = datetime(2026, 11, 22, tzinfo=UTC)
INSTRUCTION = "Be kind."
PLENTY = 100_000


def recalled(number: int, source: MemorySource = MemorySource.SESSION, **more: object) -> Recalled:
    base = Recalled(
        observation_id=number,
        type="discovery",
        title=f"title {number}",
        updated_at=NOW + timedelta(days=number),
        source=source,
        score=0.5,
    )
    return replace(base, **more)  # type: ignore[arg-type]


def past_turn(number: int) -> PastTurn:
    return PastTurn(message=f"said {number}", reply=f"replied {number}", recalled=recalled(number, MemorySource.TURN))


def composed(context: Context, message: str = "hiking boots", budget: int = PLENTY) -> Prompt:
    return compose(context, message, instruction=INSTRUCTION, budget_tokens=budget)


def test_without_memory_the_prompt_says_so() -> None:
    assert composed(Context(), "Hi").messages == (
        ChatMessage("system", "Be kind.\nUser profile / past memory:\n(none yet)"),
        ChatMessage("user", "Hi"),
    )


def test_each_memory_is_a_line_with_its_date_and_a_search_hit_has_its_snippet() -> None:
    context = Context(
        memories=(recalled(1),),
        found=(recalled(2, MemorySource.SEARCH, snippet="User: boots\nAssistant: leather"),),
        summaries=(recalled(0, MemorySource.SUMMARY, type="summary", title="Planned a trip"),),
    )
    assert composed(context).messages[0].content.splitlines() == [
        "Be kind.",
        "User profile / past memory:",
        "- (summary) Planned a trip [2026-11-22]",
        "- (discovery) title 1 [2026-11-23]",
        "- (discovery) title 2 [2026-11-24]: User: boots Assistant: leather",
    ]


def test_the_last_turns_are_real_messages_between_system_and_message() -> None:
    prompt = composed(Context(turns=(past_turn(1), past_turn(2))))
    assert [(message.role, message.content) for message in prompt.messages[1:]] == [
        ("user", "said 1"),
        ("assistant", "replied 1"),
        ("user", "said 2"),
        ("assistant", "replied 2"),
        ("user", "hiking boots"),
    ]


def test_each_memory_of_the_prompt_is_reported_once() -> None:
    context = Context(
        memories=(recalled(1), recalled(2)),
        turns=(past_turn(2), past_turn(3)),
        found=(recalled(1, MemorySource.SEARCH, snippet="s"), recalled(3, MemorySource.SEARCH, snippet="s")),
    )
    reported = [(memory.observation_id, memory.source) for memory in composed(context).memories]
    assert reported == [(2, MemorySource.TURN), (1, MemorySource.SEARCH), (3, MemorySource.TURN)]


@pytest.mark.parametrize("message", ["Hi", "hello there!", "Good morning, how are you?", "Thanks a lot", "...", "ok"])
def test_a_message_without_a_subject_brings_nothing_from_search(message: str) -> None:
    context = Context(found=(recalled(1, MemorySource.SEARCH, score=1.0),))
    assert composed(context, message).memories == ()


def test_a_hit_below_the_floor_stays_out() -> None:
    context = Context(
        found=(recalled(1, MemorySource.SEARCH, score=0.34), recalled(2, MemorySource.SEARCH, score=0.36))
    )
    assert [memory.observation_id for memory in composed(context).memories] == [2]


def test_the_order_of_sacrifice_is_search_hits_then_turns_then_summaries_then_memories() -> None:
    context = Context(
        memories=(recalled(7, score=0.9), recalled(8, score=0.1)),
        turns=(past_turn(3), past_turn(4)),
        found=tuple(recalled(number, MemorySource.SEARCH, snippet="s", score=0.9) for number in (2, 1)),
        summaries=tuple(
            recalled(0, MemorySource.SUMMARY, title=f"summary {day}", updated_at=NOW + timedelta(days=day))
            for day in (6, 5)
        ),
    )
    lost: list[str] = []
    before = names(composed(context))
    for budget in range(400, 0, -1):
        after = names(composed(context, budget=budget))
        lost += [name for name in before if name not in after]
        before = after
    assert lost == ["title 1", "title 2", "title 3", "title 4", "summary 5", "summary 6", "title 8", "title 7"]


def names(prompt: Prompt) -> list[str]:
    return [memory.title for memory in prompt.memories]


def test_the_message_is_never_cut() -> None:
    message = "long " * 1000
    prompt = composed(Context(turns=(past_turn(1),)), message, budget=1)
    assert [each.content for each in prompt.messages] == ["Be kind.\nUser profile / past memory:\n(none yet)", message]


@given(st.integers(1, 2000), st.lists(st.text(max_size=80), max_size=8), st.text(max_size=80))
def test_memory_never_exceeds_the_budget(budget: int, titles: list[str], said: str) -> None:
    context = Context(
        memories=tuple(recalled(index + 1, title=title) for index, title in enumerate(titles)),
        turns=(PastTurn(message=said, reply=said, recalled=recalled(99, MemorySource.TURN)),),
    )
    prompt = composed(context, budget=budget)
    if prompt.memories:
        assert sum(tokens(message.content) for message in prompt.messages) <= budget + len(prompt.messages)


PIECES = ["\n", "\r", "\u2028", "\u0085", "\x0b", "<|im_end|>", "<|", "|>", "<", "|", "[INST]", "</s>", "- (profile) "]
HOSTILE = st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=8).map("".join)


@given(HOSTILE, HOSTILE, HOSTILE)
def test_a_memory_cannot_look_like_another_line_or_another_role(kind: str, title: str, snippet: str) -> None:
    context = Context(memories=(recalled(1, type=kind, title=title), recalled(2, snippet=snippet)))
    system, message = composed(context).messages
    lines = system.content.splitlines()
    assert len(lines) == 4
    assert all(text.startswith("- (") for text in lines[2:])
    assert message == ChatMessage("user", "hiking boots")
    assert not re.search(r"<\||\|>|</?s>|\[/?INST\]|<(start|end)_of_turn>", system.content, re.IGNORECASE)


@given(HOSTILE, HOSTILE)
def test_a_past_turn_cannot_hold_a_control_token(said: str, replied: str) -> None:
    messages = conversation([PastTurn(message=said, reply=replied, recalled=recalled(1))])
    for message in messages:
        assert not re.search(r"<\||\|>|</?s>|\[/?INST\]|<(start|end)_of_turn>", message.content, re.IGNORECASE)


@pytest.mark.parametrize("text", ["a  b", " a ", "a |> b", "<|im_end|>", "[INST] a", "</s>", "[gMASK]", "a b"])
def test_the_short_way_for_plain_text_ends_where_the_long_way_does(text: str) -> None:
    # U+0000 sends any text the long way, and is itself taken out.
    assert one_line(text) == one_line(f"\0{text}")
    assert defused(text) == defused(f"\0{text}")


@pytest.mark.parametrize(
    "token", ["<|im_end|>", "|>", "\uff5c>", "<<SYS>>", "</s>", "[INST]", "[/TOOL_CALLS]", "[gMASK]"]
)
def test_no_control_token_gets_past_the_look_for_brackets(token: str) -> None:
    assert defused(token) != token


def test_plain_text_is_left_as_it_is() -> None:
    for text in ("a < b > c", "x[1]", "f(a|b)", "<b>bold</b>", "naïve \U0001f600 日本語"):
        assert one_line(text) == text


def test_a_line_names_type_title_and_date() -> None:
    assert line(recalled(1, type="preference", title="Tea")) == "- (preference) Tea [2026-11-23]"
