"""Chunks → one batch of the model, and its outputs → those of each chunk. Torch, no Ray.

Joining is upstream's (``transformers.pipelines.base.pad_collate_fn``); what is ours is which chunks fit together, and
taking the padding off again.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from transformers.pipelines.base import pad_collate_fn
from transformers.utils import ModelOutput

from deployments.tasks.spec import BatchMode, Unit

_NEVER_PADDED = ("pixel_values", "image")  # upstream stacks these
_FRAMES_PER_S = 100.0  # spectrograms of every speech model here have a hop of 10 ms
_TOKEN_KEYS = ("input_ids", "decoder_input_ids")


def signature(inputs: Mapping[str, Any], mode: BatchMode) -> Hashable:
    """Equal for chunks that can be joined; None for a chunk that cannot be joined at all.

    In mode ``padded`` texts and sounds of any length fit together, in mode ``equal`` only tensors of one shape.
    """
    parts: list[Hashable] = []
    for key in sorted(inputs):
        value = inputs[key]
        if not isinstance(value, torch.Tensor):
            parts.append(key)
            continue
        if value.ndim == 0 or value.shape[0] != 1:  # not one row
            return None
        shape: tuple[Hashable, ...] = tuple(value.shape[1:])
        if mode == "padded" and value.ndim > 1 and not _stacked(key, value):
            shape = ("any", *shape[1:])
        parts.append((key, value.dtype, shape))
    return tuple(parts)


def _stacked(key: str, value: torch.Tensor) -> bool:
    return key in _NEVER_PADDED or (value.ndim == 4 and key == "input_features")


def size(inputs: Mapping[str, Any], unit: Unit, sampling_rate: int | None) -> float:
    """Cost of one row: tokens, pixels or seconds (>0)."""
    if unit == "tokens":
        return float(max((_width(inputs[key]) for key in _TOKEN_KEYS if key in inputs), default=1))
    if unit == "seconds":
        if "input_features" in inputs:
            return float(max(inputs["input_features"].shape[1:])) / _FRAMES_PER_S
        return _width(inputs.get("input_values")) / (sampling_rate or 16000)
    pixels = inputs.get("pixel_values", inputs.get("image"))
    # (1, channels, height, width), with a dimension more for frames
    return float(pixels.numel() / 3) if isinstance(pixels, torch.Tensor) else 1.0


def _width(value: Any) -> int:
    return max(1, int(value.shape[-1])) if isinstance(value, torch.Tensor) and value.ndim else 1


def collator(pipe: Any) -> tuple[Callable[[list[Any]], dict[str, Any]] | None, str]:
    """Upstream's padding join for ``pipe``, or None and the reason why it has none."""
    try:
        return pad_collate_fn(pipe.tokenizer, pipe.feature_extractor or pipe.image_processor), ""
    except ValueError as error:
        return None, str(error).split(". ")[0]


class Column(list[Any]):
    """Values of a batch that are no tensors, one a row; told apart from a value that is a list itself."""


def stack(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Join rows whose tensors have equal shapes; other values become lists, as upstream's join makes them."""
    columns = {key: Column(row[key] for row in rows) for key in rows[0]}
    return {
        key: torch.cat(column) if isinstance(column[0], torch.Tensor) else column for key, column in columns.items()
    }


def split(outputs: Any, count: int) -> list[Any]:
    """The outputs of each of ``count`` rows, with batch dimension 1, as the model would have given them alone.

    A model that returns several sequences for each row gives tensors of ``count * several`` rows.

    Raises:
        ValueError: the outputs do not have ``count`` rows.
    """
    if isinstance(outputs, torch.Tensor | np.ndarray):
        rows = outputs.shape[0] if outputs.ndim else 0
        if rows == 0 or rows % count:
            raise ValueError(f"{rows} rows of output for {count} rows of input")
        several = rows // count
        return [outputs[several * index : several * (index + 1)] for index in range(count)]
    if isinstance(outputs, ModelOutput | dict):
        kind = type(outputs)
        columns = {key: _split_value(value, count) for key, value in outputs.items() if key != "past_key_values"}
        return [kind({key: column[index] for key, column in columns.items()}) for index in range(count)]
    raise ValueError(f"outputs of type {type(outputs).__name__} cannot be split into rows")


def _split_value(value: Any, count: int) -> list[Any]:
    """One entry of the outputs for each row; what has no rows goes to each as it is."""
    if isinstance(value, torch.Tensor | np.ndarray):
        whole = value.ndim == 0 or value.shape[0] == 0 or value.shape[0] % count
        return [value] * count if whole else split(value, count)
    if isinstance(value, ModelOutput):
        return split(value, count)
    if isinstance(value, tuple):  # one entry for each layer
        layers = [_split_value(layer, count) for layer in value]
        return [tuple(layer[index] for layer in layers) for index in range(count)]
    if isinstance(value, list) and len(value) == count:
        return [part[None] if isinstance(part, torch.Tensor | np.ndarray) else part for part in value]
    return [value] * count


def trim(outputs: Any, names: frozenset[str], width: int, own: int, side: str) -> None:
    """Take the padding off ``outputs[name]`` for each of ``names``: ``own`` of ``width`` tokens (dimension 1) stay."""
    for name in names & set(outputs) if width != own else ():
        value = outputs[name]
        if isinstance(value, torch.Tensor) and value.ndim > 1 and value.shape[1] == width:
            outputs[name] = value[:, width - own :] if side == "left" else value[:, :own]
