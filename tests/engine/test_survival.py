"""What is no ``Exception``, as the panic of a tokenizer, fails one request: the caller is told, the next answered."""

import threading
from collections.abc import Callable
from operator import attrgetter
from typing import Any

import pytest
import torch

from deployments.errors import InferenceError, InvalidInputError
from deployments.fake import FakePipeline
from deployments.work import Work
from tests.engine.causal import causal_pipeline
from tests.engine.conftest import PATIENCE_S
from tests.serve.parity_cases import PARITY_CASES

_CASES = {case.id: case for case in PARITY_CASES}


class PanicException(BaseException):
    """Named as that of Rust, which cannot be imported."""


class Panicking(FakePipeline):
    """A word in the input names the stage that panics."""

    error: type[BaseException] = PanicException

    def preprocess(self, inputs: Any) -> dict[str, Any]:
        """On ``panic-preprocess``."""
        return _fine(inputs, "preprocess", {"echo": inputs, "input_ids": torch.zeros(1, 3)})

    def forward(self, model_inputs: Any, **parameters: Any) -> Any:
        """On ``panic-forward``, in a batch too."""
        return _fine(model_inputs["echo"], "forward", super().forward(model_inputs, **parameters))

    def postprocess(self, model_outputs: Any) -> Any:
        """On ``panic-postprocess``."""
        return _fine(model_outputs["echo"], "postprocess", {"echo": model_outputs["echo"]})

    def _sanitize_parameters(self, **given: Any) -> Any:
        return _fine(given.pop("mark", ""), "parameters", super()._sanitize_parameters(**given))


def _fine(inputs: Any, stage: str, result: Any) -> Any:
    if f"panic-{stage}" in inputs:
        raise Panicking.error("`stride` must be strictly less than `max_len=81`")
    return result


def _answered_after(served: Any) -> None:
    assert served.engine.unwell() is None
    assert served.ask(Work("after", {}))[0]["echo"] == "after"


@pytest.mark.parametrize("stage", ["preprocess", "forward", "postprocess"])
@pytest.mark.parametrize(("error", "kind"), [(PanicException, InvalidInputError), (SystemExit, InferenceError)])
def test_panic_fails_its_own_request_alone(
    stage: str, error: type[BaseException], kind: type[Exception], serve_pipe: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Panicking, "error", error)
    served = serve_pipe(Panicking())
    release = served.hold()
    works = [Work(name, {}) for name in ("a", f"panic-{stage}", "b")]
    for work in works:
        served.engine.submit(work)
    served.prepared(2 if stage == "preprocess" else 3)
    release()
    first, bad, last = (done.outcome for done in served.answers.of(works))
    assert (first, last) == ({"echo": "a"}, {"echo": "b"})
    assert type(bad) is kind
    _answered_after(served)


def test_panic_over_parameters_is_the_callers(serve_pipe: Any) -> None:
    served = serve_pipe(Panicking())
    (outcome,) = served.ask(Work("a", {"mark": "panic-parameters"}))
    assert "`stride` must be strictly less" in str(outcome)
    _answered_after(served)


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        ("_preparer", "prepare"),
        ("_forwarder", "run"),
        ("_forwarder", "limits"),
        ("_delivery._finisher", "finish"),
        ("_delivery", "_deliver"),
    ],
)
def test_whatever_is_raised_in_a_loop_does_not_end_it(
    owner: str, name: str, serve_pipe: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = serve_pipe(FakePipeline())
    part: Any = attrgetter(owner)(served.engine)
    raised = threading.Event()

    def once(*_: Any) -> Any:
        monkeypatch.undo()
        raised.set()
        raise SystemExit(3)

    monkeypatch.setattr(part, name, once)
    work = Work("a", {})
    if name == "_deliver":
        served.engine.submit(work)
        assert raised.wait(PATIENCE_S)
    else:
        (outcome,) = served.ask(work)
        assert isinstance(outcome, InferenceError) or name == "limits"
    _answered_after(served)
    assert raised.is_set()


def test_caller_whose_stream_cannot_begin_ends_nothing(serve_pipe: Any) -> None:
    def emit(_: Any) -> None:
        raise SystemExit(3)

    served = serve_pipe(FakePipeline())
    (outcome,) = served.ask(Work("a", {}, emit=emit))
    assert isinstance(outcome, InferenceError)
    _answered_after(served)


def test_turn_that_panics_fails_who_is_in_it(serve_pipe: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    served = serve_pipe(causal_pipeline("llama"), "text-generation", check=True)
    asked = Work("Once upon a time", {"max_new_tokens": 3, "do_sample": False})

    def panic() -> Any:
        monkeypatch.undo()
        raise PanicException("no")

    monkeypatch.setattr(served.turns, "turn", panic)
    assert isinstance(served.ask(asked)[0], InferenceError)
    assert "generated_text" in served.ask(Work(asked.inputs, asked.parameters))[0][0]
    assert served.engine.unwell() is None


@pytest.mark.parametrize(
    ("case", "parameters"),
    [
        # what the special tokens leave of `max_length` is no more than the stride
        ("text-classification-bert", {"truncation": True, "max_length": 4, "stride": 2}),
        ("token-classification-bert", {"stride": 62}),
    ],
)
def test_stride_that_panics_a_tokenizer_is_the_callers_to_mend(
    case: str, parameters: dict[str, Any], load_case: Callable[[Any], Any], serve_pipe: Any
) -> None:
    pipe = load_case(_CASES[case])
    if "max_length" not in parameters:
        parameters = {"stride": pipe.tokenizer.model_max_length - 2}
    served = serve_pipe(pipe, _CASES[case].task)
    long = "the dog and the cat " * 60
    (outcome,) = served.ask(Work(long, parameters))
    assert type(outcome) is InvalidInputError
    assert "`stride` must be strictly less than" in outcome.message
    (after,) = served.ask(Work("the dog", {}))
    assert after == pipe("the dog")


def test_question_that_leaves_less_than_the_usual_overlap_is_answered(
    load_case: Callable[[Any], Any], serve_pipe: Any
) -> None:
    """120 tokens of 160, three of them special: 37 are left, and the usual overlap is 80."""
    pipe = load_case(_CASES["question-answering-bert"])
    asked = {"question": "the dog " * 60, "context": "the red house " * 100}
    served = serve_pipe(pipe, "question-answering")
    with_default, with_half, too_large = served.ask(
        Work(asked, {"max_seq_len": 160}),
        Work(asked, {"max_seq_len": 160, "doc_stride": 18}),
        Work(asked, {"max_seq_len": 160, "doc_stride": 37}),
    )
    assert with_default == with_half
    assert with_default["answer"] in asked["context"]
    assert type(too_large) is InvalidInputError
    assert "must be less than the 37 tokens" in too_large.message
    short = {**asked, "context": "the red house"}  # of one window, in which nothing overlaps
    assert served.ask(Work(short, {"max_seq_len": 160, "doc_stride": 100}))[0]["answer"] in short["context"]
