"""``make chaos``, half a minute of it, on a real server in a process of its own."""

import pytest

from tests.chaos.rude import RUDE
from tests.chaos.run import run

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(600)]


def test_a_short_run_finds_nothing() -> None:
    outcome = run(seconds=25, kill_every_s=5, seed=7, say=print)
    assert outcome.faults() == []
    assert outcome.killed
    assert set(RUDE) < set(outcome.ledger.sent)
    assert {"good: stream", "good: image", "malformed: form", "oversized: pixels"} < set(outcome.ledger.sent)
