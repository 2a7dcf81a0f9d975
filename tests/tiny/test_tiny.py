"""The tiny cases are worth comparing with: answers differ between inputs, follow the parameter, repeat exactly."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Pipeline, pipeline
from transformers.pipelines import SUPPORTED_TASKS

from . import CASES, Case, checkpoint, stand_in
from .compare import difference

pytestmark = pytest.mark.pipelines

EMPTY = ("", [], {}, None)
WITHOUT_PARAMETERS = {"decision", "depth-estimation"}  # transformers gives these tasks none that changes an answer


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """One torch thread and the stand-in for torchvision."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    stand_in.install()
    yield
    torch.set_num_threads(before)


def load(case: Case, directory: Path) -> Pipeline:
    """The local pipeline of a case."""
    return pipeline(case.task, model=str(directory), **case.init)


def ask(local: Pipeline, case: Case, **changed: Any) -> list[Any]:
    """The answers to the three inputs, one by one."""
    return [local(value, **{**case.always, **changed}) for value in case.inputs]


def test_every_task_has_a_case() -> None:
    assert {case.task for case in CASES} == set(SUPPORTED_TASKS)


def test_ids_are_unique() -> None:
    assert len({case.id for case in CASES}) == len(CASES)


def test_every_task_with_parameters_changes_one() -> None:
    changed = {case.task for case in CASES if case.parameters}
    assert set(SUPPORTED_TASKS) - changed == WITHOUT_PARAMETERS


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_answers(case: Case, checkpoints: Path, tmp_path: Path) -> None:
    local = load(case, checkpoint(case, checkpoints))
    answers = ask(local, case)

    assert not any(any(answer is empty or answer == empty for empty in EMPTY) for answer in answers if _plain(answer))
    for first, second in ((0, 1), (1, 2), (0, 2)):
        assert difference(answers[first], answers[second]), f"inputs {first} and {second} get the same answer"
    assert difference(answers, ask(local, case)) is None

    rebuilt = load(case, checkpoint(case, tmp_path))
    assert difference(answers, ask(rebuilt, case)) is None
    if case.parameters:
        assert difference(answers, ask(local, case, **case.parameters)), f"{case.parameters} changes nothing"


def batched(local: Pipeline, case: Case) -> list[Any]:
    """The answers of one batch of three; chats are wrapped as the pipelines themselves do, to stand beside prompts."""
    values: list[Any] = list(case.inputs)
    chat = getattr(sys.modules[type(local).__module__], "Chat", None)
    if chat is None:
        return list(local(values, batch_size=3, **case.always))
    values = [chat(value) if isinstance(value, list) else value for value in values]
    return list(Pipeline.__call__(local, values, batch_size=3, **case.always))


@pytest.mark.parametrize("case", [case for case in CASES if case.batchable], ids=lambda case: case.id)
def test_batch_equals_singles(case: Case, checkpoints: Path) -> None:
    local = load(case, checkpoint(case, checkpoints))
    singles = ask(local, case)
    if case.task == "text-classification":  # a list of texts gives bare dictionaries, one text a list of one
        singles = [answer[0] for answer in singles]
    assert difference(singles, batched(local, case)) is None


def _plain(answer: Any) -> bool:
    """Comparable with ``==``: no tensor or array at the top."""
    return isinstance(answer, (str, list, dict, type(None)))


@pytest.mark.parametrize("threshold", [0.2, 0.5, 0.9])
def test_stand_in_suppresses_as_torchvision_does(threshold: float) -> None:
    generator = torch.Generator().manual_seed(0)
    corner, size = torch.rand(60, 2, generator=generator) * 40, torch.rand(60, 2, generator=generator) * 30
    boxes, scores = torch.cat([corner, corner + size], 1), torch.rand(60, generator=generator)
    groups = torch.arange(60) % 3

    kept = stand_in.batched_nms(boxes, scores, groups, threshold)
    assert scores[kept].tolist() == sorted(scores[kept].tolist(), reverse=True)
    survivors = set(kept.tolist())
    for index in range(60):
        rivals = [
            other
            for other in survivors - {index}
            if groups[other] == groups[index]
            and scores[other] > scores[index]
            and _overlap(boxes[other].tolist(), boxes[index].tolist()) > threshold
        ]
        assert (index in survivors) == (not rivals)


def _overlap(first: list[float], second: list[float]) -> float:
    """Intersection over union, box by box."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    shared = max(width, 0.0) * max(height, 0.0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (first, second)]
    return shared / (sum(areas) - shared)


def test_checkpoint_is_built_once(tmp_path: Path) -> None:
    built: list[Path] = []
    case = Case("once", "fill-mask", lambda path: built.append(path), lambda: (1, 2, 3), {})
    assert checkpoint(case, tmp_path) == checkpoint(case, tmp_path) == tmp_path / "once"
    assert len(built) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["once"]
