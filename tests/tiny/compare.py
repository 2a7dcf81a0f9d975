"""Are two pipeline answers the same: structure and types exactly, floats within a tolerance.

In: two answers as pipelines return them (dictionaries, tuples, arrays, tensors, pictures). Out: the first difference.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from PIL import Image

RTOL, ATOL = 1e-5, 1e-6


def difference(left: Any, right: Any, where: str = "answer") -> str | None:
    """The first place where two answers differ.

    Args:
        left: one answer.
        right: the other.
        where: name of this place, for the message.

    Returns:
        A sentence naming the place, or None when they are the same.
    """
    if type(left) is not type(right):
        return f"{where}: {type(left).__name__} against {type(right).__name__}"
    if isinstance(left, dict):
        return _mappings(left, right, where)
    if isinstance(left, (list, tuple)):
        return _sequences(left, right, where)
    if isinstance(left, (np.ndarray, torch.Tensor, Image.Image)):
        return _arrays(left, right, where)
    if isinstance(left, (float, np.floating)):
        same = math.isclose(left, right, rel_tol=RTOL, abs_tol=ATOL) or (math.isnan(left) and math.isnan(right))
        return None if same else f"{where}: {left!r} against {right!r}"
    return None if left == right else f"{where}: {left!r} against {right!r}"


def _mappings(left: dict[Any, Any], right: dict[Any, Any], where: str) -> str | None:
    """Same keys in the same order, same values."""
    if list(left) != list(right):
        return f"{where}: keys {list(left)} against {list(right)}"
    found = (difference(left[key], right[key], f"{where}[{key!r}]") for key in left)
    return next((text for text in found if text), None)


def _sequences(left: Any, right: Any, where: str) -> str | None:
    """Same length, same items."""
    if len(left) != len(right):
        return f"{where}: length {len(left)} against {len(right)}"
    found = (difference(*pair, f"{where}[{index}]") for index, pair in enumerate(zip(left, right, strict=True)))
    return next((text for text in found if text), None)


def _arrays(left: Any, right: Any, where: str) -> str | None:
    """Same element type and shape; floats within the tolerance, pictures within a grey level, all else exactly.

    A depth picture is cut from floats to 256 levels, so the last bit of a float can move a pixel by one.
    """
    first, second = np.asarray(left), np.asarray(right)
    if first.dtype != second.dtype or first.shape != second.shape:
        return f"{where}: {first.dtype}{first.shape} against {second.dtype}{second.shape}"
    if np.issubdtype(first.dtype, np.floating):
        same = np.allclose(first, second, rtol=RTOL, atol=ATOL, equal_nan=True)
    elif isinstance(left, Image.Image):
        same = bool((abs(first.astype(int) - second.astype(int)) <= 1).all())
    else:
        same = np.array_equal(first, second)
    return None if same else f"{where}: {int((first != second).sum())} of {first.size} elements differ"
