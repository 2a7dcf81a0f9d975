"""A step that fails midway: everybody goes on from where they were, and gets what the local pipeline gives alone."""

from collections import Counter
from typing import Any

import pytest
import torch

from deployments.errors import InferenceError
from deployments.events import Step
from deployments.stepwise import choose, slots, source, stepper
from deployments.work import Work
from tests.engine.causal import causal_pipeline
from tests.engine.company import answer_alone
from tests.engine.seq2seq import seq2seq_pipeline
from tests.engine.test_stepwise import _flood

_MODELS = {"llama": (causal_pipeline, "text-generation"), "t5": (seq2seq_pipeline, "text2text-generation")}
_PLACES: dict[str, tuple[Any, str]] = {
    "zeros": (slots._SlotLayer, "_zeros"),
    "take": (slots._SlotLayer, "take"),
    "drop": (slots._SlotLayer, "copy_row"),
    "prefill": (stepper.Prefill, "__init__"),
    "chosen": (stepper, "choose"),
    "draw": (choose, "_own_choice"),
    "source": (source.SourceSlots, "take"),
}
_POINTS = 6
_LONG = {"max_new_tokens": 40, "min_new_tokens": 40}  # two of them: until the end, nobody is alone
_WORKS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("The dog", {"max_new_tokens": 9}),
    ("Once upon a time", {**_LONG, "do_sample": True, "temperature": 2.0, "seed": 3}),
    ("x", {"max_new_tokens": 1}),
    ("What is the capital of France? Who knows", {"max_new_tokens": 20, "do_sample": True, "top_k": 9, "seed": 4}),
    ("a " * 30, _LONG),
    ("The dog", {"max_new_tokens": 12, "num_return_sequences": 2, "do_sample": True, "top_k": 1}),
)


class Failing:
    """Raises at one call of a function, and counts all of them."""

    def __init__(self, place: str, monkeypatch: pytest.MonkeyPatch, error: Exception | None = None) -> None:
        owner, name = _PLACES[place]
        run = getattr(owner, name)
        self.calls, self.at = 0, -1

        def counted(*args: Any) -> Any:
            self.calls += 1
            if self.calls == self.at:
                raise error or torch.OutOfMemoryError("no memory")
            return run(*args)

        monkeypatch.setattr(owner, name, counted)

    def next(self, at: int) -> None:
        """Raise at the call ``at`` (>=1), counted from now."""
        self.calls, self.at = 0, at


@pytest.mark.parametrize("place", _PLACES)
@pytest.mark.parametrize("model", _MODELS)
def test_memory_that_runs_out_midway_changes_no_answer(
    model: str, place: str, serve_pipe: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    if (model, place) == ("llama", "source"):
        pytest.skip("it has no encoder")
    make, task = _MODELS[model]
    pipe = make(model)
    wanted = [(text, {"do_sample": False, **parameters}) for text, parameters in _WORKS]
    expected = [answer_alone(pipe, text, parameters) for text, parameters in wanted]
    failing = Failing(place, monkeypatch)
    total = 0
    for point in range(_POINTS + 1):
        served = serve_pipe(pipe, task, max_prefix_tokens=0)
        works = [Work(text, dict(parameters)) for text, parameters in wanted]
        failing.next(1 + total * (point - 1) // _POINTS if point else -1)
        assert _flood(served, works) == expected, failing.at
        total = total or failing.calls  # of the first run, in which nothing fails
        assert failing.calls >= failing.at


@pytest.mark.parametrize("place", ["take", "chosen", "draw"])
def test_streams_tell_each_token_once(place: str, serve_pipe: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = causal_pipeline("llama")
    text, parameters = _WORKS[1]
    failing = Failing(place, monkeypatch)
    for at in (1, 2, 3, 5):
        served, events = serve_pipe(pipe, "text-generation", max_prefix_tokens=0), []
        works = [Work(text, dict(parameters), emit=events.extend), Work("The dog", {"max_new_tokens": 3})]
        failing.next(at)
        outcomes = _flood(served, works)
        assert failing.calls > at
        steps = [event for event in events if isinstance(event, Step)]
        assert [step.index for step in steps] == list(range(1, 41))
        assert text + "".join(step.token.text for step in steps) == outcomes[0][0]["generated_text"]
        assert outcomes[0] == answer_alone(pipe, text, parameters)


def test_prompts_that_were_kept_stay_right(serve_pipe: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a failed step leaves behind is not taken for the beginning of a later prompt."""
    pipe = causal_pipeline("llama")
    texts = ["a " * 40, "b " * 40, "c " * 40]
    parameters = {"max_new_tokens": 40, "do_sample": False}
    served = serve_pipe(pipe, "text-generation")
    failing = Failing("chosen", monkeypatch, RuntimeError("not the memory"))
    failing.next(12)
    answers = _flood(served, [Work(text, dict(parameters)) for text in texts])
    assert len(served.turns._stepper.prefixes)
    assert answers == [answer_alone(pipe, text, parameters) for text in texts]
    assert served.ask(*[Work(answer[0]["generated_text"], dict(parameters)) for answer in answers]) == [
        answer_alone(pipe, answer[0]["generated_text"], parameters) for answer in answers
    ]


def test_requests_are_halved_until_the_one_at_fault_is_alone(serve_pipe: Any) -> None:
    """The others are not served one after the other: they run together again after a step that went well."""
    pipe = causal_pipeline("llama")
    served = serve_pipe(pipe, "text-generation")
    step, sizes = served.turns._stepper.step, Counter[int]()

    def poisoned() -> None:
        rows = served.turns._stepper.rows
        if any(row.prompt_length == 7 for row in rows):
            raise RuntimeError("secret")
        sizes[len(rows)] += 1
        step()

    served.turns._stepper.step = poisoned
    parameters = {"max_new_tokens": 12, "do_sample": False}
    texts = ["The dog", "Once upon a time", "x"] * 5 + ["1234567"]
    outcomes = _flood(served, [Work(text, dict(parameters)) for text in texts])
    assert type(outcomes.pop()) is InferenceError
    assert outcomes == [answer_alone(pipe, text, parameters) for text in texts[:-1]]
    assert sizes.total() < 6 * 12  # one after the other would take 16 x 11
