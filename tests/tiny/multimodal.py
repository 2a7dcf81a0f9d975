"""Tiny models that hold pictures against texts: zero-shot labels and boxes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import (
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    CLIPProcessor,
    OwlViTConfig,
    OwlViTForObjectDetection,
    OwlViTImageProcessorPil,
    OwlViTProcessor,
    SiglipConfig,
    SiglipImageProcessorPil,
    SiglipModel,
)

from . import samples, tokenizers
from .common import Case, save, seeded

ENCODER = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
VISION = {**ENCODER, "image_size": 32, "patch_size": 8}
NAMES = {"candidate_labels": ["a red circle", "blue sky", "two dogs"]}


def _clip_text(length: int) -> dict[str, Any]:
    """Text half of a CLIP-like model, for the tiny CLIP tokenizer."""
    size = len(tokenizers.clip())
    special = {"bos_token_id": size - 2, "eos_token_id": size - 1, "pad_token_id": size - 1}
    return {**ENCODER, "vocab_size": size, "max_position_embeddings": length, **special}


def _clip(directory: Path) -> None:
    text = _clip_text(64)
    config = CLIPConfig(text_config=text, vision_config=VISION, projection_dim=16)
    square = {"height": 32, "width": 32}
    images = CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size=square)
    save(directory, seeded(lambda: CLIPModel(config), gain=2.0), CLIPProcessor(images, tokenizers.clip(64)))


def _siglip(directory: Path) -> None:
    tokenizer = tokenizers.wordpiece(64)
    text = {**ENCODER, "vocab_size": len(tokenizer), "max_position_embeddings": 64, "projection_size": 32}
    text |= {"bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 0}
    config = SiglipConfig(text_config=text, vision_config=VISION)
    images = SiglipImageProcessorPil(size={"height": 32, "width": 32})
    save(directory, seeded(lambda: SiglipModel(config), gain=2.0), tokenizer, images)


def _owlvit(directory: Path) -> None:
    text = _clip_text(32)
    config = OwlViTConfig(text_config=text, vision_config=VISION, projection_dim=32)
    size = {"height": 32, "width": 32}
    images = OwlViTImageProcessorPil(size=size, crop_size=size)
    model = seeded(lambda: OwlViTForObjectDetection(config), gain=1.5)
    with torch.no_grad():
        for layer, bias in ((model.class_head.logit_shift, -0.4), (model.class_head.logit_scale, 4.0)):
            layer.weight.zero_()
            layer.bias.fill_(bias)  # scores between 0 and 0.95, about half of the boxes pass the threshold
    save(directory, model, OwlViTProcessor(images, tokenizers.clip(32)))


CASES = (
    Case(
        "zero-shot-image-classification-clip",
        "zero-shot-image-classification",
        _clip,
        samples.pictures,
        {"hypothesis_template": "{}"},
        always=NAMES,
    ),
    Case(
        "zero-shot-image-classification-siglip",
        "zero-shot-image-classification",
        _siglip,
        samples.pictures,
        {"candidate_labels": ["cat", "tree"]},
        always=NAMES,
    ),
    Case(
        "zero-shot-object-detection-owlvit",
        "zero-shot-object-detection",
        _owlvit,
        samples.pictures,
        {"top_k": 2},
        always=NAMES,
    ),
)
