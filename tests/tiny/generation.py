"""Tiny models that answer to text: generation, questions about tables, decisions; and how all of them generate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import (
    GenerationConfig,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerBase,
    TapasConfig,
    TapasForQuestionAnswering,
    TapasTokenizer,
)

from . import tokenizers
from .common import Case, save, seeded
from .text import SENTENCES, SMALL

GREEDY = {"max_new_tokens": 8, "do_sample": False}


def greedy_config(tokenizer: PreTrainedTokenizerBase, **options: Any) -> GenerationConfig:
    """Greedy generation of readable characters only."""
    return GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        suppress_tokens=tokenizers.unprintable(tokenizer),
        **options,
    )


def _llama(directory: Path) -> None:
    tokenizer = tokenizers.chat()
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        **SMALL | {"max_position_embeddings": 512},
        num_key_value_heads=2,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = seeded(lambda: LlamaForCausalLM(config), gain=1.5)
    model.generation_config = greedy_config(tokenizer)
    save(directory, model, tokenizer)


def _gpt2(directory: Path) -> None:
    tokenizer = tokenizers.gpt2()
    end = tokenizer.eos_token_id
    config = GPT2Config(
        vocab_size=len(tokenizer),
        n_positions=256,
        n_embd=32,
        n_layer=2,
        n_head=4,
        bos_token_id=end,
        eos_token_id=end,
        tie_word_embeddings=False,
    )
    model = seeded(lambda: GPT2LMHeadModel(config), gain=1.5)
    model.generation_config = greedy_config(tokenizer)
    save(directory, model, tokenizer)


def _tapas(directory: Path) -> None:
    tokens = tokenizers.wordpiece_tokens()
    config = TapasConfig(
        vocab_size=len(tokens),
        **SMALL,
        num_aggregation_labels=4,
        aggregation_labels={0: "NONE", 1: "SUM", 2: "AVERAGE", 3: "COUNT"},
        select_one_column=True,  # False raises at inference in transformers 5.23
        no_aggregation_label_index=0,
    )
    words = directory / "vocab.txt"
    words.write_text("\n".join(tokens) + "\n", encoding="utf-8")
    model = seeded(lambda: TapasForQuestionAnswering(config), gain=3.0)
    with torch.no_grad():
        model.output_bias.fill_(0.5)  # so that cells are selected
    save(directory, model, TapasTokenizer(str(words), model_max_length=128))


def _tables() -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Three questions about three tables; fresh, as the pipeline turns the tables into data frames in place."""
    cities = {"City": ["Paris", "London", "Berlin"], "People": ["2100000", "8800000", "3700000"]}
    films = {"Film": ["Good dog", "Bad cat"], "Year": ["1999", "2011"], "Stars": ["4", "2"]}
    return (
        {"table": cities, "query": "How many people live in Paris?"},
        {"table": films, "query": ["What year?", "How many stars?", "And the other?"]},
        {"table": {**cities, "River": ["Seine", "Thames", "Spree"]}, "query": "Which river is it in London"},
    )


def _requests() -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Three decision requests: one question, several kinds of question, another state."""
    spam = {"type": "noul", "instructions": "Is this spam?"}
    tone = {"type": "choice", "instructions": "What is the tone?", "criteria": {"calm": "polite", "pushy": None}}
    urgency = {"type": "score", "instructions": "How urgent?", "criteria": ["can wait", "this week", "today"]}
    return (
        {"state": "WIN a free phone, click here!", "questions": {"spam": spam}},
        {"state": "I was charged twice and want a refund.", "questions": {"tone": tone, "urgency": urgency}},
        {"state": {"message": "See you"}, "questions": {"spam": spam, "tone": tone}},
    )


def _prompts() -> tuple[str, str, list[dict[str, str]]]:
    """A short prompt, a longer one and a chat."""
    chat = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "What is the capital of France?"}]
    return "Once upon a time", "The dog of the house by the river was great, and so", chat


CASES = (
    Case("text-generation-llama", "text-generation", _llama, _prompts, {"return_full_text": False}, always=GREEDY),
    Case(
        "text-generation-gpt2",
        "text-generation",
        _gpt2,
        lambda: SENTENCES,
        {"max_new_tokens": 3},
        always=GREEDY,
        batchable=False,
    ),
    Case(
        "table-question-answering-tapas",
        "table-question-answering",
        _tapas,
        _tables,
        {"sequential": True},
        requires=("pandas",),
        batchable=False,
    ),
    Case("decision-llama", "decision", _llama, _requests, {}, batchable=False),
)
