"""Prompts that begin as earlier ones did: what is known does not run again, and nobody sees it in an answer."""

from typing import Any

import pytest
import torch

from deployments.stepwise.prefixes import BLOCK
from deployments.work import Work
from tests.engine.causal import STEPPED, causal_pipeline
from tests.engine.company import answer_alone
from tests.engine.scarce import Scarce
from tests.engine.test_stepwise import GREEDY, _flood

SYSTEM = "You are a helpful assistant that answers in one sentence. "
ENDS = ("Who are you?", "Why is the sky blue, and why is it not green at noon?", "a")


def reused(served: Any, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Tokens that did not run, of each prefill."""
    found: list[int] = []
    monkeypatch.setattr(served.noted, "reused", found.append, raising=False)
    return found


def tokens(pipe: Any, text: str) -> int:
    return len(pipe.tokenizer(text)["input_ids"])


@pytest.mark.parametrize("name", STEPPED)
def test_answers_are_those_of_the_pipeline(name: str, serve_pipe: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = causal_pipeline(name)
    served = serve_pipe(pipe, "text-generation", check=True)
    skipped = reused(served, monkeypatch)
    (first,) = served.ask(Work(SYSTEM + ENDS[0], dict(GREEDY)))
    assert first == answer_alone(pipe, SYSTEM + ENDS[0], GREEDY)
    prompts = [SYSTEM + end for end in ENDS] + ["Another text that begins in its own way", "The"]
    assert _flood(served, [Work(prompt, dict(GREEDY)) for prompt in prompts]) == [
        answer_alone(pipe, prompt, GREEDY) for prompt in prompts
    ]
    assert sum(skipped) > 0


def test_a_chat_that_goes_on_runs_what_is_new_of_it(serve_pipe: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = causal_pipeline("llama")
    served = serve_pipe(pipe, "text-generation")
    skipped = reused(served, monkeypatch)
    wanted = {**GREEDY, "max_new_tokens": 40}
    (answer,) = served.ask(Work(SYSTEM, dict(wanted)))
    whole = answer[0]["generated_text"]
    assert skipped == [0]
    follow = whole + " And why?"
    assert pipe.tokenizer(follow)["input_ids"][: tokens(pipe, SYSTEM)] == pipe.tokenizer(SYSTEM)["input_ids"]
    (outcome,) = served.ask(Work(follow, dict(GREEDY)))
    assert outcome == answer_alone(pipe, follow, GREEDY)
    assert skipped[1] >= tokens(pipe, SYSTEM) // BLOCK * BLOCK  # and of the answer, what is cut into the same tokens


def test_the_same_prompt_again_runs_its_last_block_alone(serve_pipe: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = causal_pipeline("llama")
    served = serve_pipe(pipe, "text-generation")
    skipped = reused(served, monkeypatch)
    prompt = SYSTEM * 3
    outcomes = [served.ask(Work(prompt, dict(GREEDY)))[0] for _ in range(2)]
    assert outcomes == [answer_alone(pipe, prompt, GREEDY)] * 2
    assert skipped == [0, (tokens(pipe, prompt) - 1) // BLOCK * BLOCK]


@pytest.mark.parametrize("most", [0, BLOCK - 1, 2 * BLOCK])
def test_no_more_is_kept_than_allowed(most: int, serve_pipe: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    served = serve_pipe(causal_pipeline("llama"), "text-generation", max_prefix_tokens=most)
    skipped = reused(served, monkeypatch)
    for _ in range(2):
        served.ask(Work(SYSTEM * 3, dict(GREEDY)))
    assert len(served.turns._stepper.prefixes) == skipped[1] == most // BLOCK * BLOCK


def test_probabilities_of_the_prompt_are_told_of_all_of_it(serve_pipe: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    served = serve_pipe(causal_pipeline("llama"), "text-generation")
    skipped = reused(served, monkeypatch)
    wanted = {**GREEDY, "details": True, "decoder_input_details": True}
    first, second = (served.ask(Work(SYSTEM, dict(wanted)))[0] for _ in range(2))
    assert first == second
    assert skipped == [0, 0]


def test_memory_that_runs_out_ends_the_keeping_before_it_ends_a_request(
    serve_pipe: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe = causal_pipeline("llama")
    served = serve_pipe(pipe, "text-generation")
    served.ask(Work(SYSTEM, dict(GREEDY)))
    prefixes, step = served.turns._stepper.prefixes, served.turns._stepper.step

    def scarce() -> None:
        if len(prefixes):
            raise torch.OutOfMemoryError("no memory")
        step()

    monkeypatch.setattr(served.turns._stepper, "step", scarce)
    prompts = [SYSTEM + end for end in ENDS]
    outcomes = _flood(served, [Work(prompt, dict(GREEDY)) for prompt in prompts])
    assert outcomes == [answer_alone(pipe, prompt, GREEDY) for prompt in prompts]
    assert not len(prefixes)
    assert served.turns.ceiling is None


def test_a_scarce_device_serves_everybody(serve_pipe: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deployments.run.Turns", Scarce)
    pipe = causal_pipeline("llama")
    served = serve_pipe(pipe, "text-generation")
    prompts = [SYSTEM + end for end in ENDS * 3]
    outcomes = _flood(served, [Work(prompt, dict(GREEDY)) for prompt in prompts])
    assert outcomes == [answer_alone(pipe, prompt, GREEDY) for prompt in prompts]
