"""Tiny seeded models of the removed tasks, in the same record as ``tests.tiny``."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import (
    BartForConditionalGeneration,
    BertConfig,
    BertForQuestionAnswering,
    BlipConfig,
    BlipForConditionalGeneration,
    GPT2Config,
    GPT2LMHeadModel,
    RobertaConfig,
    RobertaForQuestionAnswering,
    Swin2SRConfig,
    Swin2SRForImageSuperResolution,
    T5Config,
    T5ForConditionalGeneration,
    ViltConfig,
    ViltForQuestionAnswering,
    VisionEncoderDecoderConfig,
    VisionEncoderDecoderModel,
    ViTConfig,
    ViTModel,
)
from transformers.models.bart import BartConfig
from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil
from transformers.models.swin2sr.image_processing_pil_swin2sr import Swin2SRImageProcessorPil
from transformers.models.vilt.image_processing_pil_vilt import ViltImageProcessorPil
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from tests.tiny import Case, samples, tokenizers
from tests.tiny.common import labels, save, seeded
from tests.tiny.text import BART, SENTENCES, SMALL

SQUARE = {"height": 32, "width": 32}
LAYERS = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
CONTEXT = (
    "The city of Paris is the capital of France and London is a great city by the river. "
    "My dog and my cat live in a red house. The book is about music, sport and science. "
)


def _qa_bert(directory: Path) -> None:
    tokenizer = tokenizers.wordpiece()
    config = BertConfig(vocab_size=len(tokenizer), **SMALL)
    save(directory, seeded(lambda: BertForQuestionAnswering(config), gain=2.0), tokenizer)


def _qa_roberta(directory: Path) -> None:
    tokenizer = tokenizers.roberta()
    config = RobertaConfig(vocab_size=len(tokenizer), pad_token_id=1, bos_token_id=0, eos_token_id=2, **SMALL)
    save(directory, seeded(lambda: RobertaForQuestionAnswering(config), gain=2.0), tokenizer)


def _readable(model: Any, tokenizer: Any) -> Any:
    """Generated text of printable characters only."""
    model.generation_config.suppress_tokens = tokenizers.unprintable(tokenizer)
    return model


def _bart(directory: Path) -> None:
    tokenizer = tokenizers.roberta(model_max_length=256)
    config = BartConfig(vocab_size=len(tokenizer), **{**BART, "forced_eos_token_id": None})
    model = seeded(lambda: BartForConditionalGeneration(config), gain=2.0)
    save(directory, _readable(model, tokenizer), tokenizer)


def _t5(seed: int, **more: Any) -> Callable[[Path], None]:
    def build(directory: Path) -> None:
        tokenizer = tokenizers.roberta(model_max_length=256)
        sizes = {"d_model": 32, "d_ff": 64, "d_kv": 8, "num_layers": 2, "num_heads": 4}
        config = T5Config(
            vocab_size=len(tokenizer), **sizes, pad_token_id=1, eos_token_id=2, decoder_start_token_id=1, **more
        )
        model = seeded(lambda: T5ForConditionalGeneration(config), seed=seed, gain=2.0)
        save(directory, _readable(model, tokenizer), tokenizer)

    return build


def _vilt(directory: Path) -> None:
    tokenizer = tokenizers.wordpiece(model_max_length=40)
    answers = ["yes", "no", "red", "blue", "two", "a cat", "a dog"]
    config = ViltConfig(
        vocab_size=len(tokenizer),
        **LAYERS,
        image_size=32,
        patch_size=8,
        max_position_embeddings=40,
        max_image_length=-1,
        **labels(answers),
    )
    images = ViltImageProcessorPil(size={"shortest_edge": 32}, size_divisor=8)
    save(directory, seeded(lambda: ViltForQuestionAnswering(config), gain=2.0), tokenizer, images)


def _captioner(directory: Path) -> None:
    tokenizer = tokenizers.gpt2()
    tokenizer.pad_token = tokenizer.eos_token
    end = tokenizer.eos_token_id
    vit = ViTConfig(**LAYERS, image_size=32, patch_size=8)
    gpt2 = GPT2Config(
        vocab_size=len(tokenizer), n_embd=32, n_layer=2, n_head=4, n_positions=64, add_cross_attention=True,
        is_decoder=True, bos_token_id=end, eos_token_id=end,
    )  # fmt: skip
    config = VisionEncoderDecoderConfig.from_encoder_decoder_configs(vit, gpt2)
    config.decoder_start_token_id = config.pad_token_id = config.eos_token_id = end
    model = seeded(lambda: VisionEncoderDecoderModel(config, ViTModel(vit), GPT2LMHeadModel(gpt2)), gain=2.0)
    model.generation_config.decoder_start_token_id = model.generation_config.pad_token_id = end
    model.generation_config.eos_token_id = end
    save(directory, _readable(model, tokenizer), tokenizer, ViTImageProcessorPil(size=SQUARE))


def _blip(directory: Path) -> None:
    tokenizer = tokenizers.wordpiece(model_max_length=64)
    text = {"vocab_size": len(tokenizer), "encoder_hidden_size": 32, "max_position_embeddings": 64, **LAYERS}
    special = {"bos_token_id": 2, "sep_token_id": 3, "eos_token_id": 3, "pad_token_id": 0}
    config = BlipConfig(
        text_config={**text, **special},
        vision_config={**LAYERS, "image_size": 32, "patch_size": 8},
        projection_dim=16,
        image_text_hidden_size=16,
    )
    model = seeded(lambda: BlipForConditionalGeneration(config), gain=2.0)
    save(directory, model, tokenizer, BlipImageProcessorPil(size=SQUARE))
    written = directory / "tokenizer_config.json"  # as BLIP's own tokenizers have it; save_pretrained leaves it out
    names = {"model_input_names": ["input_ids", "attention_mask"]}
    written.write_text(json.dumps({**json.loads(written.read_text()), **names}))


def _swin2sr(directory: Path) -> None:
    config = Swin2SRConfig(
        image_size=16, patch_size=1, embed_dim=12, depths=[1, 1], num_heads=[2, 2], window_size=4, mlp_ratio=2.0
    )
    model = seeded(lambda: Swin2SRForImageSuperResolution(config))
    save(directory, model, Swin2SRImageProcessorPil(size_divisor=8))


def _questions() -> tuple[Any, Any, Any]:
    return (
        {"question": "What is the capital of France?", "context": "Paris is the capital of France."},
        {"question": "Where is my dog", "context": CONTEXT},
        {"question": "What is the book about?", "context": CONTEXT * 3},  # several windows
    )


def _visual_questions() -> tuple[Any, Any, Any]:
    asked = ("What is it?", "How many cat in the red house", "Is it blue?")
    pictures = samples.pictures()
    first, second, third = ({"image": image, "question": text} for image, text in zip(pictures, asked, strict=True))
    return first, second, third


def _texts() -> tuple[str, str, str]:
    return SENTENCES


SHORT = {"max_new_tokens": 8, "num_beams": 1, "do_sample": False}
EIGHT = {"max_new_tokens": 8}
BEAMS = {"num_beams": 3, "max_new_tokens": 6}
PREFIX = {"task_specific_params": {"translation_en_to_fr": {"prefix": "translate English to French: "}}}
CASES: tuple[Case, ...] = (
    Case("question-answering-bert", "question-answering", _qa_bert, _questions, {"top_k": 3}),
    Case("question-answering-roberta", "question-answering", _qa_roberta, _questions, {"max_answer_len": 2}),
    Case("summarization-bart", "summarization", _bart, _texts, BEAMS, SHORT),
    Case("translation-t5", "translation_en_to_fr", _t5(1, **PREFIX), _texts, BEAMS, SHORT),
    Case("text2text-generation-t5", "text2text-generation", _t5(4), _texts, {"max_new_tokens": 3}, SHORT),
    Case(
        "visual-question-answering-vilt",
        "visual-question-answering",
        _vilt,
        _visual_questions,
        {"top_k": 2},
        batchable=False,
    ),
    Case("image-to-text-vit-gpt2", "image-to-text", _captioner, samples.pictures, {"max_new_tokens": 3}, EIGHT),
    Case("image-to-text-blip", "image-to-text", _blip, samples.pictures, {"prompt": "a photo of"}, EIGHT),
    Case("image-to-image-swin2sr", "image-to-image", _swin2sr, samples.pictures, {}, batchable=False),
)
