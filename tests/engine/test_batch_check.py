"""The check at start: a model that answers batches otherwise than inputs alone gets a stricter mode, and says why."""

from collections.abc import Callable
from typing import Any

import pytest

from deployments.batch_check import choose_mode
from deployments.config import MediaLimits, ModelConfig
from deployments.load import Loaded
from deployments.run import PipelineRunner
from tests.serve.parity_cases import PARITY_CASES

_CASES = {case.id: case for case in PARITY_CASES}
_EXAMPLE = "the dog and the cat are in the red house"


@pytest.fixture
def runner_of(load_case: Callable[[Any], Any]) -> Callable[[str], PipelineRunner]:
    """The runner of a case, not yet checked."""

    def make(case: str) -> PipelineRunner:
        config = ModelConfig(name="m", task=_CASES[case].task)
        return PipelineRunner(config, Loaded(load_case(_CASES[case]), None), MediaLimits())

    return make


def _checked(runner: PipelineRunner, **parameters: Any) -> tuple[str, str]:
    choose_mode(runner, _EXAMPLE, parameters)
    assert runner.checked == (runner.preparer.mode, runner.mode_reason)
    return runner.checked


def _shifted(runner: PipelineRunner, monkeypatch: pytest.MonkeyPatch, when: Callable[[Any], bool]) -> None:
    """Let the model give other numbers for a batch of which ``when`` holds."""
    forward = runner.pipe.model.forward

    def other(input_ids: Any, attention_mask: Any = None, **rest: Any) -> Any:
        outputs = forward(input_ids=input_ids, attention_mask=attention_mask, **rest)
        if when(attention_mask):
            outputs.logits = outputs.logits + 0.5
        return outputs

    monkeypatch.setattr(runner.pipe.model, "forward", other)


def test_model_that_reads_padding_batches_equal_lengths(runner_of: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    runner = runner_of("text-classification-multi-label")
    _shifted(runner, monkeypatch, lambda mask: not mask.all())
    mode, reason = _checked(runner)
    assert mode == "equal"
    assert reason.startswith("padded batches differ from single answers in the check at start")


def test_model_that_reads_its_neighbours_runs_alone(runner_of: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    runner = runner_of("text-classification-multi-label")
    _shifted(runner, monkeypatch, lambda mask: len(mask) > 1)
    mode, reason = _checked(runner)
    assert mode == "alone"
    assert reason.startswith("equal batches differ")


def test_model_that_reads_neither_keeps_the_mode_of_its_task(runner_of: Any) -> None:
    assert _checked(runner_of("text-classification-multi-label")) == ("padded", "")


def test_tokenizer_without_padding_batches_equal_lengths(runner_of: Any) -> None:
    mode, reason = _checked(runner_of("text-generation-gpt2"), max_new_tokens=4, do_sample=False)
    assert mode == "equal"
    assert "pad_token" in reason
    assert "could not be checked" not in reason


@pytest.mark.parametrize("refused", [" ".join([_EXAMPLE] * 3), _EXAMPLE])
def test_check_that_is_not_possible_is_told(refused: str, runner_of: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a model that does not take the longer trial, or none at all."""
    runner = runner_of("text-classification-multi-label")
    forward, preprocess = runner.forwarder._forward, runner.preparer._pipe.preprocess

    def picky(inputs: Any, **parameters: Any) -> Any:
        if inputs == refused:
            raise ValueError("no such text")
        return preprocess(inputs, **parameters)

    monkeypatch.setattr(runner.preparer._pipe, "preprocess", picky)
    mode, reason = _checked(runner)
    assert mode == "padded"
    assert reason.startswith("padded batches could not be checked at start: ")
    assert "no such text" in reason
    assert runner.info()["batching"]["reason"] == reason

    def failing(*_: Any) -> Any:
        raise RuntimeError("secret")

    monkeypatch.setattr(runner.preparer._pipe, "preprocess", preprocess)
    monkeypatch.setattr(runner.forwarder, "_forward", failing)
    runner.mode_reason = ""
    _, reason = _checked(runner)
    assert "could not be checked" in reason
    assert "secret" not in reason
    monkeypatch.setattr(runner.forwarder, "_forward", forward)
