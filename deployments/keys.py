"""Keys of parameters and inputs: equal only for what means the same."""

import hashlib
import itertools
import weakref
from collections.abc import Hashable
from enum import Enum
from typing import Any

import numpy as np
from PIL.Image import Image

from deployments.payload import Media, Tensor

_numbers: "weakref.WeakKeyDictionary[object, int]" = weakref.WeakKeyDictionary()
_next = itertools.count()


def value_key(value: Any) -> Hashable:
    """Something that is equal only for values that mean the same: ``1``, ``1.0`` and ``True`` differ.

    Values of a type that is not known here are equal only to themselves.
    """
    if value is None or isinstance(value, bool | int | float | complex | str | bytes | Enum):
        return type(value).__name__, repr(value)
    if isinstance(value, dict):
        return "dict", tuple(sorted((repr(key), value_key(part)) for key, part in value.items()))
    if isinstance(value, list | tuple):
        return type(value).__name__, tuple(value_key(part) for part in value)
    if isinstance(value, Tensor):
        return "tensor", value.dtype, value_key(value.array)
    if isinstance(value, np.ndarray):
        return "array", value.dtype.str, value.shape, _digest(value.tobytes())
    if isinstance(value, np.generic):
        return "scalar", value.dtype.str, repr(value)
    return _media_key(value)


def _media_key(value: Any) -> Hashable:
    if isinstance(value, Media):
        return "media", value.kind, value.mode, _digest(value.data)
    if isinstance(value, Image):
        palette = value.getpalette() if value.mode == "P" else None
        return "image", value.mode, value.size, _digest(value.tobytes()), repr(palette)
    if type(value).__module__ == "torch" and hasattr(value, "detach"):
        return "torch", str(value.dtype), tuple(value.shape), repr(value.tolist())
    return "object", type(value).__name__, _number(value)


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=16).digest()


def _number(value: object) -> int:
    """A number of this very object, never given again."""
    try:
        return _numbers.setdefault(value, next(_next))
    except TypeError:  # not hashable, or without weak references: equal to nothing
        return next(_next)
