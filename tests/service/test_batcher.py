from __future__ import annotations

import asyncio

import pytest

from ilab_chat_service.idempotency.sqlite import Batcher


async def test_requests_that_arrive_during_a_batch_form_the_next_one() -> None:
    done: list[list[int]] = []
    begun, free = asyncio.Event(), asyncio.Event()

    async def squares(numbers: list[int]) -> list[int]:
        done.append(numbers)
        begun.set()
        await free.wait()
        return [number**2 for number in numbers]

    together = Batcher(squares)
    first = asyncio.create_task(together.get(1))
    await begun.wait()
    others = [asyncio.create_task(together.get(number)) for number in (2, 3, 4)]
    await asyncio.sleep(0)
    others[1].cancel()
    free.set()
    assert await first == 1
    assert [await others[0], await others[2]] == [4, 16]
    assert others[1].cancelled()
    assert done == [[1], [2, 3, 4]]


async def test_error_of_a_batch_reaches_each_caller_and_no_later_batch() -> None:
    async def inverses(numbers: list[int]) -> list[float]:
        return [1 / number for number in numbers]

    together = Batcher(inverses)
    outcomes = await asyncio.gather(together.get(0), together.get(1), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [ZeroDivisionError] * 2
    with pytest.raises(ZeroDivisionError):
        await together.get(0)
    assert await together.get(2) == 0.5
