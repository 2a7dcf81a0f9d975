"""The removed tasks answer as transformers 4.57 did, on the same tiny checkpoints."""

import base64
import io
import json
import math
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

from deployments import legacy
from tests.legacy.calls import CASES, calls
from tests.tiny import checkpoint
from tests.tiny.compare import difference

pytestmark = pytest.mark.pipelines

GOLDEN = json.loads(Path(__file__).with_name("golden.json").read_text())
CALLS = calls()
BY_ID = {case.id: case for case in CASES}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return tmp_path_factory.mktemp("legacy")


@cache
def pipe(case_id: str, root: Path) -> Any:
    case = BY_ID[case_id]
    legacy.register()
    return transformers.pipeline(case.task, model=str(checkpoint(case, root)), device="cpu")


def same(got: Any, want: Any) -> bool:
    """Structure, strings and integers exactly; floats within rtol 1e-4 + atol 1e-5; pixels within one level."""
    if isinstance(want, dict) and "$image" in want:
        picture = Image.open(io.BytesIO(base64.b64decode(want["$image"])))
        pixels = np.asarray(got).astype(int) - np.asarray(picture).astype(int)
        return isinstance(got, Image.Image) and bool((abs(pixels) <= 1).all())
    if isinstance(want, dict) and "$tensor" in want:
        return isinstance(got, torch.Tensor) and got.tolist() == want["$tensor"]
    if isinstance(want, dict):
        return isinstance(got, dict) and list(got) == list(want) and all(same(got[key], want[key]) for key in want)
    if isinstance(want, list):
        return isinstance(got, list) and len(got) == len(want) and all(map(same, got, want))
    if isinstance(want, float):
        return isinstance(got, float) and math.isclose(got, want, rel_tol=1e-4, abs_tol=1e-5)
    return type(got) is type(want) and bool(got == want)


def test_the_golden_answers_belong_to_these_calls() -> None:
    assert GOLDEN["transformers"].startswith("4.57")
    assert [(call["case"], call["kwargs"]) for call in CALLS] == [
        (answer["case"], answer["kwargs"]) for answer in GOLDEN["answers"]
    ]


@pytest.mark.parametrize("index", range(len(CALLS)), ids=[f"{i}-{call['case']}" for i, call in enumerate(CALLS)])
def test_answers_as_transformers_4(index: int, root: Path) -> None:
    call, want = CALLS[index], GOLDEN["answers"][index]["answer"]
    got = pipe(call["case"], root)(*call["args"], **call["kwargs"])
    assert same(got, want), f"got {got}\nwant {want}"


@pytest.mark.parametrize("case", CASES, ids=[case.id for case in CASES])
def test_answers_differ_between_inputs_and_with_the_changed_parameter(case: Any, root: Path) -> None:
    answers = [pipe(case.id, root)(value, **case.always) for value in case.inputs]
    assert all(difference(answers[a], answers[b]) for a, b in ((0, 1), (0, 2), (1, 2)))
    changed = [pipe(case.id, root)(value, **{**case.always, **case.parameters}) for value in case.inputs]
    assert not case.parameters or any(map(difference, answers, changed))


@pytest.mark.parametrize("case", [case for case in CASES if case.batchable], ids=lambda case: case.id)
def test_a_batch_answers_as_singles(case: Any, root: Path) -> None:
    singles = [pipe(case.id, root)(value, **case.always) for value in case.inputs]
    batch = pipe(case.id, root)(list(case.inputs), batch_size=3, **case.always)
    listed = [answer[0] if isinstance(answer, list) and isinstance(batch[0], dict) else answer for answer in singles]
    assert difference(listed, batch) is None


def test_the_registry_knows_the_removed_tasks_and_no_longer_refuses_them() -> None:
    legacy.register()
    for task in (*legacy.LEGACY_TASKS, "vqa", "translation_en_to_fr"):
        assert transformers.pipelines.check_task(task)[1]["type"] in ("text", "image", "multimodal")
    with pytest.raises(KeyError):
        transformers.pipelines.check_task("conversational-nonsense")


def test_empty_questions_are_refused(root: Path) -> None:
    ask = pipe("question-answering-bert", root)
    with pytest.raises(ValueError, match="question"):
        ask(question="", context="x")
    with pytest.raises(ValueError, match="top_k"):
        ask(question="a", context="x", top_k=0)
