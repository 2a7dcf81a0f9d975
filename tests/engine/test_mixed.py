"""Any mix of requests in any order, in batches: each gets what it gets alone. The oracle is the local pipeline."""

import copy
import random
from collections.abc import Callable
from typing import Any

import pytest
import torch

from deployments.tasks import canonical_task
from deployments.tensors import unpack_tensors
from deployments.work import Work
from tests.serve.parity_cases import PARITY_CASES
from tests.tiny import Case
from tests.tiny.compare import difference

_COPIES = 3


def _requests(case: Case) -> list[tuple[int, dict[str, Any]]]:
    """Every input with either set of parameters, several times."""
    sets = [case.always, {**case.always, **case.parameters}]
    return [(index, parameters) for parameters in sets for index in range(3)] * _COPIES


def _alone(pipe: Any, task: str, one: Any, parameters: dict[str, Any]) -> Any:
    torch.manual_seed(0)
    parameters = copy.deepcopy(parameters)
    if task == "any-to-any" and isinstance(one, dict):
        return pipe(**one, **parameters)
    if task == "image-text-to-text" and isinstance(one, str):
        return pipe(text=one, **parameters)
    return pipe(one, **parameters)


@pytest.mark.parametrize("case", PARITY_CASES, ids=lambda case: case.id)
def test_each_gets_its_own_answer(case: Case, load_case: Callable[[Case], Any], serve_pipe: Any) -> None:
    pipe, task = load_case(case), canonical_task(case.task)
    requests = _requests(case)
    random.Random(case.id).shuffle(requests)
    expected: dict[str, Any] = {}
    for index, parameters in requests:
        key = f"{index} {parameters}"
        if key not in expected:
            expected[key] = _alone(pipe, task, case.inputs[index], parameters)
    served = serve_pipe(pipe, case.task, check=True, max_padding_waste=0.9)
    release = served.hold(case.inputs[0], case.always)
    works = [Work(case.inputs[index], dict(parameters)) for index, parameters in requests]
    for work in works:
        served.engine.submit(work)
    served.prepared(len(works))
    release()
    for work, done, (index, parameters) in zip(works, served.answers.of(works), requests, strict=True):
        assert work.error is None, work.error
        answer = unpack_tensors(done.outcome)
        assert difference(expected[f"{index} {parameters}"], answer) is None, (parameters, served.runner.info())
    if served.runner.preparer.mode == "alone" and served.turns is None:
        assert max(served.noted.batches) == 1
    else:
        assert max(served.noted.batches) > 1
