"""``register``: transformers knows the removed tasks under their own names, and nothing else of it changes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import transformers
from transformers import pipelines

from deployments import legacy
from tests.legacy.models import CASES
from tests.tiny import checkpoint

pytestmark = pytest.mark.pipelines
BY_ID = {case.id: case for case in CASES}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """The directory of a case's checkpoint."""
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("legacy_register")
    return lambda case_id: str(checkpoint(BY_ID[case_id], root))


def test_the_table_is_light() -> None:
    code = "import sys, deployments.legacy; print(*{'torch', 'transformers', 'numpy'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == ""


def test_registering_again_changes_nothing() -> None:
    legacy.register()
    tasks, resolve = dict(pipelines.SUPPORTED_TASKS), pipelines._resolve_deprecated_task
    legacy.register()
    assert tasks == pipelines.SUPPORTED_TASKS
    assert pipelines._resolve_deprecated_task is resolve


@pytest.mark.parametrize("task", [*legacy.LEGACY_TASKS, "vqa", "translation_xx_to_yy"])
def test_the_row_is_the_one_of_transformers_4(task: str) -> None:
    legacy.register()
    name, row, _ = pipelines.check_task(task)
    assert name == {"vqa": "visual-question-answering", "translation_xx_to_yy": "translation"}.get(task, task)
    assert row["default"] == {"model": legacy.LEGACY_TASKS[name].default}
    assert row["type"] == legacy.LEGACY_TASKS[name].type


@pytest.mark.parametrize(
    ("task", "case_id"),
    [
        ("translation_en_to_fr", "translation-t5"),
        ("translation_de_to_ro", "translation-t5"),
        ("image-to-text", "image-to-text-blip"),
        ("vqa", "visual-question-answering-vilt"),
    ],
)
def test_the_pipeline_keeps_the_name_that_was_asked_for(task: str, case_id: str, model: Callable[[str], str]) -> None:
    legacy.register()
    pipe = transformers.pipeline(task, model=model(case_id), device="cpu")
    assert pipe.task == task
    assert type(pipe).__module__.startswith("deployments.legacy.")


def test_loading_is_that_of_transformers(model: Callable[[str], str]) -> None:
    name = model("text2text-generation-t5")
    pipe = legacy.legacy_pipeline(
        "text2text-generation", name, tokenizer=name, dtype=torch.bfloat16, device_map="cpu", num_beams=1
    )
    assert pipe.model.dtype == torch.bfloat16
    assert pipe("I love it", max_new_tokens=2)[0].keys() == {"generated_text"}


def test_a_saved_pipeline_loads_without_trust_in_its_code(model: Callable[[str], str], tmp_path: Path) -> None:
    legacy.register()
    pipe = transformers.pipeline("question-answering", model=model("question-answering-bert"), device="cpu")
    pipe.save_pretrained(tmp_path)
    again = transformers.pipeline("question-answering", model=str(tmp_path), device="cpu")
    asked = {"question": "Who?", "context": "My dog and my cat live in a red house."}
    assert again(**asked) == pipe(**asked)
    assert not list(tmp_path.glob("*.py"))


@pytest.mark.parametrize("task", ["conversational", "translation_en", "translation_en_to", "translation_a_to_b_c"])
def test_other_names_are_still_refused(task: str) -> None:
    legacy.register()
    with pytest.raises(KeyError):
        pipelines.check_task(task)


def test_other_tasks_are_left_alone() -> None:
    legacy.register()
    assert pipelines.check_task("ner")[0] == "token-classification"
    assert "question-answering" in pipelines.REMOVED_TASKS
