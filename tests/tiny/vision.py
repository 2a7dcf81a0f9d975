"""Tiny models that name, measure or cut out what is in a picture or a clip."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import (
    DPTConfig,
    DPTForDepthEstimation,
    DPTImageProcessorPil,
    GLPNConfig,
    GLPNForDepthEstimation,
    GLPNImageProcessorPil,
    SegformerConfig,
    SegformerForSemanticSegmentation,
    SegformerImageProcessorPil,
    VideoMAEConfig,
    VideoMAEForVideoClassification,
    VideoMAEImageProcessorPil,
    ViTConfig,
    ViTForImageClassification,
    ViTImageProcessorPil,
    ViTModel,
)

from . import samples
from .common import Case, labels, save, seeded

ENCODER = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
PYRAMID = {
    "depths": [1, 1, 1, 1],
    "hidden_sizes": [8, 16, 16, 32],
    "num_attention_heads": [1, 2, 2, 4],
    "decoder_hidden_size": 16,
    "drop_path_rate": 0.0,
}
SQUARE = {"height": 32, "width": 32}


def _vit_config(**options: Any) -> ViTConfig:
    """A ViT of 32 channels on 32 x 32 pixels in 8 x 8 patches."""
    return ViTConfig(**ENCODER, image_size=32, patch_size=8, **options)


def _vit(directory: Path) -> None:
    config = _vit_config(**labels(["cat", "dog", "bird", "fish", "car", "tree"]))
    save(directory, seeded(lambda: ViTForImageClassification(config), gain=2.0), ViTImageProcessorPil(size=SQUARE))


def _vit_features(directory: Path) -> None:
    save(directory, seeded(lambda: ViTModel(_vit_config())), ViTImageProcessorPil(size=SQUARE))


def _segformer(directory: Path) -> None:
    config = SegformerConfig(**PYRAMID, **labels(["wall", "sky", "grass", "road"]))
    processor = SegformerImageProcessorPil(size={"height": 64, "width": 64})
    save(directory, seeded(lambda: SegformerForSemanticSegmentation(config), gain=2.0), processor)


def _dpt(directory: Path) -> None:
    config = DPTConfig(
        **ENCODER | {"num_hidden_layers": 4},
        image_size=64,
        patch_size=16,
        backbone_out_indices=[0, 1, 2, 3],
        neck_hidden_sizes=[8, 8, 16, 16],
        fusion_hidden_size=16,
    )
    processor = DPTImageProcessorPil(size={"height": 64, "width": 64})
    model = seeded(lambda: DPTForDepthEstimation(config))
    with torch.no_grad():
        model.head.head[4].bias.fill_(3.0)  # a flat depth divides by zero in the pipeline
    save(directory, model, processor)


def _glpn(directory: Path) -> None:
    config = GLPNConfig(**PYRAMID)
    save(directory, seeded(lambda: GLPNForDepthEstimation(config), gain=2.0), GLPNImageProcessorPil(size_divisor=32))


def _videomae(directory: Path) -> None:
    config = VideoMAEConfig(
        **ENCODER,
        image_size=32,
        patch_size=16,
        num_frames=8,
        tubelet_size=2,
        **labels(["walking", "running", "jumping", "falling"]),
    )
    processor = VideoMAEImageProcessorPil(size={"shortest_edge": 32}, crop_size=SQUARE)
    save(directory, seeded(lambda: VideoMAEForVideoClassification(config), gain=2.0), processor)


def _clips() -> tuple[str, str, str]:
    """Paths of three clips of different lengths."""
    return samples.clip_file(1, 16), samples.clip_file(2, 24), samples.clip_file(3, 20)


CASES = (
    Case("image-classification-vit", "image-classification", _vit, samples.pictures, {"top_k": 2}),
    Case("image-feature-extraction-vit", "image-feature-extraction", _vit_features, samples.pictures, {"pool": True}),
    Case("image-segmentation-segformer", "image-segmentation", _segformer, samples.pictures, {}),
    Case("depth-estimation-dpt", "depth-estimation", _dpt, samples.pictures, {}),
    Case("depth-estimation-glpn", "depth-estimation", _glpn, samples.pictures, {}, batchable=False),
    Case(
        "video-classification-videomae",
        "video-classification",
        _videomae,
        _clips,
        {"frame_sampling_rate": 2},
        requires=("av",),
    ),
)
