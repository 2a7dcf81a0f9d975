"""Tiny models that find things in a picture: boxes, segments, masks and matching points."""

from __future__ import annotations

from pathlib import Path

import torch
from PIL import Image
from transformers import (
    DetrConfig,
    DetrForObjectDetection,
    DetrForSegmentation,
    DetrImageProcessorPil,
    LightGlueConfig,
    LightGlueForKeypointMatching,
    LightGlueImageProcessorPil,
    MaskFormerConfig,
    MaskFormerForInstanceSegmentation,
    MaskFormerImageProcessorPil,
    ResNetConfig,
    SamConfig,
    SamImageProcessorPil,
    SamMaskDecoderConfig,
    SamModel,
    SamPromptEncoderConfig,
    SamVisionConfig,
    SuperGlueConfig,
    SuperGlueForKeypointMatching,
    SuperGlueImageProcessorPil,
    SuperPointConfig,
    YolosConfig,
    YolosForObjectDetection,
    YolosImageProcessorPil,
)

from . import samples
from .common import Case, labels, save, seeded

THINGS = ["cat", "dog", "bird", "car", "tree"]
ENCODER = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
SIDES = {"shortest_edge": 64, "longest_edge": 96}


def _favour_things(classifier: torch.nn.Linear) -> None:
    """Make a detection head sure of itself and rarely say "no object", its last class."""
    with torch.no_grad():
        classifier.weight.mul_(3.0)
        classifier.bias[-1] -= 4.0


def _detr_config(width: int = 32, heads: int = 4) -> DetrConfig:
    """A DETR with a tiny ResNet (``use_timm_backbone`` is gone in transformers 5)."""
    backbone = ResNetConfig(
        embedding_size=8,
        hidden_sizes=[8, 8, 16, 16],
        depths=[1, 1, 1, 1],
        layer_type="basic",
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )
    return DetrConfig(
        backbone_config=backbone,
        num_queries=8,
        d_model=width,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=heads,
        decoder_attention_heads=heads,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        **labels(THINGS),
    )


def _detr(directory: Path) -> None:
    model = seeded(lambda: DetrForObjectDetection(_detr_config()), gain=1.5)
    _favour_things(model.class_labels_classifier)
    save(directory, model, DetrImageProcessorPil(size=SIDES))


def _detr_panoptic(directory: Path) -> None:
    model = seeded(lambda: DetrForSegmentation(_detr_config(64, 8)), gain=1.5)
    _favour_things(model.detr.class_labels_classifier)
    save(directory, model, DetrImageProcessorPil(size=SIDES))


def _yolos(directory: Path) -> None:
    config = YolosConfig(
        **ENCODER,
        image_size=[64, 96],
        patch_size=16,
        num_detection_tokens=8,
        **labels(THINGS),
    )
    model = seeded(lambda: YolosForObjectDetection(config), gain=1.5)
    _favour_things(model.class_labels_classifier.layers[-1])
    save(directory, model, YolosImageProcessorPil(size=SIDES))


def _maskformer(directory: Path) -> None:
    detr = _detr_config().to_dict()
    config = MaskFormerConfig(
        fpn_feature_size=32,
        mask_feature_size=32,
        backbone_config={
            "model_type": "swin",
            "image_size": 64,
            "patch_size": 4,
            "embed_dim": 8,
            "depths": [1, 1, 1, 1],
            "num_heads": [1, 2, 2, 2],
            "window_size": 2,
            "out_features": ["stage1", "stage2", "stage3", "stage4"],
        },
        decoder_config={key: value for key, value in detr.items() if key != "backbone_config"},
        **labels(THINGS),
    )
    model = seeded(lambda: MaskFormerForInstanceSegmentation(config), gain=1.5)
    _favour_things(model.class_predictor)
    save(directory, model, MaskFormerImageProcessorPil(size={"height": 64, "width": 64}, num_labels=len(THINGS)))


def _sam(directory: Path) -> None:
    config = SamConfig(
        vision_config=SamVisionConfig(
            hidden_size=32,
            output_channels=16,
            num_hidden_layers=2,
            num_attention_heads=4,
            image_size=64,
            patch_size=8,
            window_size=4,
            global_attn_indexes=[1],
            num_pos_feats=8,
            mlp_dim=64,
        ).to_dict(),
        prompt_encoder_config=SamPromptEncoderConfig(hidden_size=16, image_size=64, patch_size=8).to_dict(),
        mask_decoder_config=SamMaskDecoderConfig(
            hidden_size=16, mlp_dim=32, num_attention_heads=2, iou_head_hidden_dim=16
        ).to_dict(),
    )
    model = seeded(lambda: SamModel(config), gain=2.0)
    processor = SamImageProcessorPil(size={"longest_edge": 64}, pad_size={"height": 64, "width": 64})
    save(directory, model, processor)


def _superpoint() -> SuperPointConfig:
    """A keypoint finder that takes some tens of points a picture."""
    return SuperPointConfig(
        encoder_hidden_sizes=[8, 8, 16, 16],
        decoder_hidden_size=16,
        descriptor_decoder_dim=16,
        keypoint_threshold=0.02,
        max_keypoints=40,
    )


def _calm(model: SuperGlueForKeypointMatching) -> None:
    """Keep the matcher from taking all points for the same one, which the detector's large weights make it do."""
    with torch.no_grad():
        for name, layer in model.named_modules():
            if isinstance(layer, torch.nn.Linear) and not name.startswith("keypoint_detector"):
                layer.weight.div_(3.0)
                layer.bias.zero_()
        model.final_projection.final_proj.weight.mul_(3.0)


def _superglue(directory: Path) -> None:
    config = SuperGlueConfig(
        keypoint_detector_config=_superpoint(),
        hidden_size=16,
        keypoint_encoder_sizes=[8, 16],
        gnn_layers_types=["self", "cross"],
        num_attention_heads=2,
        sinkhorn_iterations=10,
    )
    model = seeded(lambda: SuperGlueForKeypointMatching(config), gain=3.0)
    _calm(model)
    save(directory, model, SuperGlueImageProcessorPil(size={"height": 64, "width": 80}))


def _lightglue(directory: Path) -> None:
    config = LightGlueConfig(
        keypoint_detector_config=_superpoint(),
        descriptor_dim=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        filter_threshold=0.0,
    )
    model = seeded(lambda: LightGlueForKeypointMatching(config), gain=3.0)
    save(directory, model, LightGlueImageProcessorPil(size={"height": 64, "width": 80}))


def _pairs() -> tuple[list[Image.Image], list[Image.Image], list[Image.Image]]:
    """Three pairs of pictures, the second of each a crop of the first."""
    first, second, third = (samples.picture(seed, (120, 96)) for seed in (4, 5, 6))
    return [first, first.crop((8, 8, 112, 88))], [second, second.crop((0, 16, 90, 96))], [third, third.rotate(5)]


CASES = (
    Case("object-detection-detr", "object-detection", _detr, samples.pictures, {"threshold": 0.9}, batchable=False),
    Case("object-detection-yolos", "object-detection", _yolos, samples.pictures, {"threshold": 0.9}, batchable=False),
    Case(
        "image-segmentation-detr",
        "image-segmentation",
        _detr_panoptic,
        samples.pictures,
        {"threshold": 0.9},
        always={"threshold": 0.3, "overlap_mask_area_threshold": 0.1},
        batchable=False,
    ),
    Case(
        "image-segmentation-maskformer",
        "image-segmentation",
        _maskformer,
        samples.pictures,
        {"subtask": "semantic"},
        always={"threshold": 0.3, "overlap_mask_area_threshold": 0.1},
    ),
    Case(
        "mask-generation-sam",
        "mask-generation",
        _sam,
        samples.pictures,
        {"crops_nms_thresh": 0.5},
        always={
            "points_per_crop": 4,
            "pred_iou_thresh": 0.0,
            "stability_score_thresh": 0.0,
            "crops_nms_thresh": 0.99,
        },
        requires=("torchvision",),
        batchable=False,
    ),
    Case("keypoint-matching-superglue", "keypoint-matching", _superglue, _pairs, {"threshold": 0.05}, batchable=False),
    Case("keypoint-matching-lightglue", "keypoint-matching", _lightglue, _pairs, {"threshold": 0.05}, batchable=False),
)
