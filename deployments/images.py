"""Encoded images → pixels: a few well-known formats, and no more pixels than are allowed for.

No Ray, no torch. What the header says is checked before a pixel is decoded.
"""

import io
import struct
import warnings
import zlib
from collections.abc import Iterator

from PIL import Image, ImageOps, UnidentifiedImageError

from deployments.config import MediaLimits
from deployments.errors import InvalidInputError, PayloadTooLargeError
from deployments.scans import scanned_pixels

# Left out: what runs another program (EPS), is no picture of pixels (WMF, PDF), holds other files (ICNS, PSD), or is
# hardly met outside of its field. MPO, which some phones write, is read as the JPEG that it begins with.
FORMATS = ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF", "ICO")
# Pillow's own guard, for sizes that only show while it decodes (tiles of a TIFF, frames of a GIF): above twice this
# number it raises. Below that it would only warn; the configured limit is checked here.
Image.MAX_IMAGE_PIXELS = 2**27
warnings.simplefilter("ignore", Image.DecompressionBombWarning)
# of an image as large as is allowed; programs that write JPEG make up to about fifteen
_MOST_SCANS = 24
# what Pillow raises on bytes that somebody made up
UNREADABLE = (
    UnidentifiedImageError,
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    AttributeError,
    AssertionError,
    ArithmeticError,
    RuntimeError,
    MemoryError,
    struct.error,
    zlib.error,
)


def read_image(data: bytes, limits: MediaLimits, field: str, budget: int, mode: str | None = None) -> Image.Image:
    """As ``transformers.image_utils.load_image``: EXIF rotation applied, RGB; of an animation the first frame.

    Args:
        data: the encoded file.
        limits: of one image.
        field: where in the request it stood.
        budget: pixels that are left for the request.
        mode: of a PNG that stands for an image in memory; it is read as that very image.

    Raises:
        InvalidInputError: it cannot be decoded, or is more elongated than is allowed.
        PayloadTooLargeError: too many pixels.
    """
    try:
        for size in _icon_sizes(data):
            check_size(size, limits, field, budget)
        with Image.open(io.BytesIO(data), formats=FORMATS if mode is None else ("PNG",)) as image:
            check_size(image.size, limits, field, budget)
            _check_scans(image, data, limits, field)
            if mode is not None:
                return image.copy() if image.mode == mode else image.convert(mode)
            return ImageOps.exif_transpose(image).convert("RGB")
    except Image.DecompressionBombError:
        raise PayloadTooLargeError(
            f"`{field}` has too many pixels; at most {limits.max_image_pixels} are taken.", field
        ) from None
    except UNREADABLE:
        raise InvalidInputError(
            f"`{field}` is not an image that can be decoded ({', '.join(FORMATS)}).", field
        ) from None


def check_size(size: tuple[int, int], limits: MediaLimits, field: str, budget: int) -> None:
    """Check the width and height of an image that is not decoded yet.

    Raises:
        InvalidInputError: it is empty, or more elongated than is allowed.
        PayloadTooLargeError: it has more pixels than one image or the rest of the request may have.
    """
    pixels, most = size[0] * size[1], limits.max_image_pixels
    if pixels > most:
        raise PayloadTooLargeError(f"`{field}` has {pixels} pixels; at most {most} are taken.", field)
    if pixels > budget:
        raise PayloadTooLargeError(
            f"The images of this input have more than {limits.max_total_pixels} pixels together, the most that is "
            "taken.",
            field,
        )
    # many processors bring the shorter side to a fixed length and keep the ratio: a line of pixels would become a wall
    if not pixels or max(size) > limits.max_image_ratio * min(size):
        raise InvalidInputError(
            f"`{field}` is {size[0]} x {size[1]} pixels; the longer side may be at most "
            f"{limits.max_image_ratio:g} times the shorter one.",
            field,
        )


def _check_scans(image: Image.Image, data: bytes, limits: MediaLimits, field: str) -> None:
    """Refuse a JPEG that would be decoded over and over again; small ones may have more scans than large ones."""
    most = _MOST_SCANS * limits.max_image_pixels
    if scanned_pixels(image, data) > most:
        raise PayloadTooLargeError(
            f"`{field}` has so many scans that decoding it goes over more than {most} pixels, the most that is taken: "
            "save it with fewer.",
            field,
        )


def _icon_sizes(data: bytes) -> Iterator[tuple[int, int]]:
    """What the pictures in an icon say of their sizes; nothing for another file.

    Pillow decodes an icon as it opens it, and the table of the icon itself has room for numbers up to 256 only.
    """
    if not data.startswith(b"\0\0\1\0"):
        return
    for entry in range(struct.unpack_from("<H", data, 4)[0]):
        (offset,) = struct.unpack_from("<I", data, 6 + 16 * entry + 12)
        start = data[offset : offset + 24]
        if start.startswith(b"\x89PNG"):
            width, height = struct.unpack_from(">II", start, 16)
            yield width, height
        else:  # a bitmap, whose height counts the mask below it too
            width, height = struct.unpack_from("<ii", start, 4)
            yield abs(width), abs(height) // 2
