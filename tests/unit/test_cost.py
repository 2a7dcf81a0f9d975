"""The measured cost of a forward."""

import pytest

from deployments.cost import ForwardCost


def _learnt(*batches: tuple[float, float], cold: int = 2) -> ForwardCost:
    cost = ForwardCost()
    for _ in range(cold):
        cost.note(50, 9.0)  # what happens once
    for padded, seconds in batches:
        cost.note(padded, seconds)
    return cost


def test_nothing_is_known_before_the_first_batches() -> None:
    cost = ForwardCost()
    assert (cost.line, cost.forward_cost, cost.padded_within(1)) == (None, None, None)
    cost.note(10, 0.1)
    assert cost.forward_cost is None


def test_line_is_found_and_what_was_cold_is_forgotten() -> None:
    cost = _learnt(*[(padded, 0.004 + 0.0003 * padded) for padded in (10, 200, 40, 500, 90) * 60])
    assert cost.line == pytest.approx((0.004, 0.0003), rel=1e-2)
    assert cost.forward_cost == pytest.approx(13.3, rel=2e-2)
    assert cost.padded_within(0.1) == pytest.approx(320, rel=2e-2)


def test_it_follows_a_device_that_changes() -> None:
    cost = _learnt(*[(padded, 1 + padded) for padded in (1, 5, 9) * 100])
    for padded in (1, 5, 9) * 100:
        cost.note(padded, 0.1 + 0.1 * padded)
    assert cost.line == pytest.approx((0.1, 0.1), rel=1e-2)


def test_batches_of_one_cost_give_a_line_through_nothing() -> None:
    cost = _learnt(*[(50, 0.5)] * 300)
    assert cost.line == pytest.approx((0, 0.01), rel=1e-2)


def test_where_the_size_does_not_show_all_may_join() -> None:
    cost = _learnt(*[(padded, 0.5 - padded / 1e6) for padded in (1, 50, 100) * 200])
    assert cost.forward_cost == float("inf")
    assert cost.padded_within(0.1) == float("inf")


def test_never_less_than_a_forward_s_worth() -> None:
    cost = _learnt(*[(padded, 1.0 + 0.01 * padded) for padded in (1, 50, 100) * 200])
    assert cost.padded_within(0.1) == pytest.approx(100, rel=0.05)
