"""Texts at which an answer ends: found where upstream finds them, and quickly."""

import random
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models
from transformers import PreTrainedTokenizerFast
from transformers.generation.stopping_criteria import StopStringCriteria

from deployments.errors import InvalidParameterError
from deployments.stepwise.stops import StopTexts, TokenTexts
from deployments.work import Work
from tests.engine.causal import causal_pipeline
from tests.engine.company import answer_alone
from tests.engine.test_stepwise import GREEDY
from tests.tiny import tokenizers


def _pieces() -> PreTrainedTokenizerFast:
    """As SentencePiece has them, with bytes for what is no piece."""
    words = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), "\u2581", "\u2581the", "the", "e", "he", "\u2581e"]
    letters = [letter for letter in "abcdfghijklmnopqrstuvwxyz" if letter not in words]
    scores = [(word, -float(index % 7)) for index, word in enumerate([*words, *letters])]
    made = Tokenizer(models.Unigram(scores, unk_id=0, byte_fallback=True))
    replaced = decoders.Replace("\u2581", " ")
    made.decoder = decoders.Sequence([replaced, decoders.ByteFallback(), decoders.Fuse()])
    return PreTrainedTokenizerFast(tokenizer_object=made, unk_token="<unk>")


_KINDS = {"bytes": tokenizers.chat, "words": tokenizers.wordpiece, "pieces": _pieces}
_STOPS = (["e"], ["the", " e"], ["ab", "é", "zz"], ["tt", "a" * 7])


@pytest.mark.parametrize("stops", _STOPS, ids=str)
@pytest.mark.parametrize("kind", _KINDS)
def test_sequences_end_where_upstream_ends_them(kind: str, stops: list[str]) -> None:
    tokenizer, chance = _KINDS[kind](), random.Random(7)
    try:
        theirs = StopStringCriteria(tokenizer, stops)
    except ValueError:
        pytest.skip("upstream refuses texts that no token fits into")
    mine = StopTexts(TokenTexts(tokenizer), stops)
    fitting = [one for one in range(len(tokenizer)) if set("éthezab ") & set(tokenizer.decode(one))]
    parts = [tokenizer(stop, add_special_tokens=False)["input_ids"] for stop in stops]
    rows = []
    for _ in range(400):
        row = [chance.choice(fitting) for _ in range(12)]
        part, begin = chance.choice(parts), chance.randrange(10)
        row[begin : begin + len(part)] = part
        rows.append(row[:12])
    ids = torch.tensor(rows)
    ids[::5, 3] = len(tokenizer) + 1  # none of the vocabulary
    found = 0
    for width in range(1, 13):
        told = theirs(ids[:, :width], None)
        assert torch.equal(mine(ids[:, :width], None), told)
        found += int(told.sum())
    assert 0 < found < 12 * 400


@pytest.mark.parametrize("more", [{}, {"num_beams": 2}], ids=["steps", "whole"])
def test_stop_does_not_begin_in_the_prompt(more: dict[str, Any], serve_pipe: Any) -> None:
    """That of upstream's parameters does."""
    pipe = causal_pipeline("llama")
    asked = {**GREEDY, **more, "return_full_text": False}
    (plain,) = pipe("The dog", **asked)
    text = plain["generated_text"]
    first = next(index for index in range(1, len(text)) if text[0] not in text[1:index])
    stop = "g" + text[:first]
    served = serve_pipe(pipe, "text-generation")
    own, theirs = served.ask(
        Work("The dog", {**asked, "stop": [stop]}), Work("The dog", {**asked, "stop_sequence": [stop]})
    )
    assert own == [plain]
    assert theirs == answer_alone(pipe, "The dog", {**asked, "stop_sequence": [stop]})
    assert len(theirs[0]["generated_text"]) < len(text)
    inside = text[2:4]
    own, theirs = served.ask(
        Work("The dog", {**asked, "stop": [inside]}), Work("The dog", {**asked, "stop_sequence": [inside]})
    )
    assert own == theirs == answer_alone(pipe, "The dog", {**asked, "stop_sequence": [inside]})


@pytest.mark.parametrize("name", ["stop", "stop_sequence", "stop_strings"])
@pytest.mark.parametrize("more", [{}, {"num_beams": 2}], ids=["steps", "whole"])
def test_no_table_is_made_for_them(
    name: str, more: dict[str, Any], serve_pipe: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def made(*_: Any) -> None:
        raise AssertionError("its cost is the vocabulary times the length of the texts")

    monkeypatch.setattr(StopStringCriteria, "clean_and_embed_tokens_with_cache", made)
    pipe = causal_pipeline("llama")
    served = serve_pipe(pipe, "text-generation")
    (answer,) = served.ask(Work("The dog", {**GREEDY, **more, name: [f"{index:02d}" * 128 for index in range(16)]}))
    assert answer == answer_alone(pipe, "The dog", {**GREEDY, **more})


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize(
    ("name", "value", "token"),
    [
        ("forced_eos_token_id", 1_000_000, 1_000_000),
        ("forced_bos_token_id", 1_000_000, 1_000_000),
        ("eos_token_id", [3, 1_000_000], 1_000_000),
        ("pad_token_id", -1, -1),
        ("bad_words_ids", [[3], [4, 1_000_000]], 1_000_000),
        ("sequence_bias", [[[3, 1_000_000], -5.0]], 1_000_000),
        ("suppress_tokens", [1_000_000], 1_000_000),
        ("begin_suppress_tokens", [1_000_000], 1_000_000),
    ],
)
def test_tokens_that_the_model_has_not_are_refused(
    name: str, value: Any, token: int, whole: bool, serve_pipe: Any
) -> None:
    pipe = causal_pipeline("llama")
    more = {**GREEDY, **({"num_beams": 2} if whole else {})}
    bad, good = serve_pipe(pipe, "text-generation").ask(
        Work("The dog", {**more, name: value}), Work("The dog", dict(more))
    )
    assert type(bad) is InvalidParameterError
    assert bad.field == f"parameters.{name}"
    assert f"`parameters.{name}` has token {token}" in str(bad)
    assert good == answer_alone(pipe, "The dog", more)
