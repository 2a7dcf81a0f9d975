"""The planner: who shares a batch with whom."""

import itertools
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployments.plan import Limits, _run_of, cut, padded_cost, padding_waste


@dataclass(eq=False)
class Item:
    size: float
    group: str | None = "a"
    order: tuple[float, int] = field(default=(0.0, 0))


def _items(*sizes: float, group: str | None = "a") -> list[Item]:
    return [Item(size, group, (float(age), age)) for age, size in enumerate(sizes)]


NO_LIMIT = Limits(1000, float("inf"), 0.999)
ITEMS = st.lists(st.tuples(st.integers(0, 500), st.sampled_from(["a", "b", None])), min_size=1, max_size=40).map(
    lambda rows: [Item(size, group, (float(age), age)) for age, (size, group) in enumerate(rows)]
)
LIMITS = st.builds(Limits, st.integers(1, 10), st.floats(1, 5000), st.floats(0, 0.99), st.none() | st.floats(0, 1000))


@settings(deadline=None)
@given(ITEMS, LIMITS)
def test_every_batch_is_inside_its_limits_and_has_the_oldest(waiting: list[Item], limits: Limits) -> None:
    batch = cut(waiting, limits)
    assert batch[0] is min(waiting, key=lambda item: item.order)
    assert len({id(item) for item in batch}) == len(batch) <= limits.max_items
    assert all(item in waiting and item.group == batch[0].group for item in batch)
    assert [item.order for item in batch] == sorted(item.order for item in batch)
    if len(batch) > 1:
        assert batch[0].group is not None
        assert padded_cost(batch) <= limits.max_padded_cost
        assert padding_waste(batch) <= limits.max_padding_waste + 1e-9


@settings(deadline=None)
@given(ITEMS, LIMITS)
def test_everything_runs_once(waiting: list[Item], limits: Limits) -> None:
    left, ran = list(waiting), []
    while left:
        batch = cut(left, limits)
        ran += batch
        left = [item for item in left if item not in batch]
    assert sorted(map(id, ran)) == sorted(map(id, waiting))


def test_worked_example_of_the_docstring() -> None:
    batch = cut(_items(10, 400, 12, 11), Limits(32, 16384, 0.5, 14))
    assert sorted(item.size for item in batch) == [10, 11, 12]
    assert padding_waste(batch) == pytest.approx(1 - 33 / 36)


def test_without_limits_all_run_together_and_those_alone_alone() -> None:
    free = Limits(1000, float("inf"), 0.999, float("inf"))
    assert len(cut(_items(1, 50, 500), free)) == 3
    assert len(cut(_items(1, 50, 500, group=None), NO_LIMIT)) == 1


def test_long_text_is_not_starved_by_a_flood_of_short_ones() -> None:
    """Eight short ones arrive each time the model is free; the long one waits for what was there before it."""
    limits = Limits(8, 4096, 0.2)
    waiting = [Item(10, "a", (age, age)) for age in range(8)] + [Item(500, "a", (8, 8))]
    for turn in range(3):
        batch = cut(waiting, limits)
        if any(item.size == 500 for item in batch):
            break
        waiting = [item for item in waiting if item not in batch]
        waiting += [Item(10, "a", (100 + turn * 8 + age, 100 + turn * 8 + age)) for age in range(8)]
    assert turn == 1


def test_larger_than_the_budget_runs_alone() -> None:
    assert [item.size for item in cut(_items(9000, 9000), Limits(8, 4096, 0.2))] == [9000]


def test_nothing_that_costs_nothing_divides_by_zero() -> None:
    assert len(cut(_items(0, 0, 0), NO_LIMIT)) == 3
    assert padding_waste(_items(0, 0)) == 0


@settings(deadline=None)
@given(st.lists(st.integers(0, 100), min_size=1, max_size=7), st.floats(0, 200), st.integers(1, 4))
def test_no_other_division_takes_less_time(sizes: list[int], per_forward: float, max_items: int) -> None:
    """Against every division of the sorted sizes into runs, tried out one by one."""
    ordered = sorted(map(float, sizes))
    limits = Limits(max_items, float("inf"), 0.999999, per_forward)

    def cost(ends: tuple[int, ...]) -> float:
        runs = zip((0, *ends[:-1]), ends, strict=True)
        return sum(per_forward + (last - first) * ordered[last - 1] for first, last in runs)

    count = len(ordered)
    divisions = [
        (*ends, count)
        for number in range(count)
        for ends in itertools.combinations(range(1, count), number)
        if all(last - first <= max_items for first, last in itertools.pairwise((0, *ends, count)))
    ]
    planned, position = [], 0
    while position < count:
        _, position = _run_of(position, ordered, limits)
        planned.append(position)
    assert cost(tuple(planned)) <= min(map(cost, divisions)) + 1e-6


@settings(deadline=None, max_examples=300)
@given(st.integers(1, 40), st.integers(1, 300), st.integers(2, 12), st.integers(1, 1000), st.floats(0, 0.9))
def test_equal_sizes_are_divided_as_nearly_equal_ones(
    count: int, size: int, max_items: int, most: int, share: float
) -> None:
    """Which go the long way: a last one that is larger by a hair, exact in binary, makes them differ."""
    limits = Limits(max_items, most + 0.5, 0.9, 100.0)
    position = int(share * count)
    near = [*[size] * (count - 1), size + 2**-10]
    assert _run_of(position, [size] * count, limits) == _run_of(position, near, limits)


def test_equal_sizes_fill_the_first_batches() -> None:
    left, counts = _items(*[5] * 100), []
    while left:
        batch = cut(left, Limits(32, 16384, 0.5, 14))
        counts.append(len(batch))
        left = [item for item in left if item not in batch]
    assert counts == [32, 32, 32, 4]


def test_padding_is_taken_where_a_forward_costs_more() -> None:
    sizes = (10, 20, 200, 220)
    assert len(cut(_items(*sizes), Limits(32, 16384, 0.9, 5))) == 1
    assert len(cut(_items(*sizes), Limits(32, 16384, 0.9, 14))) == 2
    assert len(cut(_items(*sizes), Limits(32, 16384, 0.9, 10_000))) == 4


def test_flood_of_thousands_is_planned_from_the_nearest() -> None:
    waiting = _items(*range(100, 5100))
    batch = cut(waiting, Limits(32, 1e9, 0.5, 14))
    assert batch[0] is waiting[0]
    assert max(item.size for item in batch) < 200
