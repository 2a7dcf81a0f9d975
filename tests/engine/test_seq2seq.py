"""Encoder-decoder models token by token: whoever comes and goes, each gets what the local pipeline gives alone."""

import random
from typing import Any

import pytest
import torch

from deployments.errors import InvalidParameterError
from deployments.events import Started, Step
from deployments.work import Work
from tests.engine.company import answer_alone, each_gets_what_it_gets_alone
from tests.engine.seq2seq import STEPPED, seq2seq_pipeline

_TASK = "text2text-generation"
_TEXTS = ("Once upon a time", "The dog", "a " * 60, "What is the capital of France? Who knows", "x")
_SETTINGS: tuple[dict[str, Any], ...] = (
    {},
    {"max_new_tokens": 30},
    {"max_new_tokens": 1},
    {"repetition_penalty": 1.4},
    {"no_repeat_ngram_size": 2, "max_new_tokens": 25},
    {"encoder_no_repeat_ngram_size": 2},
    {"min_new_tokens": 10, "max_length": 20, "max_new_tokens": None},
    {"num_return_sequences": 2, "do_sample": True, "top_k": 1, "max_new_tokens": 6},
    {"num_beams": 2},
    {"seed": 3, "do_sample": True, "temperature": 1.7},
    {"seed": 4, "do_sample": True, "top_k": 7, "top_p": 0.8},
    {"eos_token_id": [80, 90, 100]},
    {"forced_bos_token_id": 75},
)
GREEDY = {"max_new_tokens": 12, "do_sample": False}


@pytest.mark.parametrize("name", STEPPED)
def test_thirty_two_who_come_at_different_times_get_what_they_get_alone(name: str, serve_pipe: Any) -> None:
    pipe, chance = seq2seq_pipeline(name), random.Random(name)
    calls = [(chance.choice(_TEXTS), {**GREEDY, **_SETTINGS[index % len(_SETTINGS)]}) for index in range(32)]
    expected = [answer_alone(pipe, text, parameters) for text, parameters in calls]
    assert len({str(answer) for answer in expected}) > 16
    served = serve_pipe(pipe, _TASK, check=True, max_items=7)
    each_gets_what_it_gets_alone(served, calls, expected, chance)
    table = getattr(pipe.model.get_decoder(), "embed_positions", None)
    assert table is None or "forward" not in vars(table)  # another's only while a step runs


def test_model_that_steps_otherwise_generates_in_batches(serve_pipe: Any) -> None:
    pipe = seq2seq_pipeline("prophetnet")
    served = serve_pipe(pipe, _TASK, check=True)
    assert served.runner.info()["batching"]["generation"] == "batches"
    works = [Work(text, dict(GREEDY)) for text in _TEXTS]
    assert served.ask(*works) == [answer_alone(pipe, text, GREEDY) for text in _TEXTS]


def test_details_and_usage(serve_pipe: Any) -> None:
    pipe = seq2seq_pipeline("marian", "translation")
    asked = {**GREEDY, "details": True, "top_n_tokens": 2, "seed": 5}
    work = Work("The dog", dict(asked))
    (outcome,) = serve_pipe(pipe, "translation").ask(work)
    record = outcome[0]
    details = record.pop("details")
    assert [record] == pipe("The dog", **GREEDY)
    assert "".join(token["text"] for token in details["tokens"]) == record["translation_text"]
    assert details["prefill"] == []
    length = len(pipe.tokenizer("The dog")["input_ids"])
    assert work.usage.input_tokens == length
    assert work.usage.output_tokens == details["generated_tokens"] == 12
    encoded = pipe.tokenizer("The dog", return_tensors="pt")
    told = pipe.model.generate(**encoded, **GREEDY, output_logits=True, return_dict_in_generate=True)
    expected = [
        float(torch.log_softmax(logits[0], -1)[token])
        for logits, token in zip(told.logits, told.sequences[0, 1:].tolist(), strict=True)
    ]
    assert [token["logprob"] for token in details["tokens"]] == pytest.approx(expected, abs=1e-4)


def test_streamed_pieces_are_the_text(serve_pipe: Any) -> None:
    pipe, events = seq2seq_pipeline("t5"), []
    served = serve_pipe(pipe, _TASK)
    served.ask(Work("The dog", {"max_new_tokens": 30}, emit=events.extend))
    started, *steps = events
    assert isinstance(started, Started)
    assert started.input_length == len(pipe.tokenizer("The dog")["input_ids"])
    assert all(isinstance(step, Step) for step in steps)
    (answer,) = pipe("The dog", max_new_tokens=30)
    assert "".join(step.token.text for step in steps) == answer["generated_text"]
    assert steps[-1].finish.text == answer["generated_text"]


def test_stream_of_a_model_that_generates_in_batches(serve_pipe: Any) -> None:
    pipe, events = seq2seq_pipeline("prophetnet"), []
    served = serve_pipe(pipe, _TASK, check=True)
    served.ask(Work("The dog", {"max_new_tokens": 10}, emit=events.extend))
    (answer,) = pipe("The dog", max_new_tokens=10)
    assert "".join(event.token.text for event in events[1:]) == answer["generated_text"]


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"details": True, "num_beams": 2}, "`num_beams`"),
        ({"max_new_tokens": 51}, "51 new tokens are asked for and at most 50"),
        ({"max_new_tokens": 51, "num_beams": 2}, "51 new tokens are asked for and at most 50"),
    ],
)
def test_refusals_name_what_to_change(parameters: dict[str, Any], says: str, serve_pipe: Any) -> None:
    served = serve_pipe(seq2seq_pipeline("bart"), _TASK, max_new_tokens=50)
    bad, good = served.ask(Work("The dog", {**GREEDY, **parameters}), Work("The dog", dict(GREEDY)))
    assert type(bad) is InvalidParameterError
    assert says in str(bad)
    assert isinstance(good, list)


def test_texts_that_encoders_read_take_room(serve_pipe: Any) -> None:
    """Rows x the longest, with the text that is read, stay within the budget."""
    served = serve_pipe(seq2seq_pipeline("t5"), _TASK, max_padded_tokens=100)
    length = len(served.runner.pipe.tokenizer("The dog")["input_ids"])
    works = [Work("The dog", {"max_new_tokens": 32 - length, "do_sample": False}) for _ in range(9)]
    assert len(set(map(str, served.ask(*works)))) == 1
    assert max(served.noted.batches) == 3  # 33 tokens each at their end
