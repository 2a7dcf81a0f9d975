"""Images, depth maps and masks → image files."""

import io
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from PIL.PngImagePlugin import PngInfo

_QUALITY = 90  # of JPEG and WebP, in percent
_MOST_COLOURS = 255  # beside black, in a palette


def png_bytes(image: Image.Image, notes: PngInfo | None = None) -> bytes:
    """``image`` as a PNG file; 32 bit modes become 16 bit grey, and other modes that PNG lacks RGB."""
    if image.mode in ("I", "F"):
        image = Image.fromarray(np.clip(np.asarray(image), 0, 65535).astype(np.uint16))
    elif image.mode not in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"):
        image = image.convert("RGB")
    buffer = io.BytesIO()
    image.save(buffer, "PNG", pnginfo=notes)
    return buffer.getvalue()


def image_bytes(image: Image.Image, media_type: str) -> bytes:
    """``image`` as ``image/png``, ``image/jpeg`` or ``image/webp``; the last two have 8 bits for each colour."""
    if media_type == "image/png":
        return png_bytes(image)
    if image.mode in ("I", "I;16", "F"):
        image = Image.fromarray((np.clip(np.asarray(image), 0, 65535) / 257).round().astype(np.uint8))
    elif image.mode not in ("L", "RGB"):
        image = image.convert("RGB")
    buffer = io.BytesIO()
    image.save(buffer, media_type.removeprefix("image/"), quality=_QUALITY)
    return buffer.getvalue()


def label_map(masks: Sequence[Any], legend: Sequence[dict[str, Any]]) -> bytes:
    """Several masks as one PNG: the value of a pixel is the number of its mask, from 1, or 0 where there is none.

    Where masks overlap, the smaller one is seen. Up to 255 masks are an indexed image with a colour for each, more are
    16 bit grey. The legend stands in the file as the text ``segments``, in JSON.

    Args:
        masks: of one shape, ``(height, width)``; at least one, unless there is nothing to show.
        legend: what is known of each mask.
    """
    arrays = [np.asarray(getattr(mask, "array", mask)).astype(bool) for mask in masks]
    labels = np.zeros(arrays[0].shape if arrays else (1, 1), np.uint8 if len(arrays) <= _MOST_COLOURS else np.uint16)
    for number in sorted(range(len(arrays)), key=lambda number: -int(arrays[number].sum())):
        labels[arrays[number]] = number + 1
    image = Image.fromarray(labels)
    if labels.dtype == np.uint8:
        image = Image.fromarray(labels, "L")
        image.putpalette(_palette().tobytes())
    notes = PngInfo()
    notes.add_itxt("segments", json.dumps(list(legend), ensure_ascii=False))
    return png_bytes(image, notes)


def _palette() -> npt.NDArray[np.uint8]:
    """Black and 255 colours, neighbours far apart: the bits of a number spread over three colours, as in PASCAL VOC."""
    colours = np.zeros((256, 3), np.uint8)
    for number in range(256):
        for bit in range(8):
            colours[number, bit % 3] |= (number >> bit & 1) << (7 - bit // 3)
    return colours
