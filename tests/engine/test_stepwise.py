"""Text generation token by token: whoever comes and goes, each gets what the local pipeline gives alone."""

import random
import threading
from collections import Counter
from typing import Any

import pytest
import torch

from deployments.errors import InferenceError, InvalidInputError, InvalidParameterError, PayloadTooLargeError
from deployments.events import Started, Step
from deployments.work import Work
from tests.engine.causal import STEPPED, causal_pipeline
from tests.engine.company import answer_alone, each_gets_what_it_gets_alone
from tests.engine.scarce import Scarce

GREEDY = {"max_new_tokens": 12, "do_sample": False}
_PROMPTS = (
    "Once upon a time",
    "The dog",
    "a " * 60,
    "What is the capital of France? Paris is what I would say, but who knows",
    [{"role": "user", "content": "Who are you?"}],
    [{"role": "user", "content": "Say it"}, {"role": "assistant", "content": "It is"}],
)
_SETTINGS: tuple[dict[str, Any], ...] = (
    {},
    {"max_new_tokens": 30},
    {"max_new_tokens": 1},
    {"repetition_penalty": 1.4},
    {"no_repeat_ngram_size": 2, "max_new_tokens": 25},
    {"return_full_text": False, "min_new_tokens": 10},
    {"stop_sequence": ["e", "zq"]},
    {"bad_words_ids": [[70], [71, 72]]},
    {"max_length": 140, "max_new_tokens": None},
    {"num_return_sequences": 2, "do_sample": True, "top_k": 1, "max_new_tokens": 6},
    {"num_beams": 2},
    {"seed": 3, "do_sample": True, "temperature": 1.7},
    {"seed": 4, "do_sample": True, "top_k": 7, "top_p": 0.8, "typical_p": 0.9, "min_p": 0.01},
    {"eos_token_id": [80, 90, 100]},
)


@pytest.mark.parametrize("name", STEPPED)
def test_thirty_two_who_come_at_different_times_get_what_they_get_alone(name: str, serve_pipe: Any) -> None:
    pipe, chance = causal_pipeline(name), random.Random(name)
    calls = [(chance.choice(_PROMPTS), {**GREEDY, **_SETTINGS[index % len(_SETTINGS)]}) for index in range(32)]
    expected = [answer_alone(pipe, prompt, parameters) for prompt, parameters in calls]
    served = serve_pipe(pipe, "text-generation", check=True, max_items=7)
    each_gets_what_it_gets_alone(served, calls, expected, chance)


def _flood(served: Any, works: list[Work]) -> list[Any]:
    """All prepared before the first step."""
    release = served.hold("The", GREEDY)
    for work in works:
        served.engine.submit(work)
    served.prepared(len(works))
    release()
    return [done.outcome for done in served.answers.of(works)]


def test_seed_gives_the_same_in_company(serve_pipe: Any) -> None:
    pipe = causal_pipeline("llama")
    served = serve_pipe(pipe, "text-generation")
    wild = {"max_new_tokens": 20, "do_sample": True, "temperature": 2.0, "seed": 11}
    (alone,) = served.ask(Work("The dog", dict(wild)))
    others = [Work(f"{index} " * index, {**wild, "seed": index}) for index in range(1, 9)]
    outcomes = _flood(served, [*others[:4], Work("The dog", dict(wild)), *others[4:]])
    assert outcomes[4] == alone == answer_alone(pipe, "The dog", wild)
    (other,) = served.ask(Work("The dog", {**wild, "seed": 12}))
    assert other != alone


def test_samples_have_the_distribution_of_the_model(serve_pipe: Any) -> None:
    """400 draws of one token: within 5 standard deviations of their expectation for each of the likeliest."""
    pipe = causal_pipeline("llama")
    served = serve_pipe(pipe, "text-generation", max_items=32)
    parameters = {"max_new_tokens": 1, "do_sample": True, "temperature": 1.0, "details": True}
    outcomes = served.ask(*[Work("The dog", dict(parameters)) for _ in range(400)])
    drawn = Counter(outcome[0]["details"]["tokens"][0]["id"] for outcome in outcomes)
    seeds = {outcome[0]["details"]["seed"] for outcome in outcomes}
    assert len(seeds) == 400
    told = pipe.model.generate(
        **pipe.tokenizer("The dog", return_tensors="pt"),
        max_new_tokens=1,
        do_sample=True,
        top_k=0,
        output_scores=True,
        return_dict_in_generate=True,
    )
    probabilities = torch.softmax(told.scores[0][0], -1)
    for token in probabilities.topk(5).indices.tolist():
        expected = float(probabilities[token])
        bound = 5 * (400 * expected * (1 - expected)) ** 0.5
        assert abs(drawn[token] - 400 * expected) <= bound


def test_details_are_those_of_the_model(serve_pipe: Any) -> None:
    pipe = causal_pipeline("gpt-neox")
    asked = {"details": True, "decoder_input_details": True, "top_n_tokens": 3, "return_full_text": False}
    (outcome,) = serve_pipe(pipe, "text-generation").ask(Work("Once upon a time", {**GREEDY, **asked}))
    record = outcome[0]
    details = record["details"]
    assert details["finish_reason"] == "length"
    assert details["generated_tokens"] == 12
    assert details["seed"] is None
    assert "".join(token["text"] for token in details["tokens"]) == record["generated_text"]
    prompt = pipe.tokenizer("Once upon a time", return_tensors="pt").input_ids
    whole = torch.cat([prompt, torch.tensor([[token["id"] for token in details["tokens"]]])], 1)
    with torch.no_grad():
        logprobs = torch.log_softmax(pipe.model(whole).logits[0].float(), -1)
    expected = logprobs[:-1].gather(1, whole[0, 1:, None])[:, 0]
    length = prompt.shape[1]
    assert [part["id"] for part in details["prefill"]] == prompt[0].tolist()
    assert details["prefill"][0]["logprob"] is None
    told = [part["logprob"] for part in (*details["prefill"][1:], *details["tokens"])]
    assert told == pytest.approx(expected.tolist(), abs=1e-4)
    best = logprobs[length - 1].topk(3)
    assert [top["id"] for top in details["top_tokens"][0]] == best.indices.tolist()
    assert [top["logprob"] for top in details["top_tokens"][0]] == pytest.approx(best.values.tolist(), abs=1e-4)


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [({}, "length"), ({"stop": ["e"], "max_new_tokens": 100}, "stop_sequence"), ({"eos_token_id": 80}, None)],
)
def test_finish_reason(parameters: dict[str, Any], reason: str | None, serve_pipe: Any) -> None:
    served = serve_pipe(causal_pipeline("llama"), "text-generation")
    ids = {}
    if reason is None:  # an end token that does come
        (first,) = served.ask(Work("The dog", {**GREEDY, "details": True}))
        ids, reason = {"eos_token_id": first[0]["details"]["tokens"][4]["id"]}, "eos_token"
    (outcome,) = served.ask(Work("The dog", {**GREEDY, **parameters, **ids, "details": True}))
    assert outcome[0]["details"]["finish_reason"] == reason


def test_penalties_fall_on_what_was_generated_alone(serve_pipe: Any) -> None:
    served = serve_pipe(causal_pipeline("llama"), "text-generation")
    parameters = {"max_new_tokens": 40, "do_sample": False, "details": True}
    plain, lowered = served.ask(
        Work("The dog", dict(parameters)),
        Work("The dog", {**parameters, "frequency_penalty": 2, "presence_penalty": 2}),
    )
    kinds = [len({token["id"] for token in one[0]["details"]["tokens"]}) for one in (plain, lowered)]
    assert kinds[1] > kinds[0]
    assert plain[0]["details"]["tokens"][0] == lowered[0]["details"]["tokens"][0]


def test_truncate_keeps_the_end_of_the_prompt(serve_pipe: Any) -> None:
    pipe = causal_pipeline("llama")
    kept = pipe.tokenizer.decode(pipe.tokenizer("The dog of the house")["input_ids"][-3:])
    asked = {**GREEDY, "return_full_text": False}
    served = serve_pipe(pipe, "text-generation")
    assert served.ask(Work("The dog of the house", {**asked, "truncate": 3})) == [answer_alone(pipe, kept, asked)]


@pytest.mark.parametrize(
    ("parameters", "kind", "says"),
    [
        ({"best_of": 2}, InvalidParameterError, "`parameters.best_of`"),
        ({"watermark": True}, InvalidParameterError, "`parameters.watermark`"),
        ({"adapter_id": "x"}, InvalidParameterError, "`parameters.adapter_id`"),
        ({"seed": -1}, InvalidParameterError, "`parameters.seed` must be a whole number from 0"),
        ({"top_n_tokens": 99}, InvalidParameterError, "from 0 to 20"),
        ({"stop": [""]}, InvalidParameterError, "`parameters.stop`"),
        ({"decoder_input_details": True}, InvalidParameterError, "`details: true`"),
        ({"details": True, "num_beams": 3}, InvalidParameterError, "`num_beams`"),
        ({"temperature": -1.0, "do_sample": True}, InvalidParameterError, "temperature"),
        ({"max_new_tokens": 600}, InvalidParameterError, "600 new ones are asked for, 6"),
        ({"max_new_tokens": 51}, InvalidParameterError, "51 new tokens are asked for and at most 50"),
    ],
)
def test_refusals_name_what_to_change(
    parameters: dict[str, Any], kind: type[Exception], says: str, serve_pipe: Any
) -> None:
    bound = {"max_new_tokens": 50} if parameters.get("max_new_tokens") == 51 else {}
    served = serve_pipe(causal_pipeline("llama"), "text-generation", **bound)
    bad, good = served.ask(Work("The dog", {**GREEDY, **parameters}), Work("The dog", dict(GREEDY)))
    assert type(bad) is kind
    assert says in str(bad)
    assert "model_kwargs" not in str(bad)
    assert isinstance(good, list)


def test_prompt_that_fills_the_context_is_refused_with_both_numbers(serve_pipe: Any) -> None:
    served = serve_pipe(causal_pipeline("llama"), "text-generation")
    (bad,) = served.ask(Work("a b " * 300, {"do_sample": False}))
    assert type(bad) is InvalidInputError
    assert "has 601 tokens" in str(bad)
    assert "512" in str(bad)
    chat = [{"role": "user", "content": "a b " * 300}]
    told = len(served.runner.pipe.tokenizer.apply_chat_template(chat, add_generation_prompt=True)["input_ids"])
    for given, more, count in ((chat, {}, told), ("a b " * 300, {"num_beams": 2}, 601)):
        (bad,) = served.ask(Work(given, {"do_sample": False, **more}))
        assert type(bad) is InvalidInputError
        assert f"has {count} tokens and this model's context is 512" in str(bad)
    (more,) = served.ask(Work("a b " * 250, {"num_beams": 2, "max_new_tokens": 100}))
    assert type(more) is InvalidParameterError
    assert "601 in all" in str(more)
    (answer,) = served.ask(Work("a b " * 210, {"do_sample": False, "details": True}))  # nobody asked for 256 tokens
    assert answer[0]["details"]["generated_tokens"] == 512 - 421


def test_text_without_choice_fails_alone(serve_pipe: Any) -> None:
    """All tokens but one are forbidden, and that one after it came once."""
    pipe = causal_pipeline("llama")
    everything = list(range(len(pipe.tokenizer)))
    served = serve_pipe(pipe, "text-generation")
    bad = Work("The dog", {"do_sample": True, "max_new_tokens": 5, "suppress_tokens": everything})
    good = [Work(prompt, dict(GREEDY)) for prompt in ("The dog", "Once upon a time")]
    outcomes = _flood(served, [good[0], bad, good[1]])
    assert type(outcomes[1]) is InvalidParameterError
    assert "no token has a probability" in str(outcomes[1])
    assert outcomes[::2] == [answer_alone(pipe, work.inputs, GREEDY) for work in good]


def test_caller_who_left_frees_the_row_at_the_next_step(serve_pipe: Any) -> None:
    pipe = causal_pipeline("llama")
    served = serve_pipe(pipe, "text-generation")
    seen, events = threading.Event(), []

    def emit(some: list[Any]) -> None:
        events.extend(some)
        if any(isinstance(event, Step) for event in events):
            seen.set()

    gone = Work("The dog", {"max_new_tokens": 500, "do_sample": False}, emit=emit)
    served.engine.submit(gone)
    assert seen.wait(60)
    turns, rows = served.turns, []
    step = turns._stepper.step

    def counted() -> None:
        rows.append((gone.abandoned, len(turns._stepper.rows)))
        step()

    turns._stepper.step = counted
    gone.abandoned = True
    (answer,) = served.ask(Work("The dog", dict(GREEDY)))
    assert answer == answer_alone(pipe, "The dog", GREEDY)
    assert sum(left and count > 1 for left, count in rows) <= 1
    assert served.engine.generating == 0


def test_out_of_memory_puts_the_newest_back_and_nobody_notices(
    serve_pipe: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deployments.run.Turns", Scarce)
    pipe = causal_pipeline("llama")
    served = serve_pipe(pipe, "text-generation")
    wild = {"max_new_tokens": 20, "do_sample": True, "temperature": 2.0}
    works = [Work("The dog", {**wild, "seed": index}) for index in range(8)]
    assert _flood(served, works) == [answer_alone(pipe, "The dog", {**wild, "seed": index}) for index in range(8)]
    assert served.noted.ceilings
    assert served.turns.ceiling == served.noted.ceilings[-1]


def test_out_of_memory_alone_is_told(serve_pipe: Any) -> None:
    served = serve_pipe(causal_pipeline("llama"), "text-generation")

    def scarce(*_: Any) -> None:
        raise torch.OutOfMemoryError("no memory")

    served.turns._stepper.prefill = scarce
    (outcome,) = served.ask(Work("The dog", dict(GREEDY)))
    assert type(outcome) is PayloadTooLargeError


def test_step_that_fails_is_the_fault_of_one(serve_pipe: Any) -> None:
    pipe = causal_pipeline("llama")
    served = serve_pipe(pipe, "text-generation")
    step = served.turns._stepper.step

    def poisoned() -> None:
        if any(row.prompt_length == 7 for row in served.turns._stepper.rows):
            raise RuntimeError("secret")
        step()

    served.turns._stepper.step = poisoned
    prompts = ["Once upon a time", "1234567", "The"]
    assert len(pipe.tokenizer("1234567")["input_ids"]) == 7
    outcomes = _flood(served, [Work(prompt, dict(GREEDY)) for prompt in prompts])
    assert [outcomes[0], outcomes[2]] == [answer_alone(pipe, prompt, GREEDY) for prompt in prompts[::2]]
    assert type(outcomes[1]) is InferenceError
    assert "secret" not in str(outcomes[1])


def test_long_prompt_runs_in_pieces_beside_the_others(serve_pipe: Any) -> None:
    pipe = causal_pipeline("llama")
    served = serve_pipe(pipe, "text-generation")
    served.turns._prompt_tokens = 16
    outcomes = _flood(served, [Work("The dog", {**GREEDY, "max_new_tokens": 30}), Work("a " * 150, dict(GREEDY))])
    assert outcomes[1] == answer_alone(pipe, "a " * 150, GREEDY)
    assert outcomes[0] == answer_alone(pipe, "The dog", {**GREEDY, "max_new_tokens": 30})


def test_rows_stay_within_the_budget(serve_pipe: Any) -> None:
    served = serve_pipe(causal_pipeline("llama"), "text-generation", max_padded_tokens=100)
    works = [Work("The dog", {"max_new_tokens": 28, "do_sample": False}) for _ in range(9)]
    assert len(set(map(str, _flood(served, works)))) == 1
    assert max(served.noted.batches) == 3  # 30 tokens each at their end


@pytest.mark.parametrize("prompt", _PROMPTS)
@pytest.mark.parametrize("full", [True, False])
def test_streamed_pieces_are_the_text(prompt: Any, full: bool, serve_pipe: Any) -> None:
    pipe, events = causal_pipeline("llama"), []
    served = serve_pipe(pipe, "text-generation")
    parameters = {"max_new_tokens": 30, "do_sample": False, "return_full_text": full}
    served.ask(Work(prompt, dict(parameters), emit=events.extend))
    started, *steps = events
    assert isinstance(started, Started)
    assert [step.index for step in steps] == list(range(1, 31))
    assert [step.finish is not None for step in steps] == [False] * 29 + [True]
    finish = steps[-1].finish
    assert finish.output == answer_alone(pipe, prompt, parameters)
    assert "".join(step.token.text for step in steps) == finish.text
    assert finish.text == answer_alone(pipe, prompt, {**parameters, "return_full_text": False})[0]["generated_text"]


def test_pieces_never_hold_half_a_character(serve_pipe: Any) -> None:
    """With every token allowed, a byte-level model of noise writes half characters in plenty."""
    pipe, events = causal_pipeline("gpt2"), []
    served = serve_pipe(pipe, "text-generation")
    parameters = {"max_new_tokens": 200, "do_sample": True, "seed": 5, "suppress_tokens": [], "temperature": 5.0}
    served.ask(Work("The", parameters, emit=events.extend))
    pieces = [event.token.text for event in events if isinstance(event, Step)]
    assert "".join(pieces) == events[-1].finish.text
    assert not any(piece.endswith("\ufffd") for piece in pieces[:-1])
    assert "" in pieces


def test_model_with_a_state_of_its_own_generates_in_batches(serve_pipe: Any) -> None:
    pipe = causal_pipeline("mamba")
    served = serve_pipe(pipe, "text-generation", check=True)
    assert served.runner.info()["batching"]["generation"] == "batches"
    assert "cache" in served.runner.info()["batching"]["generation_reason"]
    plain, seeded = served.ask(Work("The dog", dict(GREEDY)), Work("The dog", {**GREEDY, "seed": 1}))
    assert plain == answer_alone(pipe, "The dog", GREEDY)
    assert type(seeded) is InvalidParameterError
    assert "`parameters.seed`" in str(seeded)


def test_check_at_start_finds_a_model_that_minds_its_neighbours(serve_pipe: Any, monkeypatch: Any) -> None:
    """A model that ignores the mask."""
    pipe = causal_pipeline("qwen2")
    prepare = type(pipe.model).prepare_inputs_for_generation

    def careless(self: Any, *args: Any, **kwargs: Any) -> Any:
        return {name: value for name, value in prepare(self, *args, **kwargs).items() if name != "attention_mask"}

    monkeypatch.setattr(type(pipe.model), "prepare_inputs_for_generation", careless)
    batching = serve_pipe(pipe, "text-generation", check=True).runner.info()["batching"]
    assert batching["generation"] == "batches"
    assert "log-probabilities" in batching["generation_reason"]
