"""Seeded inputs without files: pictures with shapes, tones and moving-square clips.

Same arguments, same pixels and samples on every run.
"""

from __future__ import annotations

import atexit
import functools
import io
import random
import shutil
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

SAMPLING_RATE = 16000


def picture(seed: int, size: tuple[int, int] = (64, 48)) -> Image.Image:
    """An RGB picture of eight coloured shapes on a gradient.

    Args:
        seed: of shapes and colours.
        size: width and height in pixels.

    Returns:
        A PIL image in mode RGB.
    """
    chance = random.Random(seed)
    width, height = size
    across = np.linspace(0, 255, width)[None, :, None] * np.array([1.0, 0.5, 0.2])
    down = np.linspace(0, 120, height)[:, None, None] * np.array([0.0, 0.5, 0.8])
    image = Image.fromarray((across + down).clip(0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    for index in range(8):
        left, top = chance.randrange(width - 8), chance.randrange(height - 8)
        right, bottom = left + chance.randrange(6, width // 2), top + chance.randrange(6, height // 2)
        shape = draw.rectangle if index % 2 else draw.ellipse
        shape((left, top, right, bottom), fill=tuple(chance.randrange(256) for _ in range(3)))
    return image


def pictures() -> tuple[Image.Image, Image.Image, Image.Image]:
    """Three pictures of different sizes and contents."""
    return picture(1, (64, 48)), picture(2, (40, 72)), picture(3, (96, 80))


def tone(seed: int, seconds: float, sampling_rate: int = SAMPLING_RATE) -> np.ndarray:
    """Mono float32 audio in [-1, 1]: two sliding tones under a slow envelope with a little noise.

    Args:
        seed: of pitches and noise.
        seconds: length.
        sampling_rate: samples per second.

    Returns:
        An array of shape ``(seconds * sampling_rate,)``.
    """
    chance = np.random.default_rng(seed)
    time = np.arange(int(seconds * sampling_rate)) / sampling_rate
    low, high = chance.uniform(120, 400), chance.uniform(600, 2400)
    wave = 0.5 * np.sin(2 * np.pi * (low + 80 * time) * time) + 0.3 * np.sin(2 * np.pi * (high - 200 * time) * time)
    envelope = 0.6 + 0.4 * np.sin(2 * np.pi * chance.uniform(2, 6) * time)
    return (wave * envelope + 0.02 * chance.standard_normal(time.size)).astype(np.float32)


def tones() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Three tones of 0.5, 1.2 and 0.8 seconds at 16 kHz."""
    return tone(1, 0.5), tone(2, 1.2), tone(3, 0.8)


def recordings() -> tuple[dict[str, object], dict[str, object], dict[str, object]]:
    """The three tones in the pipelines' dictionary form; fresh, as speech recognition empties the one it is given."""
    first, second, third = ({"raw": wave, "sampling_rate": SAMPLING_RATE} for wave in tones())
    return first, second, third


def clip(seed: int, frames: int = 16, size: tuple[int, int] = (64, 48)) -> bytes:
    """An MP4 file (mpeg4 codec, 8 frames per second) of a square crossing a picture.

    Args:
        seed: of background, colour and way.
        frames: number of frames.
        size: even width and height in pixels.

    Returns:
        The bytes of the file.
    """
    import av  # only the video task needs it

    background = np.asarray(picture(seed, size))
    chance = random.Random(seed)
    colour, step = [chance.randrange(256) for _ in range(3)], chance.randrange(2, 5)
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=8)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for index in range(frames):
            pixels = background.copy()
            left = (index * step + 5 * seed) % (size[0] - 12)
            pixels[10:30, left : left + 12] = colour
            for packet in stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return buffer.getvalue()


@functools.cache
def clip_file(seed: int, frames: int = 16, size: tuple[int, int] = (64, 48)) -> str:
    """The path of a clip written once per process, removed at exit: the only form the video pipeline takes."""
    path = _folder() / f"{seed}-{frames}.mp4"
    path.write_bytes(clip(seed, frames, size))
    return str(path)


@functools.cache
def _folder() -> Path:
    """A temporary folder of this process."""
    folder = Path(tempfile.mkdtemp(prefix="tiny-clips-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
