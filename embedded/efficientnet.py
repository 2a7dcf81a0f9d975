"""EfficientNet-Lite0 (ImageNet-1k): a ``.pth`` state dict into an ``EfficientNetForImageClassification`` folder.

Lite is EfficientNet-B0 with ReLU6 for swish and no squeeze-and-excite. transformers always builds the latter, so it is
made as small as it goes and its gate held at sigmoid(30), which is 1 in float32. Padding ("same", one more at right and
bottom for stride 2 on even sizes) and the norms' epsilon (0.001) agree with the package authors' code.

Images are prepared as the authors did: shorter side to 256 (bicubic), middle 224 x 224, (x - 127) / 128.
"""

import re
from pathlib import Path

import torch
from transformers import EfficientNetConfig, EfficientNetForImageClassification, EfficientNetImageProcessorPil

CLASSES = Path(__file__).with_name("imagenet_classes.txt")
OPEN_GATE = 30.0
IMAGE_SIZE = 224
CROP_PADDING = 32

NAMES = [
    (r"_conv_stem", "efficientnet.embeddings.convolution"),
    (r"_bn0", "efficientnet.embeddings.batchnorm"),
    (r"_blocks\.(\d+)\._expand_conv", r"efficientnet.encoder.blocks.\1.expansion.expand_conv"),
    (r"_blocks\.(\d+)\._bn0", r"efficientnet.encoder.blocks.\1.expansion.expand_bn"),
    (r"_blocks\.(\d+)\._depthwise_conv", r"efficientnet.encoder.blocks.\1.depthwise_conv.depthwise_conv"),
    (r"_blocks\.(\d+)\._bn1", r"efficientnet.encoder.blocks.\1.depthwise_conv.depthwise_norm"),
    (r"_blocks\.(\d+)\._project_conv", r"efficientnet.encoder.blocks.\1.projection.project_conv"),
    (r"_blocks\.(\d+)\._bn2", r"efficientnet.encoder.blocks.\1.projection.project_bn"),
    (r"_conv_head", "efficientnet.encoder.top_conv"),
    (r"_bn1", "efficientnet.encoder.top_bn"),
    (r"_fc", "classifier"),
]
"""A module's name in the package's state dict (a whole-name pattern), and in transformers."""


def convert(source: Path, target: Path) -> None:
    """Write weights, config with the class names, and the image processor.

    Args:
        source: the ``.pth`` file.
        target: an existing folder.

    Raises:
        ValueError: a tensor's name is none of ``NAMES``, or the class names are not 1000 different ones.
        RuntimeError: a tensor is missing, left over or of another shape (from torch).
    """
    names = class_names()
    config = EfficientNetConfig(
        width_coefficient=1.0,
        depth_coefficient=1.0,
        image_size=IMAGE_SIZE,
        hidden_act="relu6",
        hidden_dim=1280,
        squeeze_expansion_ratio=0.0,  # one channel, the fewest
        batch_norm_eps=1e-3,
        dropout_rate=0.2,
        id2label=dict(enumerate(names)),
        label2id={name: index for index, name in enumerate(names)},
    )
    model = EfficientNetForImageClassification(config)
    given = torch.load(source, weights_only=True, map_location="cpu")
    weights = {_name(name): tensor for name, tensor in given.items()}
    model.load_state_dict(weights | _open_gates(model.state_dict()), strict=True)
    model.eval().save_pretrained(target)
    _image_processor().save_pretrained(target)


def class_names() -> list[str]:
    """The 1000 ImageNet-1k class names in index order, from ``imagenet_classes.txt``.

    Raises:
        ValueError: not 1000 different names.
    """
    lines = CLASSES.read_text(encoding="utf-8").splitlines()
    names = [line for line in lines if line and not line.startswith("#")]
    if len(names) != 1000 or len(set(names)) != 1000:
        raise ValueError(f"{CLASSES} holds {len(names)} names, {len(set(names))} of them different; 1000 are due")
    return names


def _name(name: str) -> str:
    module, _, parameter = name.rpartition(".")
    for pattern, ours in NAMES:
        if match := re.fullmatch(pattern, module):
            return f"{match.expand(ours)}.{parameter}"
    raise ValueError(f"unknown tensor {name!r}")


def _open_gates(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Squeeze-and-excite parameters that multiply by one: all zero but the bias in front of the sigmoid."""
    return {
        name: torch.full_like(tensor, OPEN_GATE if name.endswith("squeeze_excite.expand.bias") else 0.0)
        for name, tensor in weights.items()
        if ".squeeze_excite." in name
    }


def _image_processor() -> EfficientNetImageProcessorPil:
    return EfficientNetImageProcessorPil(
        size={"shortest_edge": IMAGE_SIZE + CROP_PADDING},
        do_center_crop=True,
        crop_size={"height": IMAGE_SIZE, "width": IMAGE_SIZE},
        image_mean=[127 / 255] * 3,
        image_std=[128 / 255] * 3,
        include_top=False,  # no second division by the deviation
    )
