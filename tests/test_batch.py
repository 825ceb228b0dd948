"""The helper that other tests check many cases with."""

import inspect

import pytest

from batch import batch, cases


def test_every_failure_is_raised_and_names_its_case() -> None:
    checked: list[int] = []
    with pytest.raises(ExceptionGroup) as raised:
        check_numbers(checked)
    assert checked == [0, 1, 2, 3]
    assert [failure.__notes__ for failure in raised.value.exceptions] == [["case: 0"], ["case: 2"]]
    assert {type(failure) for failure in raised.value.exceptions} == {AssertionError}


def check_numbers(checked: list[int]) -> None:
    with batch() as case:
        for number in range(4):
            with case(number):
                checked.append(number)
                assert number % 2


def test_without_failures_nothing_is_raised() -> None:
    with batch() as case, case("good"):
        pass


def test_a_failure_outside_of_the_cases_ends_the_batch() -> None:
    with pytest.raises(KeyError), batch():
        raise KeyError


@cases(("number", "text"), [(1, "1"), (2, "3")])
def wrong(number: int, text: str, added: str) -> None:
    assert str(number) + added == text


@cases("number", (1, 2))
@cases("other", (2, 3))
async def below(number: int, other: int) -> None:
    assert number < other


def test_a_test_of_cases_needs_only_its_fixtures_and_names_each_that_fails() -> None:
    assert [*inspect.signature(wrong).parameters] == ["added"]
    with pytest.raises(ExceptionGroup) as raised:
        wrong(added="")  # type: ignore[call-arg]
    assert [failure.__notes__ for failure in raised.value.exceptions] == [["case: (2, '3')"]]


async def test_cases_of_cases_are_all_checked_of_a_coroutine_too() -> None:
    with pytest.raises(ExceptionGroup) as raised:
        await below()  # type: ignore[call-arg]
    [outer] = raised.value.exceptions
    assert isinstance(outer, ExceptionGroup)
    assert outer.__notes__ == ["case: 2"]
    assert [failure.__notes__ for failure in outer.exceptions] == [["case: 2"]]
