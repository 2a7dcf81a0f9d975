"""Keys of parameters and inputs: equal only for what means the same.

The order of a dictionary is part of its meaning: that of a table's columns or a schema's properties is what the model
reads. Only the parameters of a call have names whose order says nothing.
"""

import hashlib
import itertools
import weakref
from collections.abc import Hashable, Mapping
from enum import Enum
from typing import Any

import numpy as np
from PIL.Image import Image

from deployments.payload import Media, Tensor

_LONGEST = 64  # of what stands in a key as it is
_ORIENTATION = 0x0112  # of EXIF, by which pipelines turn an image
_numbers: "weakref.WeakKeyDictionary[object, int]" = weakref.WeakKeyDictionary()
_next = itertools.count()


def request_key(inputs: Any, parameters: Mapping[str, Any]) -> bytes:
    """That of a request; 32 bytes, however long the request is."""
    return _digest(repr((value_key(inputs), parameters_key(parameters))).encode())


def parameters_key(parameters: Mapping[str, Any]) -> Hashable:
    """That of the parameters of a call, in any order."""
    return tuple(sorted((name, value_key(value)) for name, value in parameters.items()))


def value_key(value: Any) -> Hashable:
    """Something that is equal only for values that mean the same: ``1``, ``1.0`` and ``True`` differ.

    Values of a type that is not known here are equal only to themselves.
    """
    if isinstance(value, str | bytes) and len(value) > _LONGEST:
        return type(value).__name__, _digest(value.encode(errors="surrogatepass") if isinstance(value, str) else value)
    if value is None or isinstance(value, bool | int | float | complex | str | bytes | Enum):
        return type(value).__name__, repr(value)
    if isinstance(value, dict):
        return "dict", tuple((value_key(key), value_key(part)) for key, part in value.items())
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
        seen = repr((palette, value.info.get("transparency"), _orientation(value)))
        return "image", value.mode, value.size, _digest(value.tobytes()), seen
    if type(value).__module__ == "torch" and hasattr(value, "detach"):
        return "torch", str(value.dtype), tuple(value.shape), repr(value.tolist())
    return "object", type(value).__name__, _number(value)


def _orientation(image: Image) -> Any:
    try:
        return image.getexif().get(_ORIENTATION)
    except Exception:  # of broken data; no pipeline turns by it
        return None


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=32).digest()


def _number(value: object) -> int:
    """A number of this very object, never given again."""
    try:
        return _numbers.setdefault(value, next(_next))
    except TypeError:  # not hashable, or without weak references: equal to nothing
        return next(_next)
