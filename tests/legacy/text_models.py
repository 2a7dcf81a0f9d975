"""Tiny seeded models of the text tasks that transformers 5 removed, and the calls asked of transformers 4.57.

    python -m tests.legacy.text_models DIR     builds the checkpoints and calls.json there (this environment)
    PY4 tests/legacy/record_text.py DIR        answers them, with an interpreter that has transformers 4.57

``CASES`` is the record of ``tests.tiny``: question answering, summarization, translation, text to text.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    BertConfig,
    BertForQuestionAnswering,
    MBartConfig,
    MBartForConditionalGeneration,
    MBartTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    RobertaForQuestionAnswering,
    T5Config,
    T5ForConditionalGeneration,
)

from tests.tiny import Case, checkpoint, tokenizers
from tests.tiny.common import save, seeded
from tests.tiny.text import BART, SENTENCES, SMALL, roberta_config

CONTEXT = (
    "Paris is the capital of France. My dog and my cat live in a red house by the river, and the total of the "
    "invoice was less than 42. London is a great city for food, music and sport! "
)
QUESTION = "What is the capital of France?"
GREEDY = {"max_new_tokens": 8, "num_beams": 1}
PREFIXES = {
    "summarization": {"prefix": "summarize: ", "num_beams": 2, "min_length": 3},
    "translation_en_to_de": {"prefix": "translate English to German: "},
    "translation_en_to_fr": {"prefix": "translate English to French: ", "num_beams": 3},
}


def _qa_bert(directory: Path) -> None:
    tokenizer = tokenizers.wordpiece()
    config = BertConfig(vocab_size=len(tokenizer), **SMALL)
    save(directory, seeded(lambda: BertForQuestionAnswering(config), gain=2.0), tokenizer)


def _qa_roberta(directory: Path) -> None:
    tokenizer = tokenizers.roberta()
    save(directory, seeded(lambda: RobertaForQuestionAnswering(roberta_config(tokenizer)), gain=2.0), tokenizer)


def _save_readable(directory: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Save; the model writes only printable ASCII."""
    model.generation_config.suppress_tokens = tokenizers.unprintable(tokenizer)
    save(directory, model, tokenizer)


def _bart(seed: int) -> Callable[[Path], None]:
    def build(directory: Path) -> None:
        tokenizer = tokenizers.roberta(model_max_length=256)
        config = BartConfig(vocab_size=len(tokenizer), **BART)
        _save_readable(directory, seeded(lambda: BartForConditionalGeneration(config), seed, 2.0), tokenizer)

    return build


def _t5(directory: Path) -> None:
    tokenizer = tokenizers.roberta(model_max_length=256)
    sizes = {"d_model": 32, "d_ff": 64, "d_kv": 8, "num_layers": 2, "num_heads": 4}
    special = {"pad_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1}
    config = T5Config(vocab_size=len(tokenizer), **sizes, **special, task_specific_params=PREFIXES)
    _save_readable(directory, seeded(lambda: T5ForConditionalGeneration(config), 1, 2.0), tokenizer)


def _mbart(directory: Path) -> None:
    letters = ["▁", *(chr(code) for code in range(33, 127))]
    vocab = [(token, 0.0) for token in ("<s>", "<pad>", "</s>", "<unk>")] + [(letter, -1.0) for letter in letters]
    tokenizer = MBartTokenizer(vocab=vocab, src_lang="en_XX", tgt_lang="fr_XX", model_max_length=256)
    config = MBartConfig(vocab_size=len(tokenizer), **BART)
    _save_readable(directory, seeded(lambda: MBartForConditionalGeneration(config), 8, 2.0), tokenizer)


def _questions() -> tuple[Any, Any, Any]:
    return (
        {"question": QUESTION, "context": "Paris is the capital of France."},
        {"question": "Where is my dog", "context": CONTEXT},
        {"question": "How much was it?", "context": CONTEXT * 3},  # several windows
    )


def _texts() -> tuple[str, str, str]:
    return SENTENCES


_FR = {**GREEDY, "src_lang": "en_XX", "tgt_lang": "fr_XX"}
CASES: tuple[Case, ...] = (
    Case("qa-bert", "question-answering", _qa_bert, _questions, {"top_k": 3}),
    Case("qa-roberta", "question-answering", _qa_roberta, _questions, {"max_answer_len": 2}),
    Case("summarization-bart-text", "summarization", _bart(0), _texts, {"num_beams": 3}, GREEDY),
    Case("summarization-t5", "summarization", _t5, _texts, {"max_new_tokens": 4}, GREEDY),
    Case("translation-t5-text", "translation_en_to_fr", _t5, _texts, {"num_beams": 3}, GREEDY),
    Case("translation-mbart", "translation", _mbart, _texts, {"tgt_lang": "de_DE"}, _FR),
    Case("text2text-bart", "text2text-generation", _bart(3), _texts, {"return_tensors": True}, GREEDY),
)

_TWO = {"num_beams": 2, "num_return_sequences": 2, "max_new_tokens": 5}
_ASKED = {"question": QUESTION, "context": CONTEXT}
_LONG = {"question": "Where is my dog", "context": CONTEXT * 5}
_SMALL_WINDOWS = {"max_seq_len": 48, "doc_stride": 12}
# case, task when it is another than the case's, positional arguments, keyword arguments
_MORE: tuple[tuple[str, str, list[Any], dict[str, Any]], ...] = (
    ("qa-bert", "", [QUESTION, CONTEXT], {}),
    ("qa-bert", "", [[_ASKED, _LONG]], {}),
    ("qa-bert", "", [_ASKED, _LONG], {"top_k": 2}),
    ("qa-bert", "", [], {**_LONG, **_SMALL_WINDOWS, "top_k": 3}),
    ("qa-bert", "", [], {**_LONG, **_SMALL_WINDOWS, "top_k": 3, "padding": "max_length"}),
    ("qa-bert", "", [], {**_LONG, **_SMALL_WINDOWS, "top_k": 4, "align_to_words": False}),
    ("qa-bert", "", [], {**_LONG, "handle_impossible_answer": True, "top_k": 200}),
    ("qa-bert", "", [], {**_ASKED, "max_answer_len": 1, "topk": 3}),
    ("qa-bert", "", [], {"question": [QUESTION, "Who is she?"], "context": CONTEXT}),
    ("qa-bert", "", [], {"question": [QUESTION, "Who is she?"], "context": [CONTEXT, "She is my cat"], "top_k": 2}),
    ("qa-bert", "", [], {"question": [QUESTION], "context": [CONTEXT]}),
    ("qa-bert", "", [], {"question": "who", "context": "I", "top_k": 20}),
    ("qa-roberta", "", [], {**_LONG, "top_k": 3, "max_question_len": 4}),
    ("qa-roberta", "", [], {**_LONG, "top_k": 3, "align_to_words": False}),
    ("qa-roberta", "", [], {**_ASKED, "handle_impossible_answer": True, "top_k": 5}),
    ("summarization-t5", "", [SENTENCES[1]], {"max_new_tokens": 12}),
    ("summarization-t5", "", [list(SENTENCES)], {"max_new_tokens": 5}),
    ("summarization-t5", "translation", [SENTENCES[0]], {"max_new_tokens": 6}),
    ("summarization-t5", "text2text-generation", [SENTENCES[0]], {"max_new_tokens": 6}),
    ("summarization-bart-text", "", [SENTENCES[1]], {"min_new_tokens": 5, "max_new_tokens": 6}),
    ("summarization-bart-text", "", [SENTENCES[1] * 9], {"truncation": True, "max_new_tokens": 6}),
    ("translation-t5-text", "", [list(SENTENCES)], {**_TWO, "num_beams": 4}),
    ("text2text-bart", "", [SENTENCES[1]], _TWO),
    ("text2text-bart", "", [list(SENTENCES)], _TWO),
    ("text2text-bart", "", [list(SENTENCES)], GREEDY),
    ("text2text-bart", "", [[SENTENCES[0]]], {**_TWO, "return_tensors": True}),
    ("text2text-bart", "", [SENTENCES[0]], {**GREEDY, "return_tensors": False, "return_text": True}),
    ("text2text-bart", "", [SENTENCES[0]], {**GREEDY, "stop_sequence": "%"}),
    ("text2text-bart", "", [SENTENCES[0]], {**GREEDY, "clean_up_tokenization_spaces": True}),
    ("text2text-bart", "", [SENTENCES[0]], {**GREEDY, "stop_sequence": "%H"}),
    ("text2text-bart", "", [SENTENCES[2]], {"max_new_tokens": 9}),
    ("text2text-bart", "", [""], {"max_new_tokens": 3}),
    ("text2text-bart", "summarization", [SENTENCES[2]], {**GREEDY, "return_tensors": True}),
)  # fmt: skip


def calls() -> list[dict[str, Any]]:
    """Every call as plain data: the inputs of each case, plain and with its parameter, and the further forms above."""
    tasks = {case.id: case.task for case in CASES}
    found = [
        {"case": case.id, "task": case.task, "args": [value], "kwargs": kwargs}
        for case in CASES
        for kwargs in (case.always, {**case.always, **case.parameters})
        for value in case.inputs
    ]
    for name, task, args, kwargs in _MORE:
        found.append({"case": name, "task": task or tasks[name], "args": args, "kwargs": kwargs})
    return found


def export(root: Path) -> None:
    """Write the checkpoints and ``calls.json`` for the recorder."""
    for case in CASES:
        checkpoint(case, root)
    (root / "calls.json").write_text(json.dumps(calls()))


if __name__ == "__main__":
    export(Path(sys.argv[1]))
