"""Many cases in one test: each is checked, and the test tells all that failed.

A test of its own for each case costs more than most cases do: collected in every test process, set up and reported.
"""

from __future__ import annotations

import functools
import inspect
import reprlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, TypeAlias, TypeVar, cast

CaseOf: TypeAlias = Callable[[object], AbstractContextManager[None]]
Test = TypeVar("Test", bound=Callable[..., Any])


@contextmanager
def batch() -> Iterator[CaseOf]:
    """Yield what each case is checked in, given a name of the case. At the end, raise the failures of all cases."""
    failures: list[Exception] = []

    @contextmanager
    def case(name: object) -> Iterator[None]:
        try:
            yield
        except Exception as failure:  # noqa: BLE001
            failure.add_note(f"case: {name}")
            failures.append(failure)

    yield case
    if failures:
        raise ExceptionGroup("some cases failed", failures)


def cases(names: str | tuple[str, ...], values: Iterable[Any]) -> Callable[[Test], Test]:
    """Let one test check all cases, given as for `pytest.mark.parametrize`. They share the fixtures."""
    given = tuple(name.strip() for name in names.split(",")) if isinstance(names, str) else names
    listed = list(values)

    def decorate(test: Test) -> Test:
        def arguments_of(value: Any) -> dict[str, Any]:
            return {given[0]: value} if len(given) == 1 else dict(zip(given, value, strict=True))

        if inspect.iscoroutinefunction(test):

            @functools.wraps(test)
            async def check_all(**fixtures: Any) -> None:
                with batch() as case:
                    for value in listed:
                        with case(reprlib.repr(value)):
                            await test(**fixtures, **arguments_of(value))

        else:

            @functools.wraps(test)
            def check_all(**fixtures: Any) -> None:
                with batch() as case:
                    for value in listed:
                        with case(reprlib.repr(value)):
                            test(**fixtures, **arguments_of(value))

        signature = inspect.signature(test)
        left = [parameter for name, parameter in signature.parameters.items() if name not in given]
        # pytest takes the fixtures from it.
        vars(check_all)["__signature__"] = signature.replace(parameters=left)
        return cast(Test, check_all)

    return decorate
