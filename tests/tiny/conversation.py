"""Tiny models that write about a picture or a sound: image-text-to-text and any-to-any."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import (
    CLIPImageProcessorPil,
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    Idefics3ImageProcessorPil,
    Idefics3Processor,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerBase,
    Qwen2AudioConfig,
    Qwen2AudioForConditionalGeneration,
    Qwen2AudioProcessor,
    WhisperFeatureExtractor,
)

from . import samples, tokenizers
from .common import Case, save, seeded
from .generation import GREEDY, greedy_config

SOUND = "<|audio_bos|><|AUDIO|><|audio_eos|>"
ENCODER = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}


def _writer(tokenizer: PreTrainedTokenizerBase, model_type: str) -> dict[str, Any]:
    """The language half: two layers of 32 channels."""
    return {
        "model_type": model_type,
        "vocab_size": len(tokenizer),
        **ENCODER,
        "num_key_value_heads": 2,
        "max_position_embeddings": 1024,
        "tie_word_embeddings": False,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }


def _llava(directory: Path) -> None:
    tokenizer = tokenizers.chat(("<image>",), 1024)
    config = LlavaConfig(
        vision_config={"model_type": "clip_vision_model", **ENCODER, "image_size": 32, "patch_size": 8},
        text_config=_writer(tokenizer, "llama"),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        vision_feature_layer=-1,
        image_seq_length=16,
        tie_word_embeddings=False,
    )
    model = seeded(lambda: LlavaForConditionalGeneration(config), gain=1.5)
    model.generation_config = greedy_config(tokenizer)
    square = {"height": 32, "width": 32}
    processor = LlavaProcessor(
        image_processor=CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size=square),
        tokenizer=tokenizer,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=tokenizers.CHAT_TEMPLATE,
    )
    save(directory, model, processor)


def _idefics3(directory: Path) -> None:
    marks = ("<fake_token_around_image>", "<image>", "<global-img>", "<end_of_utterance>")
    grid = tuple(f"<row_{row}_col_{column}>" for row in range(1, 4) for column in range(1, 4))
    tokenizer = tokenizers.chat((*marks, *grid), 1024)
    config = Idefics3Config(
        vision_config={**ENCODER, "image_size": 32, "patch_size": 8},
        text_config=_writer(tokenizer, "llama"),
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        scale_factor=2,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=False,
    )
    model = seeded(lambda: Idefics3ForConditionalGeneration(config), gain=1.5)
    model.generation_config = greedy_config(tokenizer)
    images = Idefics3ImageProcessorPil(size={"longest_edge": 64}, max_image_size={"longest_edge": 32})
    processor = Idefics3Processor(images, tokenizer, image_seq_len=4, chat_template=tokenizers.CHAT_TEMPLATE)
    save(directory, model, processor)


def _qwen2_audio(directory: Path) -> None:
    tokenizer = tokenizers.chat(("<|AUDIO|>", "<|audio_bos|>", "<|audio_eos|>"), 1024)
    config = Qwen2AudioConfig(
        audio_config={
            "num_mel_bins": 16,
            "d_model": 32,
            "encoder_layers": 1,
            "encoder_attention_heads": 4,
            "encoder_ffn_dim": 64,
            "max_source_positions": 100,
        },
        text_config=_writer(tokenizer, "qwen2"),
        audio_token_index=tokenizer.convert_tokens_to_ids("<|AUDIO|>"),
    )
    model = seeded(lambda: Qwen2AudioForConditionalGeneration(config), gain=1.5)
    model.generation_config = greedy_config(tokenizer)
    extractor = WhisperFeatureExtractor(feature_size=16, chunk_length=2)
    processor = Qwen2AudioProcessor(extractor, tokenizer, chat_template=tokenizers.chat_template({"audio": SOUND}))
    save(directory, model, processor)


def _picture_prompts() -> tuple[Any, Any, Any]:
    """A picture with text, a chat with a picture, another picture with a longer text."""
    first, second, third = samples.pictures()
    content = [{"type": "image", "image": second}, {"type": "text", "text": "What is in it?"}]
    return (
        {"images": first, "text": "<image>A photo of"},
        [{"role": "user", "content": content}],
        {"images": third, "text": "<image>Tell me about the river and the dog in this picture, please:"},
    )


def _sound_prompts() -> tuple[Any, Any, Any]:
    """A sound with text, a chat with a sound, text alone."""
    first, second, _ = samples.tones()
    content = [{"type": "audio", "audio": second}, {"type": "text", "text": "Is this the sound of the river?"}]
    return (
        {"text": f"{SOUND}What is it?", "audio": first},
        [{"role": "user", "content": content}],
        "What is the capital of France, and how many people live there?",
    )


CASES = (
    Case(
        "image-text-to-text-llava",
        "image-text-to-text",
        _llava,
        _picture_prompts,
        {"return_full_text": False},
        always={"generate_kwargs": GREEDY},
    ),
    Case(
        "image-text-to-text-idefics3",
        "image-text-to-text",
        _idefics3,
        _picture_prompts,
        {"generate_kwargs": {**GREEDY, "max_new_tokens": 3}},
        always={"generate_kwargs": GREEDY},
    ),
    Case(
        "any-to-any-qwen2-audio",
        "any-to-any",
        _qwen2_audio,
        _sound_prompts,
        {"return_full_text": False},
        always={"generate_kwargs": GREEDY},
        batchable=False,
    ),
)
