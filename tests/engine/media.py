"""Tiny models that read pictures, beside those of `tests.tiny`: one that counts positions in three ways."""

from functools import cache
from typing import Any

import transformers
from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration, Qwen2VLProcessor
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from tests.tiny import tokenizers
from tests.tiny.common import seeded
from tests.tiny.generation import greedy_config

_PICTURE = "<|vision_start|><|image_pad|><|vision_end|>"
_MARKS = ("<|vision_start|>", "<|image_pad|>", "<|vision_end|>", "<|video_pad|>")


class _Processor(Qwen2VLProcessor):  # type: ignore[misc]
    """Without films, for which transformers needs torchvision."""

    def __init__(self, image_processor: Any = None, tokenizer: Any = None, chat_template: Any = None) -> None:
        super().__init__(image_processor, tokenizer, None, chat_template)

    def check_argument_for_proper_class(self, argument_name: str, argument: Any) -> Any:
        """Takes None for what there is not."""
        return None if argument is None else super().check_argument_for_proper_class(argument_name, argument)


@cache
def qwen2_vl() -> Any:
    """``pipeline("image-text-to-text")`` of a Qwen2-VL, whose positions have a time, a height and a width."""
    tokenizer = tokenizers.chat(_MARKS, 1024)
    ids = dict(zip(_MARKS, tokenizer.convert_tokens_to_ids(_MARKS), strict=True))
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "intermediate_size": 64,
        "max_position_embeddings": 1024,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [1, 1, 2]},
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    vision = {"depth": 2, "embed_dim": 32, "hidden_size": 32, "num_heads": 4, "patch_size": 4, "mlp_ratio": 2}
    config = Qwen2VLConfig(
        text_config=text,
        vision_config=vision,
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
    )
    model = seeded(lambda: Qwen2VLForConditionalGeneration(config), gain=1.5)
    model.generation_config = greedy_config(tokenizer)
    images = Qwen2VLImageProcessorPil(patch_size=4, merge_size=2, min_pixels=16 * 16, max_pixels=48 * 48)
    processor = _Processor(images, tokenizer, tokenizers.chat_template({"image": _PICTURE}))
    return transformers.pipeline(
        "image-text-to-text",
        model=model,
        tokenizer=tokenizer,
        image_processor=images,
        processor=processor,
        device="cpu",
    )
