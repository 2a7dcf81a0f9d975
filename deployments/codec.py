"""Python values ↔ JSON without losing their types: the format ``application/vnd.pipeline+json``.

Plain JSON turns tuples into lists, and has no arrays, tensors or images. Here such a value is an object with the key
``$type``; everything that JSON has stays as it is:

    {"$type": "tuple",   "items": [...]}
    {"$type": "ndarray", "dtype": "float32", "shape": [2, 3], "data": "<base64, little-endian, C order>"}
    {"$type": "tensor",  ... as ndarray ..., "torch": "bfloat16"}
    {"$type": "scalar",  "dtype": "float32", "data": "<base64>"}          a numpy scalar
    {"$type": "image",   "mode": "RGB", "data": "<base64 of a PNG>"}      or "array": an ndarray, for modes PNG lacks
    {"$type": "media",   "kind": "audio", "data": "<base64>"}             an encoded file
    {"$type": "float",   "value": "nan" | "inf" | "-inf"}
    {"$type": "bytes",   "data": "<base64>"}
    {"$type": "dict",    "items": [[key, value], ...]}                    keys that are no strings, or "$type" itself

Reading builds only these types: no pickle, no code, nothing of object dtype.
"""

import base64
import io
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from deployments.errors import MalformedRequestError, PayloadTooLargeError
from deployments.images import UNREADABLE
from deployments.payload import Media, Tensor

MEDIA_TYPE = "application/vnd.pipeline+json"
# what numpy and Pillow raise on values that were made up
_UNREADABLE = (*UNREADABLE, Image.DecompressionBombError, Image.DecompressionBombWarning)
_MOST_PIXELS = 2**27
_MEDIA_KINDS = ("image", "audio", "video")
_TORCH_TYPES = frozenset({"bool", "float16", "bfloat16", "float32", "float64", "complex64", "complex128"})
_TORCH_TYPES |= {f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)}
_PNG_MODES = frozenset({"1", "L", "LA", "P", "RGB", "RGBA", "I;16"})
_NUMBER_KINDS = frozenset("biufc")


def to_json(value: Any) -> Any:
    """``value`` as something ``json.dumps(..., allow_nan=False)`` takes.

    Raises:
        TypeError: the value holds a type that this format does not have.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, np.generic) and value.dtype.kind in _NUMBER_KINDS:
        return {"$type": "scalar", "dtype": value.dtype.name, "data": _b64(value.tobytes())}
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else {"$type": "float", "value": str(float(value))}
    if isinstance(value, list):
        return [to_json(item) for item in value]
    return _compound(value)


def _compound(value: Any) -> Any:
    if isinstance(value, Mapping):
        if all(isinstance(key, str) for key in value) and "$type" not in value:
            return {key: to_json(item) for key, item in value.items()}
        return {"$type": "dict", "items": [[to_json(key), to_json(item)] for key, item in value.items()]}
    if isinstance(value, tuple):
        return {"$type": "tuple", "items": [to_json(item) for item in value]}
    if isinstance(value, np.ndarray):
        return {"$type": "ndarray", **_array(value)}
    if isinstance(value, Tensor):
        return {"$type": "tensor", **_array(value.array), "torch": value.dtype}
    if isinstance(value, Image.Image):
        return _image(value)
    if isinstance(value, Media):
        return {"$type": "media", "kind": value.kind, "data": _b64(value.data)}
    if type(value) is bytes:
        return {"$type": "bytes", "data": _b64(value)}
    raise TypeError(f"{type(value).__name__} has no form in {MEDIA_TYPE}")


def from_json(value: Any, max_total_pixels: int | None = None) -> Any:
    """The value that `to_json` was given; tensors stay `Tensor`.

    Args:
        value: what ``json.loads`` gave.
        max_total_pixels: of all images in it; with it none is decoded, and PNGs become `Media` with the mode of the
            image that they stand for (default: images, with no bound but for each image one of 2^27).

    Raises:
        MalformedRequestError: an object with ``$type`` does not hold what it says.
        PayloadTooLargeError: the images have too many pixels.
    """
    return _Reader(max_total_pixels).read(value)


def _array(array: npt.NDArray[Any]) -> dict[str, Any]:
    if array.dtype.kind not in _NUMBER_KINDS:
        raise TypeError(f"arrays of {array.dtype} have no form in {MEDIA_TYPE}")
    little = array.astype(array.dtype.newbyteorder("<"), copy=False)
    return {"dtype": array.dtype.name, "shape": list(array.shape), "data": _b64(np.ascontiguousarray(little).tobytes())}


def _read_array(value: dict[str, Any]) -> npt.NDArray[Any]:
    flat = np.frombuffer(_bytes(value), _number_dtype(value["dtype"]))
    return flat.reshape([int(size) for size in value["shape"]]).copy()


def _number_dtype(name: str) -> "np.dtype[Any]":
    dtype = np.dtype(name)
    if dtype.kind not in _NUMBER_KINDS:
        raise ValueError(f"no numbers: {name}")
    return dtype.newbyteorder("<")


def _read_scalar(value: dict[str, Any]) -> Any:
    return _read_array({**value, "shape": []})[()]


def _image(image: Image.Image) -> dict[str, Any]:
    image = ImageOps.exif_transpose(image)  # a PNG of the pixels would lose the note that a photo is turned
    if image.mode not in _PNG_MODES:
        return {"$type": "image", "mode": image.mode, "array": _array(np.asarray(image))}
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return {"$type": "image", "mode": image.mode, "data": _b64(buffer.getvalue())}


def _bytes(value: dict[str, Any]) -> bytes:
    return base64.b64decode(value["data"], validate=True)


def _read_media(value: dict[str, Any]) -> Media:
    if value["kind"] not in _MEDIA_KINDS:
        raise ValueError("no kind of media")
    return Media(_bytes(value), value["kind"])


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


class _Reader:
    """Reads one value, and counts the pixels in it."""

    def __init__(self, max_total_pixels: int | None) -> None:
        self._most = self._left = max_total_pixels

    def read(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self.read(item) for item in value]
        if not isinstance(value, dict):
            return value
        if "$type" not in value:
            return {key: self.read(item) for key, item in value.items()}
        read = self._readers.get(str(value["$type"]))
        if read is None:
            raise MalformedRequestError(
                f"There is no $type {str(value['$type'])[:50]!r}; known: {', '.join(self._readers)}."
            )
        try:
            return read(self, value)
        except RecursionError:
            raise MalformedRequestError("The body is nested too deeply.") from None
        except _UNREADABLE as error:
            raise MalformedRequestError(
                f"A value of $type {value['$type']} cannot be read ({type(error).__name__})."
            ) from None

    def _image(self, value: dict[str, Any]) -> Image.Image | Media:
        if "array" in value:
            return Image.fromarray(_read_array(value["array"]), value["mode"])
        data, mode = _bytes(value), value["mode"]
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            self._count(image.width * image.height)
            if self._most is not None:
                if mode not in Image.MODES:
                    raise ValueError("no mode of images")
                return Media(data, "image", mode=mode)
            # a copy is a plain Image, as pipelines return it, rather than a PNG file that was opened
            return image.copy() if image.mode == mode else image.convert(mode)

    def _count(self, pixels: int) -> None:
        """Take ``pixels`` from those that are left, before they are decoded."""
        if pixels > _MOST_PIXELS:
            raise ValueError("too many pixels")
        if self._left is not None:
            self._left -= pixels
            if self._left < 0:
                raise PayloadTooLargeError(f"The images in the body have more than {self._most} pixels together.")

    def _tensor(self, value: dict[str, Any]) -> Tensor:
        if value["torch"] not in _TORCH_TYPES:  # it is looked up by name in the module torch
            raise ValueError("no type of numbers")
        return Tensor(_read_array(value), value["torch"])

    _readers: "dict[str, Callable[[_Reader, dict[str, Any]], Any]]" = {  # noqa: RUF012
        "tuple": lambda self, value: tuple(self.read(value["items"])),
        "ndarray": lambda self, value: _read_array(value),
        "tensor": _tensor,
        "scalar": lambda self, value: _read_scalar(value),
        "image": _image,
        "media": lambda self, value: _read_media(value),
        "float": lambda self, value: {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}[value["value"]],
        "bytes": lambda self, value: _bytes(value),
        "dict": lambda self, value: {self.read(key): self.read(item) for key, item in value["items"]},
    }
