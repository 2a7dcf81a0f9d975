"""Encoded sounds and films, read with FFmpeg (PyAV): a few well-known containers, within the limits.

No Ray, no torch. A file is read from memory and can lead to no other: playlists, session descriptions and the like are
no containers here. Lengths are counted, as a header may say anything.
"""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import av
import numpy as np
import numpy.typing as npt

from deployments.config import MediaLimits
from deployments.errors import InvalidInputError, PayloadTooLargeError

HIGHEST_RATE = 768_000  # Hz; FFmpeg's filter for a higher one, whatever the sound, would be gigabytes
# samples of all channels for each second that is allowed: 48 kHz x 8 channels, or 192 kHz x 2
_SAMPLES_PER_S = 384_000
# names of FFmpeg's demuxers. One that is not listed is refused before it reads: `sdp` opens sockets and waits, `hls`,
# `dash` and `concat` open what a text names.
_SOUND_FORMATS = "wav,w64,aiff,au,caf,flac,mp3,ogg,aac,amr,wv,mov,matroska,asf,avi,flv,mpeg,mpegts"
_FILM_FORMATS = "mov,matroska,avi,mpegts,mpeg,flv,asf,ogg,gif,m4v,h264,hevc,mpegvideo"
# what PyAV raises on bytes that somebody made up
_UNREADABLE = (av.error.FFmpegError, ValueError, IndexError, ArithmeticError, MemoryError)


@dataclass(frozen=True)
class Film:
    """What is known of a film before a frame is decoded.

    Args:
        seconds: how long it is.
        frames: how many it has.
        pixels: of one frame, as the file says.
    """

    seconds: float
    frames: int
    pixels: int


def read_sound(data: bytes, rate: int, limits: MediaLimits, field: str) -> npt.NDArray[np.float32]:
    """Mono float32 in [-1, 1] at ``rate`` (Hz), shape ``(samples,)``, as ``ffmpeg -ac 1 -ar RATE -f f32le``.

    Raises:
        InvalidInputError: it cannot be decoded, or has no sound in it.
        PayloadTooLargeError: longer than is allowed.
    """
    try:
        with _open(data, _SOUND_FORMATS) as container:
            _decodable(container.streams.audio)
            samples = resample(container.decode(audio=0), rate, limits.max_audio_s, field)
    except _UNREADABLE:
        raise InvalidInputError(
            f"`{field}` is not audio that can be decoded (WAV, FLAC, MP3, OGG, M4A, WebM ...).", field
        ) from None
    if not samples.size:
        raise InvalidInputError(f"`{field}` has no sound in it.", field)
    return samples


def check_film(data: bytes, limits: MediaLimits, field: str) -> Film:
    """Measure a film; its frames are counted, and none is decoded.

    Raises:
        InvalidInputError: it is no film.
        PayloadTooLargeError: too long, too many frames, or too large ones.
    """
    try:
        with _open(data, _FILM_FORMATS) as container:
            pixels = _frame_pixels(_decodable(container.streams.video))
            seconds, frames = _measured(container, limits)
    except _UNREADABLE:
        raise InvalidInputError(
            f"`{field}` is not a video that can be decoded (MP4, WebM, MKV, AVI ...).", field
        ) from None
    if seconds > limits.max_video_s:
        raise PayloadTooLargeError(f"`{field}` is longer than {limits.max_video_s:g} s, the most that is taken.", field)
    if pixels > limits.max_frame_pixels:
        raise PayloadTooLargeError(
            f"`{field}` has frames of {pixels} pixels; at most {limits.max_frame_pixels} are taken.", field
        )
    if frames > limits.max_video_frames or frames * pixels > limits.max_video_pixels:
        raise PayloadTooLargeError(
            f"`{field}` has more than {limits.max_video_frames} frames, or more than {limits.max_video_pixels} pixels "
            "in all its frames: send fewer or smaller ones.",
            field,
        )
    return Film(seconds, frames, pixels)


def _open(data: bytes, formats: str) -> Any:
    return av.open(io.BytesIO(data), options={"format_whitelist": formats, "protocol_whitelist": "none"})


def _decodable(streams: Any) -> Any:
    """The first of ``streams``, which is the one that is decoded.

    Raises:
        ValueError: there is none, or in a coding that is not known here.
    """
    if not streams or streams[0].codec_context is None:
        raise ValueError("no stream that can be decoded")
    return streams[0]


def _frame_pixels(stream: Any) -> int:
    """Pixels of a frame.

    Raises:
        ValueError: the file does not say.
    """
    pixels = int(stream.codec_context.width) * int(stream.codec_context.height)
    if pixels <= 0:
        raise ValueError("no size")
    return pixels


def _measured(container: Any, limits: MediaLimits) -> tuple[float, int]:
    """Seconds, the larger of what the file says and what its packets span, and frames; counted until over a limit."""
    stream = container.streams.video[0]
    seconds = float(container.duration / av.time_base) if container.duration else 0.0
    rate, first, frames = float(stream.average_rate or 25), None, 0
    for packet in container.demux(stream):
        if seconds > limits.max_video_s or frames > limits.max_video_frames:
            break
        if packet.size:
            frames += 1
        if packet.pts is not None and packet.time_base:
            at = float(packet.pts * packet.time_base)
            first = at if first is None else min(first, at)
            seconds = max(seconds, at - first)
        else:
            seconds = max(seconds, (frames - 1) / rate)
    return seconds, frames


def resample(frames: Any, rate: int, max_s: float, field: str) -> npt.NDArray[np.float32]:
    """All ``frames`` as one mono float32 array at ``rate`` (Hz).

    Raises:
        InvalidInputError: a sampling rate that no sound has.
        PayloadTooLargeError: longer than ``max_s`` seconds.
    """
    resampler = av.AudioResampler(format="flt", layout="mono", rate=rate)
    pieces: list[npt.NDArray[np.float32]] = []
    seconds, samples = 0.0, 0
    for frame in _then_flush(frames):
        if frame is not None:  # counted before resampling: few samples of a low rate would become many
            if not 0 < frame.sample_rate <= HIGHEST_RATE:
                raise InvalidInputError(f"`{field}` has a sampling rate over {HIGHEST_RATE} Hz.", field)
            seconds += frame.samples / frame.sample_rate
            samples += frame.samples * frame.layout.nb_channels
            if seconds > max_s + 1e-6 or samples > max(1.0, max_s) * _SAMPLES_PER_S:
                raise too_long(field, max_s)
        pieces += [piece.to_ndarray().reshape(-1) for piece in resampler.resample(frame)]
    return np.concatenate(pieces) if pieces else np.zeros(0, np.float32)


def too_long(field: str, max_s: float) -> PayloadTooLargeError:
    """The refusal of a sound over the limit."""
    return PayloadTooLargeError(f"`{field}` is longer than {max_s:g} s, the most that is taken.", field)


def _then_flush(frames: Any) -> Iterator[Any]:
    """The frames, then None, which tells the resampler to hand out what it still holds."""
    yield from frames
    yield None
