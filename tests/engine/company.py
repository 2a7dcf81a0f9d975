"""Texts that are generated in company, and what the local pipeline gives for each alone."""

import random
import time
from collections.abc import Sequence
from typing import Any

import torch

from deployments.work import Work
from tests.engine.conftest import Served


def answer_alone(pipe: Any, prompt: Any, parameters: dict[str, Any]) -> Any:
    """The local pipeline's answer; a parameter of None is not given, and ``seed`` is torch's own."""
    parameters = {name: value for name, value in parameters.items() if value is not None}
    torch.manual_seed(parameters.pop("seed", 0))
    return pipe(prompt, **parameters)


def each_gets_what_it_gets_alone(
    served: Served, calls: Sequence[tuple[Any, dict[str, Any]]], expected: Sequence[Any], chance: random.Random
) -> None:
    """Ask for all ``calls`` at different times: they run step by step, some together, and each has its own answer."""
    assert served.runner.info()["batching"]["generation"] == "steps", served.runner.info()
    works = [Work(prompt, dict(parameters)) for prompt, parameters in calls]
    for work in works:
        served.engine.submit(work)
        time.sleep(chance.choice((0, 0, 0.01)))  # no condition: they come as callers do
    for work, done, answer in zip(works, served.answers.of(works), expected, strict=True):
        assert work.error is None, work.error
        assert done.outcome == answer, work.parameters
    assert max(served.noted.batches) > 1
    assert served.engine.generating == 0
