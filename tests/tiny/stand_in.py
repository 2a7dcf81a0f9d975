"""A stand-in for ``torchvision.ops.boxes.batched_nms``, the one torchvision function mask-generation needs.

No CPU build of torchvision is on the registry. transformers imports the function by its full module name at the
moment of use, so one entry in ``sys.modules`` serves it; ``torchvision`` itself stays absent and transformers keeps
its PIL image processors. Where torchvision is installed nothing is changed.

In this process: ``install()``. In every Ray worker: ``ray.init(runtime_env={"worker_process_setup_hook": install})``.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from types import ModuleType

import torch
from transformers.utils import import_utils


def nms(boxes: torch.Tensor, scores: torch.Tensor, iou_threshold: float) -> torch.Tensor:
    """Greedy non-maximum suppression.

    Args:
        boxes: ``(n, 4)`` corners x1, y1, x2, y2.
        scores: ``(n,)``; the highest box stays, those overlapping it by more than the threshold go.
        iou_threshold: intersection over union above which a box goes.

    Returns:
        Indices of the boxes that stay, by falling score.
    """
    order = scores.argsort(descending=True, stable=True)
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    keep: list[int] = []
    while order.numel():
        best, rest = order[0], order[1:]
        keep.append(int(best))
        top_left = torch.maximum(boxes[rest, :2], boxes[best, :2])
        bottom_right = torch.minimum(boxes[rest, 2:], boxes[best, 2:])
        width, height = (bottom_right - top_left).clamp(min=0).unbind(dim=1)
        shared = width * height
        overlap = shared / (areas[rest] + areas[best] - shared)
        order = rest[~(overlap > iou_threshold)]  # a box without area gives nan and stays, as in torchvision
    return torch.tensor(keep, dtype=torch.int64, device=boxes.device)


def batched_nms(boxes: torch.Tensor, scores: torch.Tensor, idxs: torch.Tensor, iou_threshold: float) -> torch.Tensor:
    """Non-maximum suppression within each group of boxes, with torchvision's signature.

    Args:
        boxes: ``(n, 4)`` corners.
        scores: ``(n,)``.
        idxs: ``(n,)`` group of each box; boxes of different groups never suppress each other.
        iou_threshold: see ``nms``.

    Returns:
        Indices of the boxes that stay, by falling score over all groups.
    """
    keep = torch.zeros_like(scores, dtype=torch.bool)
    for group in torch.unique(idxs):
        members = torch.where(idxs == group)[0]
        keep[members[nms(boxes[members], scores[members], iou_threshold)]] = True
    kept = torch.where(keep)[0]
    return kept[scores[kept].argsort(descending=True, stable=True)]


def install() -> None:
    """Offer the stand-in to transformers in this process, unless torchvision is installed; again does nothing.

    Two doors: the import inside the function, and the check of its ``@requires`` decorator.
    """
    if "torchvision.ops.boxes" in sys.modules or importlib.util.find_spec("torchvision") is not None:
        return
    boxes = ModuleType("torchvision.ops.boxes", "Stand-in of the tests: batched_nms only.")
    boxes.batched_nms = batched_nms  # type: ignore[attr-defined]
    sys.modules["torchvision.ops.boxes"] = boxes
    check = import_utils.requires_backends

    def requires_backends(obj: object, backends: Sequence[object]) -> None:
        """The check of transformers, but mask-generation's last step may go on without torchvision."""
        if getattr(obj, "__name__", "") == "post_process_for_mask_generation":
            backends = [backend for backend in backends if backend != "torchvision"]
        check(obj, backends)

    import_utils.requires_backends = requires_backends
