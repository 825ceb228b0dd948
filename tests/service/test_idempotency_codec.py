"""Stored answers: what is written comes back, also what an earlier version wrote."""

from __future__ import annotations

import json
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from ilab_chat_service.idempotency import codec
from ilab_chat_service.idempotency.single_flight import Record
from ilab_chat_service.values import Answered, FinishReason
from service.leases import ANSWERED, NOW, REQUEST

#: ANSWERED to REQUEST, as the first version stored it.
EARLIER = Record(
    fingerprint="ba945eebfd7d4023ddfbe08a70b9e7e15d3004a8f4a4444848b9082277f5d9f5",
    answer=(
        '{"session_id": "s", "is_new_session": true, "model": "m", "memories": [{"observation_id": 1, "type": "t",'
        ' "title": "x", "updated_at": "2026-11-22T12:00:00+00:00", "source": "SEARCH", "snippet": "y", "score": 0.5}],'
        ' "reply": "reply", "observation_id": 7, "finish_reason": "LENGTH", "usage": {"input_tokens": 1,'
        ' "output_tokens": 2, "cached_input_tokens": 3, "reasoning_tokens": 4},'
        ' "create_time": "2026-11-22T12:00:00+00:00"}'
    ),
)


@given(st.text(st.characters(exclude_categories=["Cs"])), st.none() | st.sampled_from(FinishReason), st.booleans())
def test_what_is_recorded_comes_back(text: str, reason: FinishReason | None, counted: bool) -> None:  # noqa: FBT001
    usage = ANSWERED.usage if counted else None
    clean = text.replace("<", "")
    answered = Answered(
        **{field: getattr(ANSWERED, field) for field in ("is_new_session", "model", "memories", "observation_id")},
        session_id=clean,
        reply=clean,
        finish_reason=reason,
        usage=usage,
        create_time=NOW,
    )
    assert codec.answered(codec.record(answered, "Hi")) == answered


def test_what_an_earlier_version_stored_is_found_and_comes_back() -> None:
    assert codec.fingerprint(REQUEST) == EARLIER.fingerprint
    assert codec.answered(EARLIER.answer) == ANSWERED


def test_a_stored_count_that_is_none_is_zero() -> None:
    """An earlier version stored true, which stands for no number in an answer."""
    stored = json.loads(codec.record(ANSWERED, "Hi"))
    stored["usage"] |= {"output_tokens": True, "reasoning_tokens": None}
    usage = codec.answered(json.dumps(stored)).usage
    assert ANSWERED.usage
    assert usage == replace(ANSWERED.usage, output_tokens=0, reasoning_tokens=0)
    assert usage
    assert type(usage.output_tokens) is int
