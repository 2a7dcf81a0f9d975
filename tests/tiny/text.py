"""Tiny models that read text: classification, tokens, filling, features, zero-shot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import (
    BartConfig,
    BartForSequenceClassification,
    BertConfig,
    BertForMaskedLM,
    BertForSequenceClassification,
    BertForTokenClassification,
    BertModel,
    PreTrainedTokenizerBase,
    RobertaConfig,
    RobertaForMaskedLM,
    RobertaForSequenceClassification,
)

from . import tokenizers
from .common import Case, labels, save, seeded

SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 160,
}
BART = {
    "d_model": 32,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "max_position_embeddings": 256,
    "bos_token_id": 0,
    "pad_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 2,
    "forced_eos_token_id": 2,
}
SENTENCES = (
    "I love this film.",
    "The city of Paris is bad for my dog, and the food was terrible in London!",
    "What a great house by the river",
)


def bert_config(**options: Any) -> BertConfig:
    """A two-layer BERT of 32 channels over the tiny WordPiece vocabulary."""
    return BertConfig(vocab_size=len(tokenizers.wordpiece_tokens()), **SMALL, **options)


def roberta_config(tokenizer: PreTrainedTokenizerBase, **options: Any) -> RobertaConfig:
    """A two-layer RoBERTa of 32 channels."""
    return RobertaConfig(
        vocab_size=len(tokenizer), **SMALL, type_vocab_size=1, bos_token_id=0, pad_token_id=1, eos_token_id=2, **options
    )


def _sentiment_bert(directory: Path) -> None:
    config = bert_config(**labels(["negative", "neutral", "positive"]))
    save(directory, seeded(lambda: BertForSequenceClassification(config), gain=3.0), tokenizers.wordpiece())


def _sentiment_roberta(directory: Path) -> None:
    tokenizer = tokenizers.roberta()
    config = roberta_config(tokenizer, **labels(["sad", "happy"]))
    save(directory, seeded(lambda: RobertaForSequenceClassification(config), gain=2.0), tokenizer)


def _topics(directory: Path) -> None:
    config = bert_config(**labels(["food", "place", "insult", "film"]), problem_type="multi_label_classification")
    save(directory, seeded(lambda: BertForSequenceClassification(config), 1, 3.0), tokenizers.wordpiece())


def _entities(directory: Path) -> None:
    config = bert_config(**labels(["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]))
    save(directory, seeded(lambda: BertForTokenClassification(config), gain=3.0), tokenizers.wordpiece())


def _mask_bert(directory: Path) -> None:
    save(directory, seeded(lambda: BertForMaskedLM(bert_config())), tokenizers.wordpiece())


def _mask_roberta(directory: Path) -> None:
    tokenizer = tokenizers.roberta()
    save(directory, seeded(lambda: RobertaForMaskedLM(roberta_config(tokenizer))), tokenizer)


def _features(directory: Path) -> None:
    save(directory, seeded(lambda: BertModel(bert_config())), tokenizers.wordpiece())


def _nli_bert(directory: Path) -> None:
    config = bert_config(**labels(["contradiction", "neutral", "entailment"]))
    save(directory, seeded(lambda: BertForSequenceClassification(config), 2, 3.0), tokenizers.wordpiece())


def _nli_bart(directory: Path) -> None:
    tokenizer = tokenizers.roberta()
    config = BartConfig(vocab_size=len(tokenizer), **BART, **labels(["contradiction", "neutral", "entailment"]))
    save(directory, seeded(lambda: BartForSequenceClassification(config), gain=3.0), tokenizer)


def _masked(mask: str) -> tuple[str, str, str]:
    """Sentences with one, one and two masks."""
    return f"I {mask} this film.", f"Paris is the {mask} of France, you know", f"The {mask} was in my {mask}."


CASES = (
    Case("text-classification-bert", "text-classification", _sentiment_bert, lambda: SENTENCES, {"top_k": 2}),
    Case(
        "text-classification-roberta",
        "text-classification",
        _sentiment_roberta,
        lambda: SENTENCES,
        {"function_to_apply": "none"},
    ),
    Case("text-classification-multi-label", "text-classification", _topics, lambda: SENTENCES, {"top_k": None}),
    Case(
        "token-classification-bert",
        "token-classification",
        _entities,
        lambda: SENTENCES,
        {"aggregation_strategy": "simple"},
    ),
    Case("fill-mask-bert", "fill-mask", _mask_bert, lambda: _masked("[MASK]"), {"top_k": 2}),
    Case("fill-mask-roberta", "fill-mask", _mask_roberta, lambda: _masked("<mask>"), {"targets": ["t", "q", " n"]}),
    Case(
        "feature-extraction-bert",
        "feature-extraction",
        _features,
        lambda: SENTENCES,
        {"return_tensors": True},
        batchable=False,
    ),
    Case(
        "zero-shot-classification-bert",
        "zero-shot-classification",
        _nli_bert,
        lambda: SENTENCES,
        {"hypothesis_template": "It is not {}!"},
        always={"candidate_labels": ["film", "travel", "sport"]},
    ),
    Case(
        "zero-shot-classification-bart",
        "zero-shot-classification",
        _nli_bart,
        lambda: SENTENCES,
        {"multi_label": True},
        always={"candidate_labels": ["film", "travel", "sport"]},
    ),
)
