"""The tokens that each answer took: as the tokenizer and the local pipeline count them, whatever runs beside it."""

import sys
from collections.abc import Callable
from typing import Any

import pytest

from deployments.generation import end_tokens, new_tokens, prompt_matters, samples, settings
from deployments.payload import Usage
from deployments.work import Work
from tests.engine.causal import causal_pipeline
from tests.legacy import text_models
from tests.serve.parity_cases import PARITY_CASES
from tests.tiny import Case

BY_ID = {case.id: case for case in (*PARITY_CASES, *text_models.CASES)}
PROMPTS = ("The dog", "Once upon a time there was a river", "a " * 20)
_READERS = ("text-classification-bert", "token-classification-bert", "feature-extraction-bert")
_SEQ2SEQ = ("text2text-bart", "summarization-t5")
_SEVERAL = {"num_beams": 3, "num_return_sequences": 2, "max_new_tokens": 12, "do_sample": False}


def _usages(served: Any, requests: list[tuple[Any, dict[str, Any]]]) -> list[Usage]:
    """Of requests that the model runs as one batch; they have one set of parameters."""
    assert len({str(parameters) for _, parameters in requests}) == 1
    outcomes, chunks = served.runner.run_together([one for one, _ in requests], requests[0][1])
    assert not any(isinstance(outcome, Exception) for outcome in outcomes), outcomes
    works = dict.fromkeys(chunk.work for chunk in chunks)
    return [work.usage for work in works]


def _lengths(pipe: Any, texts: Any) -> list[int]:
    return [len(pipe.tokenizer(text)["input_ids"]) for text in texts]


@pytest.mark.parametrize("name", _READERS)
def test_tokens_read_are_those_of_the_text_without_padding(
    name: str, load_case: Callable[[Case], Any], serve_pipe: Any
) -> None:
    pipe, case = load_case(BY_ID[name]), BY_ID[name]
    served = serve_pipe(pipe, case.task)
    texts = ["I love it", "The river by the house was a great one for the dog", "Paris"]
    assert _usages(served, [(text, {}) for text in texts]) == [Usage(count) for count in _lengths(pipe, texts)]
    assert max(served.noted.batches) == 3


def test_pairs_count_both_texts(load_case: Callable[[Case], Any], serve_pipe: Any) -> None:
    pipe = load_case(BY_ID["text-classification-bert"])
    served = serve_pipe(pipe, "text-classification")
    pair = {"text": "I love it", "text_pair": "Paris is great"}
    (usage,) = _usages(served, [(pair, {})])
    assert usage == Usage(len(pipe.tokenizer(pair["text"], pair["text_pair"])["input_ids"]))


def test_every_row_of_a_request_counts(load_case: Callable[[Case], Any], serve_pipe: Any) -> None:
    pipe = load_case(BY_ID["zero-shot-classification-bert"])
    labels = ["dog", "river and house"]
    served = serve_pipe(pipe, "zero-shot-classification")
    (usage,) = _usages(served, [("I love it", {"candidate_labels": labels})])
    pairs = [pipe.tokenizer("I love it", f"This example is {label}.")["input_ids"] for label in labels]
    assert usage == Usage(sum(map(len, pairs)))


def test_images_are_not_counted_in_tokens(load_case: Callable[[Case], Any], serve_pipe: Any) -> None:
    case = next(case for case in PARITY_CASES if case.task == "image-classification")
    assert _usages(serve_pipe(load_case(case), case.task), [(case.inputs[0], {})]) == [None]


def _told(ids: list[int], end: int | None) -> tuple[int, str]:
    """What a text of these new tokens counts when ``end`` ends it."""
    return (ids.index(end) + 1, "eos_token") if end in ids else (len(ids), "length")


@pytest.mark.parametrize("parameters", [{"num_beams": 1}, {"num_beams": 2}])
def test_texts_of_whole_batches_count_up_to_their_own_end(parameters: dict[str, Any], serve_pipe: Any) -> None:
    pipe = causal_pipeline("mamba" if parameters["num_beams"] == 1 else "llama")
    greedy = {"max_new_tokens": 12, "do_sample": False, **parameters}
    whole = [pipe(prompt, return_tensors=True, **greedy)[0]["generated_token_ids"] for prompt in PROMPTS]
    lengths = _lengths(pipe, PROMPTS)
    new = [ids[length:] for ids, length in zip(whole, lengths, strict=True)]
    requests = [(prompt, greedy) for prompt in PROMPTS]
    served = serve_pipe(pipe, "text-generation")
    assert _usages(served, requests) == [Usage(length, 12, ("length",)) for length in lengths]
    if parameters["num_beams"] == 1:  # beams go other ways with another end
        end = new[0][3]
        expected = [_told(ids, end) for ids in new]
        assert expected[0][1] == "eos_token"
        assert _usages(served, [(prompt, {**greedy, "eos_token_id": end}) for prompt in PROMPTS]) == [
            Usage(length, count, (reason,)) for length, (count, reason) in zip(lengths, expected, strict=True)
        ]


def test_each_of_several_answers_counts_and_ends_for_itself(serve_pipe: Any) -> None:
    pipe = causal_pipeline("llama")
    padding = pipe.tokenizer.pad_token_id
    inputs = pipe.tokenizer("The dog", return_tensors="pt")
    length = inputs["input_ids"].shape[1]

    def beams(**more: Any) -> list[list[int]]:
        found: list[list[int]] = pipe.model.generate(**inputs, **_SEVERAL, **more)[:, length:].tolist()
        return found

    # another end leads the beams other ways: one that they do come to
    end = next(end for ids in beams() for end in ids if any(end in other for other in beams(eos_token_id=end)))
    asked = {**_SEVERAL, "eos_token_id": end, "pad_token_id": padding}
    several = beams(eos_token_id=end, pad_token_id=padding)
    expected = [_told([one for one in ids if one != padding], end) for ids in several]
    (usage,) = _usages(serve_pipe(pipe, "text-generation"), [("The dog", asked)])
    assert usage == Usage(length, sum(count for count, _ in expected), tuple(reason for _, reason in expected))
    assert "eos_token" in usage.finish


def test_stop_sequence_of_a_whole_batch_is_told(serve_pipe: Any) -> None:
    pipe = causal_pipeline("mamba")
    greedy = {"max_new_tokens": 20, "do_sample": False, "return_full_text": False}
    text = pipe("The dog", **greedy)[0]["generated_text"]
    stop = text[5:7]
    ids = pipe("The dog", stop_sequence=stop, return_tensors=True, max_new_tokens=20, do_sample=False)
    length = len(pipe.tokenizer("The dog")["input_ids"])
    expected = Usage(length, len(ids[0]["generated_token_ids"]) - length, ("stop_sequence",))
    assert expected.output_tokens < 20
    (usage,) = _usages(serve_pipe(pipe, "text-generation"), [("The dog", {**greedy, "stop": [stop]})])
    assert usage == expected


@pytest.mark.parametrize("name", _SEQ2SEQ)
def test_texts_from_text_count_without_the_token_that_starts_them(
    name: str, load_case: Callable[[Case], Any], serve_pipe: Any
) -> None:
    case = BY_ID[name]
    pipe = load_case(case)
    served = serve_pipe(pipe, case.task)
    greedy = {"max_new_tokens": 8, "num_beams": 1}
    if name == "summarization-t5":
        greedy["min_length"] = 0
    key = "generated" if case.task == "text2text-generation" else "summary"
    told, read = [], []
    for text in case.inputs:
        (record,) = pipe(text, return_tensors=True, **greedy)
        told.append(_told(record[f"{key}_token_ids"].tolist()[1:], pipe.model.generation_config.eos_token_id))
        read.append(len(pipe.tokenizer(pipe.prefix + text)["input_ids"]))
    works = [Work(text, dict(greedy)) for text in case.inputs]
    served.ask(*works)
    assert [work.usage for work in works] == [
        Usage(length, count, (reason,)) for length, (count, reason) in zip(read, told, strict=True)
    ]


@pytest.mark.parametrize("name", ["image-text-to-text-llava", "any-to-any-qwen2-audio"])
def test_prompts_with_media_count_what_stands_for_them(
    name: str, load_case: Callable[[Case], Any], serve_pipe: Any
) -> None:
    case = BY_ID[name]
    pipe = load_case(case)
    works = [Work(one, dict(case.always)) for one in case.inputs]
    serve_pipe(pipe, case.task).ask(*works)
    usages = [work.usage for work in works]
    chat = sys.modules[type(pipe).__module__].Chat
    prepared = [pipe.preprocess(chat(one) if isinstance(one, list) else one) for one in case.inputs]
    assert usages == [Usage(int(row["input_ids"].shape[1]), 8, ("length",)) for row in prepared]


def test_settings_in_force_are_those_that_generate_takes(load_case: Callable[[Case], Any]) -> None:
    """The defaults of the pipeline and of the model count, below those of the call."""
    pipe = causal_pipeline("llama")
    assert samples(pipe, {})  # as the pipeline does where nothing says otherwise
    assert not samples(pipe, {"do_sample": False})
    assert new_tokens(settings(pipe, {})) == 256
    assert new_tokens(settings(pipe, {"max_new_tokens": 7})) == 7
    pipe = load_case(BY_ID["summarization-t5"])
    assert prompt_matters(pipe, settings(pipe, {"encoder_no_repeat_ngram_size": 2}))
    assert end_tokens(settings(pipe, {})) == {2}
    pipe = load_case(BY_ID["image-text-to-text-llava"])
    assert new_tokens(settings(pipe, {"generate_kwargs": {"max_new_tokens": 9}})) == 9
    assert not settings(load_case(BY_ID["text-classification-bert"]), {})


def test_cap_holds_in_whole_batches_where_nobody_asked(serve_pipe: Any) -> None:
    served = serve_pipe(causal_pipeline("mamba"), "text-generation", max_new_tokens=5)
    (usage,) = _usages(served, [("The dog", {"do_sample": False})])
    assert (usage.output_tokens, usage.finish) == (5, ("length",))
