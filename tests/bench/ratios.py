"""The rules by which bench/compare.py fails and reports misses, on made-up numbers.

In a program of its own: the names of the bench's modules are those of folders of these tests.
"""

from comparison.baseline import Costs, add, compared, ratios, table
from comparison.report import LOOP, TURN, reason_of, values_of

#: The machine was three times slower in the third round, and a moment of the fourth disturbed one program.
COSTS: Costs = {
    "turn": {"ours": [4.0, 4.2, 12.0, 9.0, 4.1], "floor": [1.0, 1.0, 3.0, 1.0, 1.0]},
}
OF = [("turn", "floor")]


def slower(factor: float) -> dict[str, float]:
    costs = {"turn": {**COSTS["turn"], "ours": [factor * each for each in COSTS["turn"]["ours"]]}}
    return ratios(costs, OF)


then = ratios(COSTS, OF)
assert then == {"turn / floor": 4.1}, then
for factor, is_lost in ((0.5, False), (1.0, False), (1.14, False), (1.16, True), (3.0, True)):
    [row] = compared(then, slower(factor))
    assert row.is_lost is is_lost, row
    assert ("LOST" in table([row])) is is_lost, table([row])

more: Costs = {}
add(more, COSTS)
add(more, {"turn": {"ours": [8.0] * 6, "floor": [1.0] * 6}})
assert ratios(more, OF) == {"turn / floor": 8.0}
try:
    compared(then, {})
except KeyError:
    pass
else:
    raise AssertionError("a ratio that is not measured passes unnoticed")

misses = {TURN: {"ours": 6.0, "recipe": 3.0}, LOOP: {"ours": 2.4, "recipe": 2.0}}
target, value = values_of(misses)[0]
assert value == 2.0, value
assert not target.met(value)
assert reason_of(target, misses).startswith("the event loop takes 0.80 of the recipe's CPU, and threads 1.20"), target
assert reason_of(target, {TURN: misses[TURN]}) == ""
