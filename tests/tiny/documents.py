"""Tiny models that answer questions about a page: from words and boxes (LayoutLM, v3) or from its picture (Donut)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import (
    DonutImageProcessorPil,
    DonutProcessor,
    DonutSwinConfig,
    LayoutLMConfig,
    LayoutLMForQuestionAnswering,
    LayoutLMv3Config,
    LayoutLMv3ForQuestionAnswering,
    LayoutLMv3ImageProcessorPil,
    LayoutLMv3Tokenizer,
    MBartConfig,
    VisionEncoderDecoderConfig,
    VisionEncoderDecoderModel,
)

from . import samples, tokenizers
from .common import Case, save, seeded
from .generation import greedy_config

ENCODER = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}


def _layoutlm(directory: Path) -> None:
    tokenizer = tokenizers.wordpiece()
    config = LayoutLMConfig(
        vocab_size=len(tokenizer),
        **ENCODER,
        max_position_embeddings=160,
        max_2d_position_embeddings=1024,
        pad_token_id=0,
    )
    save(directory, seeded(lambda: LayoutLMForQuestionAnswering(config), gain=3.0), tokenizer)


def _layoutlmv3(directory: Path) -> None:
    tokens, merges = tokenizers.byte_pairs()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    vocab = {token: index for index, token in enumerate([*special, *tokens])}
    config = LayoutLMv3Config(
        vocab_size=len(vocab),
        **{**ENCODER, "hidden_size": 24},
        max_position_embeddings=160,
        coordinate_size=4,
        shape_size=4,
        input_size=32,
        patch_size=8,
        num_labels=2,
    )
    model = seeded(lambda: LayoutLMv3ForQuestionAnswering(config), gain=3.0)
    tokenizer = LayoutLMv3Tokenizer(vocab=vocab, merges=merges, model_max_length=128)
    images = LayoutLMv3ImageProcessorPil(apply_ocr=False, size={"height": 32, "width": 32})
    save(directory, model, tokenizer, images)


def _donut(directory: Path) -> None:
    tags = ("<s_docvqa>", "<s_question>", "</s_question>", "<s_answer>", "</s_answer>")
    tokenizer = tokenizers.chat(tags)
    tokenizer.padding_side = "right"
    encoder = DonutSwinConfig(image_size=[64, 64], embed_dim=8, depths=[1, 1], num_heads=[1, 2], window_size=4)
    decoder = MBartConfig(
        vocab_size=len(tokenizer),
        d_model=16,
        decoder_layers=1,
        decoder_attention_heads=2,
        decoder_ffn_dim=32,
        max_position_embeddings=256,
        is_decoder=True,
        add_cross_attention=True,
        tie_word_embeddings=False,
        forced_eos_token_id=None,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    config = VisionEncoderDecoderConfig.from_encoder_decoder_configs(encoder, decoder)
    config.decoder_start_token_id = tokenizer.bos_token_id
    config.pad_token_id = tokenizer.pad_token_id
    config.tie_word_embeddings = False
    model = seeded(lambda: VisionEncoderDecoderModel(config), gain=2.0)
    model.generation_config = greedy_config(
        tokenizer,
        decoder_start_token_id=tokenizer.bos_token_id,
        forced_eos_token_id=tokenizer.convert_tokens_to_ids("</s_answer>"),  # without it the answer is None
        max_new_tokens=8,
        do_sample=False,
    )
    images = DonutImageProcessorPil(size={"height": 64, "width": 64})
    save(directory, model, DonutProcessor(images, tokenizer))


def _documents() -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Three questions with the words of the page and their boxes, so that no character recognition is needed."""
    pages = (
        ("What is the total?", "Invoice number 17 Total 42 euro"),
        ("Who is it for?", "Invoice to the city of Paris , date 3 May , total 9 euro , thank you"),
        ("What date", "Photo of London date 1999"),
    )
    asked = []
    for seed, (question, text) in enumerate(pages, 7):
        words = [[word, [40 * at, 30 * seed, 40 * at + 35, 30 * seed + 20]] for at, word in enumerate(text.split())]
        asked.append({"image": samples.picture(seed, (90, 60 + seed)), "question": question, "word_boxes": words})
    first, second, third = asked
    return first, second, third


def _pages() -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """The same questions without words, for a model that reads the picture itself."""
    first, second, third = ({"image": page["image"], "question": page["question"]} for page in _documents())
    return first, second, third


CASES = (
    Case(
        "document-question-answering-layoutlm",
        "document-question-answering",
        _layoutlm,
        _documents,
        {"top_k": 3},
        batchable=False,
    ),
    Case(
        "document-question-answering-layoutlmv3",
        "document-question-answering",
        _layoutlmv3,
        _documents,
        {"max_answer_len": 1},
        batchable=False,
    ),
    Case(
        "document-question-answering-donut",
        "document-question-answering",
        _donut,
        _pages,
        {},
        init={"max_new_tokens": 6},  # in a call this pipeline drops it silently
        batchable=False,
    ),
)
