"""Samples → sound files. WAV by the standard library, the others by FFmpeg's encoders (PyAV)."""

import io
import wave
from typing import Any

import numpy as np
import numpy.typing as npt

# media type → container, encoder, format of its samples, and the sampling rates that it has (Hz), None for any
_ENCODERS: dict[str, tuple[str, str, str, tuple[int, ...] | None]] = {
    "audio/flac": ("flac", "flac", "s16", None),
    "audio/mpeg": ("mp3", "libmp3lame", "s16p", (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)),
    "audio/ogg": ("ogg", "libopus", "s16", (8000, 12000, 16000, 24000, 48000)),
    "audio/aac": ("adts", "aac", "fltp", (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)),
}
PCM_RATE = 24000
"""Of samples without a header, in Hz: what OpenAI's clients take them for."""
_LAYOUTS = {1: "mono", 2: "stereo"}


def sound_bytes(samples: npt.NDArray[Any], rate: int, media_type: str) -> bytes:
    """A file of ``samples`` in [-1, 1], shape ``(samples,)`` or ``(channels, samples)``, at ``rate`` (Hz).

    Args:
        samples: more than two channels are mixed down, except in WAV.
        rate: kept where the format has it; else the next higher one that it has.
        media_type: ``audio/wav`` (16 bit PCM), ``audio/flac`` (16 bit), ``audio/mpeg`` (MP3), ``audio/ogg`` (Opus),
            ``audio/aac`` (AAC in ADTS) or ``audio/pcm`` (one channel of 16 bit samples at `PCM_RATE`, no header).
    """
    whole = _pcm(samples)
    if media_type == "audio/wav":
        return _wav(whole, rate)
    if media_type == "audio/pcm":
        return _bare(whole, rate)
    import av  # here, for the router starts without it

    container_format, codec, sample_format, rates = _ENCODERS[media_type]
    target = rate if rates is None else min((one for one in rates if one >= rate), default=rates[-1])
    if whole.shape[1] not in _LAYOUTS:
        whole = whole.mean(1, keepdims=True).round().astype("<i2")
    if not whole.size:  # no frame is that short
        whole = np.zeros((1, whole.shape[1]), "<i2")
    layout = _LAYOUTS[whole.shape[1]]
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container_format) as container:
        stream = container.add_stream(codec, rate=target, layout=layout, format=sample_format)
        frame = av.AudioFrame.from_ndarray(whole.reshape(1, -1), format="s16", layout=layout)
        frame.sample_rate = rate
        resampler = av.AudioResampler(sample_format, layout, target, frame_size=_frame_size(stream))
        for given in (frame, None):
            for piece in resampler.resample(given):
                container.mux(stream.encode(piece))
        container.mux(stream.encode(None))
    return buffer.getvalue()


def wav_bytes(samples: npt.NDArray[Any], rate: int) -> bytes:
    """16 bit PCM WAV of ``samples`` in [-1, 1], shape ``(samples,)`` or ``(channels, samples)``, at ``rate`` (Hz)."""
    return _wav(_pcm(samples), rate)


def _pcm(samples: npt.NDArray[Any]) -> npt.NDArray[np.int16]:
    """16 bit samples, clipped, shape ``(samples, channels)``."""
    frames = samples.astype(np.float32)
    return np.clip(np.round((frames[None] if frames.ndim == 1 else frames).T * 32767), -32768, 32767).astype("<i2")


def _wav(whole: npt.NDArray[np.int16], rate: int) -> bytes:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(whole.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(whole.tobytes())
    return buffer.getvalue()


def _bare(whole: npt.NDArray[np.int16], rate: int) -> bytes:
    import av

    mono = whole.mean(1).round().astype("<i2")
    if rate == PCM_RATE or not mono.size:
        return bytes(mono.tobytes())
    frame = av.AudioFrame.from_ndarray(mono[None], format="s16", layout="mono")
    frame.sample_rate = rate
    resampler = av.AudioResampler("s16", "mono", PCM_RATE)
    pieces = [piece.to_ndarray()[0] for given in (frame, None) for piece in resampler.resample(given)]
    return bytes(np.concatenate(pieces).astype("<i2").tobytes())


def _frame_size(stream: Any) -> int:
    """Samples that the encoder takes at a time; 4096 where it takes any."""
    stream.codec_context.open(strict=False)
    return int(stream.codec_context.frame_size) or 4096
