"""How often a JPEG goes over all its pixels: each scan does once more, and costs its file fifteen bytes.

libjpeg decodes whatever scans there are, so they are counted first, as far as it would read: to the end of the image,
behind which phones put a second picture or a film.
"""

import re
from typing import Any

_MOST_MARKERS = 2**16
# a marker, but for those that stand between coded bytes: stuffing, restarts, fill
_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd7\xff]")
_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9
_STRIPS, _TILES = (273, 279), (324, 325)  # tags of a TIFF: where they begin, how long they are


def scanned_pixels(image: Any, data: bytes) -> float:
    """Pixels that decoding goes over, counted once for each scan; 0 for what is not coded as JPEG.

    Args:
        image: opened by Pillow, not decoded yet.
        data: its file.
    """
    pixels = int(image.width * image.height)
    if image.format in ("JPEG", "MPO"):
        return _scans(data) * pixels
    if image.format == "TIFF" and image.info.get("compression") == "tiff_jpeg":  # an older way, in one piece
        return data.count(b"\xff\xda") * pixels
    if image.format == "TIFF" and image.info.get("compression") == "jpeg":
        return _scanned_in_parts(image.tag_v2, data, pixels)
    return 0


def _scans(data: bytes) -> float:
    """Scans of a JPEG; infinite where there are too many markers to look at."""
    scans, at = 0, 2
    for _ in range(_MOST_MARKERS):
        marker = _MARKER.search(data, at)
        if marker is None or data[marker.end() - 1] == _END_OF_IMAGE:
            return scans
        scans += data[marker.end() - 1] == _START_OF_SCAN
        at = marker.end() + max(2, int.from_bytes(data[marker.end() : marker.end() + 2], "big"))
    return float("inf")


def _scanned_in_parts(tags: Any, data: bytes, pixels: int) -> float:
    """Of a TIFF, whose strips or tiles are a JPEG each; infinite where they are longer together than the file.

    Several may be the same bytes, so each is counted where it lies. Where lengths are missing libtiff guesses.
    """
    begins, lengths = _TILES if 324 in tags else _STRIPS
    parts = list(zip(_numbers(tags, begins), _numbers(tags, lengths), strict=False))
    if not parts or min(length for _, length in parts) <= 0 or sum(length for _, length in parts) > len(data):
        return float("inf")
    if begins == _TILES[0]:
        one = tags.get(322, 1) * tags.get(323, 1)
    else:
        one = tags.get(256, 1) * min(tags.get(278, 2**32), tags.get(257, 1))
    return float(max(one, pixels / len(parts))) * sum(data.count(b"\xff\xda", at, at + length) for at, length in parts)


def _numbers(tags: Any, tag: int) -> tuple[int, ...]:
    value = tags.get(tag, ())
    return value if isinstance(value, tuple) else (value,)
