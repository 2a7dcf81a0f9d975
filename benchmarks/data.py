"""Seeded inputs: texts, images and sounds of mixed sizes, and the request bodies made from them."""

import base64
import io
import json
import math
import wave
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

SAMPLING_RATE = 16_000
"""Hz, of all sounds."""
_SPECIAL_TOKENS = 2  # [CLS] and [SEP]


def texts(words: Sequence[str], count: int, seed: int) -> tuple[list[str], list[int]]:
    """Texts with log-normal lengths: median 40 tokens, sigma 0.9, clipped to 4..480.

    Args:
        words: to draw from; each must be one token.
        count: how many texts.
        seed: of lengths and words.

    Returns:
        The texts and their lengths in tokens, special tokens included.
    """
    rng = np.random.default_rng(seed)
    drawn = rng.lognormal(math.log(40), 0.9, count)
    lengths = [int(length) for length in np.clip(np.round(drawn), 4, 480)]
    made = [" ".join(rng.choice(words, length - _SPECIAL_TOKENS).tolist()) for length in lengths]
    return made, lengths


def images(count: int, seed: int) -> list[bytes]:
    """JPEG files, each side 120 to 1200 pixels: soft colours under grain, to compress like photographs."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        width, height = (int(side) for side in np.exp(rng.uniform(math.log(120), math.log(1200), 2)))
        coarse = Image.fromarray(rng.integers(0, 256, (9, 9, 3), dtype=np.uint8))
        soft = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), dtype=np.float32)
        grain = rng.normal(0, 6, soft.shape)
        file = io.BytesIO()
        Image.fromarray(np.clip(soft + grain, 0, 255).astype(np.uint8)).save(file, "JPEG", quality=88)
        made.append(file.getvalue())
    return made


def sounds(count: int, seed: int) -> list[npt.NDArray[np.int16]]:
    """Sounds of 1 to 25 s at 16 kHz: three tones that swell and fade, over noise; 16 bit samples."""
    rng = np.random.default_rng(seed)
    made = []
    for seconds in rng.uniform(1, 25, count):
        time_s = np.arange(int(seconds * SAMPLING_RATE)) / SAMPLING_RATE
        sound = rng.normal(0, 0.02, time_s.size)
        for pitch_hz, beat_hz in zip(rng.uniform(90, 900, 3), rng.uniform(0.3, 3, 3), strict=True):
            sound += 0.2 * np.sin(2 * np.pi * pitch_hz * time_s) * np.sin(np.pi * beat_hz * time_s) ** 2
        made.append((np.clip(sound, -1, 1) * 32767).astype(np.int16))
    return made


def wav(samples: npt.NDArray[np.int16]) -> bytes:
    """A mono WAV file of ``samples``."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(SAMPLING_RATE)
        writer.writeframes(samples.astype("<i2").tobytes())
    return file.getvalue()


def body(inputs: Any) -> str:
    """The request body for one input or a list of them; files go as base64."""
    if isinstance(inputs, bytes):
        inputs = base64.b64encode(inputs).decode("ascii")
    return json.dumps({"inputs": inputs})
