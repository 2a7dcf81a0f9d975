"""The text pipelines answer as those of transformers 4.57 did on the same tiny models, alone and in batches."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForQuestionAnswering, AutoModelForSeq2SeqLM, AutoTokenizer, Pipeline

from deployments.legacy.question_answering import QuestionAnsweringPipeline, best_spans
from deployments.legacy.text2text import (
    SummarizationPipeline,
    Text2TextGenerationPipeline,
    TranslationPipeline,
)
from tests.legacy.text_models import CASES, CONTEXT, calls
from tests.tiny import Case, checkpoint
from tests.tiny.compare import difference

pytestmark = pytest.mark.pipelines

GOLDEN = json.loads((Path(__file__).parent / "golden" / "text.json").read_text())
CLASSES: dict[str, type[Pipeline]] = {
    "question-answering": QuestionAnsweringPipeline,
    "summarization": SummarizationPipeline,
    "translation": TranslationPipeline,
    "text2text-generation": Text2TextGenerationPipeline,
}
BY_ID = {case.id: case for case in CASES}
SHORT = {"max_new_tokens": 4, "num_beams": 1}


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where this module's checkpoints lie."""
    return tmp_path_factory.mktemp("legacy_text")


@cache
def local(case_id: str, task: str, root: Path) -> Any:
    """The pipeline of a case over the Auto classes."""
    directory = checkpoint(BY_ID[case_id], root)
    kind = CLASSES["translation" if task.startswith("translation") else task]
    auto = AutoModelForQuestionAnswering if task == "question-answering" else AutoModelForSeq2SeqLM
    tokenizer = AutoTokenizer.from_pretrained(directory)
    return kind(model=auto.from_pretrained(directory), tokenizer=tokenizer, task=task, device="cpu")


def same(found: Any, wanted: Any) -> bool:
    """Structure, texts and whole numbers exactly; floats within 1e-4 of the value, or 1e-5."""
    if isinstance(found, torch.Tensor):
        found = {"$tensor": found.tolist()}
    if type(found) is not type(wanted):
        return False
    if isinstance(found, dict):
        return list(found) == list(wanted) and all(same(found[key], wanted[key]) for key in found)
    if isinstance(found, list):
        return len(found) == len(wanted) and all(map(same, found, wanted))
    return math.isclose(found, wanted, rel_tol=1e-4, abs_tol=1e-5) if isinstance(found, float) else found == wanted


def _name(call: dict[str, Any]) -> str:
    return f"{call['case']}-{'-'.join(call['kwargs'])}"


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("call", GOLDEN["answers"], ids=_name)
def test_answers_as_transformers_4(call: dict[str, Any], root: Path) -> None:
    found = local(call["case"], call["task"], root)(*call["args"], **call["kwargs"])
    assert same(found, call["answer"]), f"{found}\n!=\n{call['answer']}"


def test_the_recorded_calls_are_those_of_the_models() -> None:
    recorded = [{key: value for key, value in call.items() if key != "answer"} for call in GOLDEN["answers"]]
    assert recorded == json.loads(json.dumps(calls()))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_cases_tell_inputs_and_parameters_apart(case: Case, root: Path) -> None:
    pipe = local(case.id, case.task, root)
    first, second, third = answers = [pipe(value, **case.always) for value in case.inputs]
    assert difference(first, second)
    assert difference(second, third)
    assert difference(first, third)
    assert difference(answers, [pipe(value, **{**case.always, **case.parameters}) for value in case.inputs])


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_batch_gives_the_single_answers(case: Case, root: Path) -> None:
    pipe = local(case.id, case.task, root)
    single = [pipe([value], **case.always) for value in case.inputs]
    single = [value[0] if isinstance(value, list) else value for value in single]
    found = pipe(list(case.inputs), batch_size=3, **case.always)
    assert same(found, json.loads(json.dumps(single, default=_listed)))


def _listed(tensor: torch.Tensor) -> dict[str, Any]:
    return {"$tensor": tensor.tolist()}


def test_nothing_asked_is_nothing_answered(root: Path) -> None:
    assert local("qa-bert", "question-answering", root)([]) == []
    assert local("text2text-bart", "text2text-generation", root)([]) == []


def test_questions_of_a_generator_are_answered_one_after_the_other(root: Path) -> None:
    pipe = local("qa-bert", "question-answering", root)
    inputs = BY_ID["qa-bert"].inputs
    assert list(pipe(value for value in inputs)) == [pipe(value) for value in inputs]


@pytest.mark.parametrize(
    ("asked", "error"),
    [
        ({"question": "", "context": "I"}, "`question` cannot be empty"),
        ({"question": "who", "context": ""}, "`context` cannot be empty"),
        ({"question": "who", "context": None}, "`context` cannot be empty"),
        ({"question": "who"}, "give `question` and `context`"),
        ({"question": ["who"], "context": ["I", "you"]}, "lengths"),
        ({"question": "who", "context": "I", "top_k": 0}, "top_k"),
        ({"question": "who", "context": "I", "max_answer_len": 0}, "max_answer_len"),
        ({"question": "who", "context": "I", "doc_stride": 60, "max_seq_len": 20}, "doc_stride"),
    ],
)
def test_questions_that_cannot_be_answered(asked: dict[str, Any], error: str, root: Path) -> None:
    with pytest.raises(ValueError, match=error):
        local("qa-bert", "question-answering", root)(**asked)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("settings", [{}, {"padding": "max_length"}, {"batch_size": 3}], ids=str)
def test_padding_does_not_move_the_answer(
    side: str, settings: dict[str, Any], root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = checkpoint(BY_ID["qa-bert"], root)
    tokenizer = AutoTokenizer.from_pretrained(directory, padding_side=side)
    model = AutoModelForQuestionAnswering.from_pretrained(directory)
    pipe = QuestionAnsweringPipeline(model=model, tokenizer=tokenizer, task="question-answering", device="cpu")

    def river(inputs: dict[str, Any]) -> dict[str, Any]:
        logits = 50.0 * (inputs["input_ids"] == tokenizer.convert_tokens_to_ids("river"))
        return {"start": logits, "end": logits, **inputs}

    monkeypatch.setattr(pipe, "_forward", river)
    contexts = ["by the river.", CONTEXT, "The red and blue river is in London"]
    answers = pipe(question=["Which river?"] * 3, context=contexts, **settings)
    assert [answer["start"] for answer in answers] == [context.index("river") for context in contexts]
    assert {answer["answer"].strip(".,") for answer in answers} == {"river"}


def test_as_many_spans_as_there_are() -> None:
    start, end = np.array([0.5, 0.3, 0.2]), np.array([0.1, 0.2, 0.7])
    spans = best_spans(start, end, 9, 3, np.array([True, True, True]))
    assert len(spans) == 9
    assert spans[0] == (0, 2, pytest.approx(0.35))


def test_the_languages_given_at_the_start_stay(root: Path) -> None:
    named, plain = ("translation_en_to_fr", "translation")
    directory, languages = checkpoint(BY_ID["translation-mbart"], root), {"src_lang": "en_XX", "tgt_lang": "fr_XX"}
    loaded = {"tokenizer": AutoTokenizer.from_pretrained(directory), "device": "cpu"}
    model = AutoModelForSeq2SeqLM.from_pretrained(directory)
    answers = [
        TranslationPipeline(model=model, task=task, **loaded, **languages)("I love it", **SHORT)
        for task in (named, plain)
    ]
    assert answers[0] == answers[1]


def test_languages_are_needed(root: Path) -> None:
    with pytest.raises(ValueError, match="src_lang"):
        local("translation-mbart", "translation", root)("I love it", **SHORT)


def test_max_length_counts(root: Path) -> None:
    pipe = local("text2text-bart", "text2text-generation", root)
    (answer,) = pipe("I love it", max_length=4, num_beams=1, return_tensors=True)
    assert len(answer["generated_token_ids"]) <= 5  # and the token that starts


@pytest.mark.parametrize(
    ("case", "settings", "warned"),
    [
        ("summarization-bart-text", {"max_length": 90}, "max_length=90"),
        ("summarization-bart-text", {"max_length": 4, "min_length": 6}, "min_length=6"),
        ("translation-t5-text", {"max_length": 9}, "max_length=9"),
    ],
)
def test_lengths_that_hardly_suit_are_warned_of(
    case: str, settings: dict[str, int], warned: str, root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("WARNING", "deployments.legacy.text2text"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        local(case, BY_ID[case].task, root)("I love it", num_beams=1, **settings)
    assert any(warned in record.getMessage() for record in caplog.records)
