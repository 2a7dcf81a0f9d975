"""How many frames of a film the pipelines hold in memory at once. No Ray, no torch.

They decode the frames that they look at in full size, and stack them, before any is made smaller.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from deployments.av_files import Film
from deployments.errors import PayloadTooLargeError

MOST_FRAME_BYTES = 2**31
"""Of the frames that a caller asks for, of all films of an input."""
_PIXEL_BYTES = 3


def frame_bytes(film: Film, parameters: Mapping[str, Any]) -> int:
    """What the frames of ``film`` take that ``parameters`` ask for; 0 where the model's own number is taken."""
    asked = 0.0
    for name, value in _numbers(parameters):
        if name == "num_frames":
            asked = max(asked, value)
        elif name == "fps":
            asked = max(asked, value * film.seconds)
        elif name == "do_sample_frames" and not value:
            asked = math.inf
    return math.ceil(min(asked, film.frames)) * film.pixels * _PIXEL_BYTES


def check_frame_bytes(size: int, field: str) -> None:
    """Check what the frames of all films come to.

    Raises:
        PayloadTooLargeError: it is over `MOST_FRAME_BYTES`.
    """
    if size > MOST_FRAME_BYTES:
        raise PayloadTooLargeError(
            f"`{field}` comes to {size // 2**20} MiB of pixels in the frames that are asked for; at most "
            f"{MOST_FRAME_BYTES // 2**20} MiB are taken: ask for fewer frames, or send a film of smaller ones.",
            field,
        )


def _numbers(settings: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Numbers and flags by name, however deep they stand."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _numbers(value)
        elif isinstance(value, int | float):
            yield name, value
