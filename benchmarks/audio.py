"""Sounds of mixed length to Whisper, which always writes the same number of tokens, so that the work is the same.

The local side is given samples, and so is spared the decoding of WAV that the served one does.
"""

import statistics

import numpy as np

from benchmarks import data, models
from benchmarks.comparison import Comparison, Part
from benchmarks.settings import Settings

_COUNT = 24
_MANY = 16  # clients
_TOKENS = 8


def make(settings: Settings) -> Comparison:
    """The comparison on sounds."""
    sounds = data.sounds(settings.count(_COUNT, _MANY), settings.seed)
    model, name = models.speech_recogniser(settings.seed)
    part = Part(
        name="audio",
        task="automatic-speech-recognition",
        model=model,
        unit="sounds",
        inputs=lambda: [sound.astype(np.float32) / 32768 for sound in sounds],
        sent=[data.wav(sound) for sound in sounds],
        parameters={"generate_kwargs": {"max_new_tokens": _TOKENS, "min_new_tokens": _TOKENS}},
        batch_sizes=(1, 4, 8),
        clients={1: 1, 8: 1, _MANY: 2},
        facts={
            "weights": name,
            "median_s": round(statistics.median(len(sound) for sound in sounds) / data.SAMPLING_RATE, 1),
        },
    )
    return Comparison(part, settings)
