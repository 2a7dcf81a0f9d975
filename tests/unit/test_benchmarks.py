"""A benchmark compares what is computed on both sides: no answer of the server is given twice."""

from pathlib import Path
from typing import Any

import pytest

from benchmarks.comparison import Comparison, Part
from benchmarks.settings import Settings
from deployments.config import ModelConfig


def _part(inputs: int, clients: dict[int, int], **more: Any) -> Part:
    sent = [f"text {number}" for number in range(inputs)]
    return Part("text", "text-classification", Path("/m"), "texts", lambda: sent, sent, {}, (1,), clients, **more)


def test_the_served_model_shares_no_answers() -> None:
    comparison = Comparison(_part(10, {1: 1, 8: 2}), Settings(Path("/out"), max_items=4))
    model = ModelConfig.model_validate({**comparison.served_model(), "model": "a/b"})
    assert (model.cache.share_running, model.cache.max_bytes, model.batch.max_items) == (False, 0, 4)


def test_fewer_inputs_than_clients_are_refused() -> None:
    with pytest.raises(AssertionError, match="equal inputs would be under way at once"):
        Comparison(_part(8, {1: 1, 8: 2}), Settings(Path("/out")))


@pytest.mark.parametrize(("scale", "count"), [(0.001, 65), (0.5, 65), (1, 128)])
def test_every_scale_has_more_inputs_than_clients(scale: float, count: int) -> None:
    assert Settings(Path("/out"), scale=scale).count(128, 64) == count
    assert Settings(Path("/out"), scale=0.001).count(128) == 8
