"""The picture pipelines answer as those of transformers 4.57 did on the same tiny models, in every form of call."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from deployments.legacy import legacy_pipeline
from tests.legacy.image_models import CASES, USED, calls
from tests.legacy.test_golden import same
from tests.tiny import Case, checkpoint
from tests.tiny.compare import difference

pytestmark = pytest.mark.pipelines

GOLDEN = json.loads((Path(__file__).parent / "golden" / "images.json").read_text())
CALLS = calls()
BY_ID = {case.id: case for case in USED}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return tmp_path_factory.mktemp("legacy_images")


@cache
def pipe(case_id: str, root: Path) -> Any:
    case = BY_ID[case_id]
    return legacy_pipeline(case.task, str(checkpoint(case, root)), device="cpu")


def test_the_golden_answers_belong_to_these_calls() -> None:
    assert GOLDEN["transformers"].startswith("4.57")
    assert [call["case"] for call in CALLS] == [answer["case"] for answer in GOLDEN["answers"]]
    assert [sorted(call["kwargs"]) for call in CALLS] == [sorted(answer["kwargs"]) for answer in GOLDEN["answers"]]


@pytest.mark.parametrize("index", range(len(CALLS)), ids=[f"{i}-{call['case']}" for i, call in enumerate(CALLS)])
def test_answers_as_transformers_4(index: int, root: Path) -> None:
    call, want = CALLS[index], GOLDEN["answers"][index]["answer"]
    got = pipe(call["case"], root)(*call["args"], **call["kwargs"])
    assert same(got, want), f"got {got}\nwant {want}"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_answers_differ_between_inputs_and_with_the_changed_parameter(case: Case, root: Path) -> None:
    answers = [pipe(case.id, root)(value, **case.always) for value in case.inputs]
    assert all(difference(answers[a], answers[b]) for a, b in ((0, 1), (0, 2), (1, 2)))
    changed = [pipe(case.id, root)(value, **{**case.always, **case.parameters}) for value in case.inputs]
    assert not case.parameters or any(map(difference, answers, changed))


def test_a_batch_of_captions_is_the_single_ones(root: Path) -> None:
    for case in (case for case in CASES if case.task == "image-to-text"):
        singles = [pipe(case.id, root)(value, **case.always) for value in case.inputs]
        assert pipe(case.id, root)(list(case.inputs), batch_size=3, **case.always) == singles


def test_settings_of_a_call_stand_above_the_models_above_those_of_the_pipeline(root: Path) -> None:
    case = BY_ID["caption-pix2struct"]  # task_specific_params: 3 beams, 6 tokens
    made = legacy_pipeline(case.task, str(checkpoint(case, root)), device="cpu", max_new_tokens=2, num_beams=1)
    picture = case.inputs[0]
    assert made(picture) == pipe(case.id, root)(picture)
    assert made(picture, max_new_tokens=3) != made(picture)


def test_a_drafting_model_changes_nothing_but_the_work(root: Path) -> None:
    case = BY_ID["caption-git"]
    directory = str(checkpoint(case, root))
    helped = legacy_pipeline(case.task, directory, device="cpu", assistant_model=directory)
    greedy = {"generate_kwargs": {"num_beams": 1, "max_new_tokens": 5}}
    assert helped(case.inputs[0], **greedy) == pipe(case.id, root)(case.inputs[0], **greedy)
    assert helped._sanitize_parameters()[1]["assistant_model"] is helped.assistant_model


@pytest.mark.parametrize(
    ("case_id", "arguments", "said"),
    [
        ("caption-git", {"prompt": 3}, "must be a string"),
        ("caption-git", {"max_new_tokens": 2, "generate_kwargs": {"max_new_tokens": 3}}, "given both"),
        ("image-to-text-vit-gpt2", {"prompt": "a"}, "does not support conditional text generation"),
    ],
)
def test_what_a_caption_cannot_do_is_refused(case_id: str, arguments: dict[str, Any], said: str, root: Path) -> None:
    with pytest.raises(ValueError, match=said):
        pipe(case_id, root)(BY_ID[case_id].inputs[0], **arguments)
