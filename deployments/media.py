"""Encoded media → what a pipeline takes: PIL images, mono float32 sound at the model's rate, film files.

No Ray, no torch. Every limit is checked before the pixels or samples are decoded.
"""

import io
import tempfile
from collections.abc import Callable
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from deployments.config import MediaLimits
from deployments.errors import InvalidInputError, PayloadTooLargeError
from deployments.payload import Media

_HIGHEST_RATE = 768_000  # Hz
Image.MAX_IMAGE_PIXELS = None  # Pillow's own guard would warn; the configured limit is checked instead, before decoding


class MediaDecoder:
    """Decodes the media of one request; films stay on disk until `close`.

    Args:
        sampling_rate: of the model's feature extractor (Hz), or None when the model takes no sound.
        limits: refuses larger media with `PayloadTooLargeError`.
    """

    def __init__(self, sampling_rate: int | None, limits: MediaLimits) -> None:
        self._sampling_rate = sampling_rate
        self._limits = limits
        self._files: list[Any] = []

    def close(self) -> None:
        """Remove the film files."""
        while self._files:
            self._files.pop().close()

    def decode(self, value: Any) -> Any:
        """``value`` with every `Media` in it decoded.

        Raises:
            InvalidInputError: undecodable; names the field.
            PayloadTooLargeError: over a limit.
        """
        if isinstance(value, Media):
            return self._decoders[value.kind](self, value)
        if isinstance(value, dict):
            if "sampling_rate" in value and isinstance(value.get("raw", value.get("array")), np.ndarray):
                return self._resampled(value)
            return {key: self.decode(part) for key, part in value.items()}
        if isinstance(value, list):
            return [self.decode(part) for part in value]
        return value

    def _image(self, media: Media) -> Image.Image:
        """As ``transformers.image_utils.load_image``: EXIF rotation applied, RGB."""
        try:
            with Image.open(io.BytesIO(media.data)) as image:
                pixels = image.width * image.height
                if pixels > self._limits.max_image_pixels:
                    raise PayloadTooLargeError(
                        f"`{media.field}` has {pixels} pixels; at most {self._limits.max_image_pixels} are taken.",
                        media.field,
                    )
                return ImageOps.exif_transpose(image).convert("RGB")
        except (UnidentifiedImageError, OSError, SyntaxError, ValueError, EOFError):
            raise InvalidInputError(
                f"`{media.field}` is not an image that can be decoded (PNG, JPEG, WebP, GIF, BMP, TIFF ...).",
                media.field,
            ) from None

    def _audio(self, media: Media) -> npt.NDArray[np.float32]:
        """Mono float32 in [-1, 1] at the model's rate, shape ``(samples,)``, as ``ffmpeg -ac 1 -ar RATE -f f32le``."""
        if self._sampling_rate is None:
            raise InvalidInputError(f"`{media.field}` is audio, which this model does not take.", media.field)
        try:
            with av.open(io.BytesIO(media.data)) as container:
                if not container.streams.audio:
                    raise ValueError("no audio stream")
                samples = _resample(
                    container.decode(audio=0), self._sampling_rate, self._limits.max_audio_s, media.field
                )
        except (av.error.FFmpegError, ValueError, IndexError):
            raise InvalidInputError(
                f"`{media.field}` is not audio that can be decoded (WAV, FLAC, MP3, OGG, M4A, WebM ...).", media.field
            ) from None
        if not samples.size:
            raise InvalidInputError(f"`{media.field}` has no sound in it.", media.field)
        return samples

    def _resampled(self, value: dict[str, Any]) -> dict[str, Any]:
        """``{"raw": array, "sampling_rate": Hz}`` at the model's rate, without torchaudio."""
        samples, rate = value.get("raw", value.get("array")), value["sampling_rate"]
        assert isinstance(samples, np.ndarray)
        if isinstance(rate, bool) or not isinstance(rate, int | np.integer) or not 0 < rate <= _HIGHEST_RATE:
            raise InvalidInputError(f"`sampling_rate` must be a whole number of Hz up to {_HIGHEST_RATE}.", "inputs")
        if samples.shape[-1:] and samples.shape[-1] > self._limits.max_audio_s * rate:
            raise _too_long("inputs", self._limits.max_audio_s)
        if self._sampling_rate is not None and rate != self._sampling_rate and samples.ndim == 1 and samples.size:
            frame = av.AudioFrame.from_ndarray(samples.astype(np.float32)[None], format="flt", layout="mono")
            frame.sample_rate = int(rate)
            samples = _resample(iter([frame]), self._sampling_rate, self._limits.max_audio_s, "inputs")
            return {"raw": samples, "sampling_rate": self._sampling_rate}
        return value

    def _video(self, media: Media) -> str:
        """Path of a temporary file: the video pipelines sample their frames from a file themselves."""
        try:
            with av.open(io.BytesIO(media.data)) as container:
                if not container.streams.video:
                    raise ValueError("no video stream")
                seconds = _seconds(container)
        except (av.error.FFmpegError, ValueError, IndexError):
            raise InvalidInputError(
                f"`{media.field}` is not a video that can be decoded (MP4, WebM, MKV, AVI ...).", media.field
            ) from None
        if seconds > self._limits.max_video_s:
            raise PayloadTooLargeError(
                f"`{media.field}` is {seconds:.0f} s long; at most {self._limits.max_video_s:.0f} s are taken.",
                media.field,
            )
        file = tempfile.NamedTemporaryFile(suffix=".video")  # noqa: SIM115 - closed, and so removed, in close()
        file.write(media.data)
        file.flush()
        self._files.append(file)
        return file.name

    _decoders: "dict[str, Callable[[MediaDecoder, Media], Any]]" = {"image": _image, "audio": _audio, "video": _video}  # noqa: RUF012


def _resample(frames: Any, rate: int, max_s: float, field: str) -> npt.NDArray[np.float32]:
    """All ``frames`` as one mono float32 array at ``rate`` (Hz).

    Raises:
        PayloadTooLargeError: longer than ``max_s`` seconds.
    """
    resampler = av.AudioResampler(format="flt", layout="mono", rate=rate)
    pieces: list[npt.NDArray[np.float32]] = []
    seconds = 0.0
    for frame in _then_flush(frames):
        if frame is not None:  # counted before resampling: few samples of a low rate would become many
            seconds += frame.samples / max(1, frame.sample_rate)
            if seconds > max_s + 1e-6:
                raise _too_long(field, max_s)
        pieces += [piece.to_ndarray().reshape(-1) for piece in resampler.resample(frame)]
    return np.concatenate(pieces) if pieces else np.zeros(0, np.float32)


def _too_long(field: str, max_s: float) -> PayloadTooLargeError:
    return PayloadTooLargeError(f"`{field}` is longer than {max_s:.0f} s, the most that is taken.", field)


def _seconds(container: Any) -> float:
    """Length of a film; counted from its packets where the file does not say it."""
    if container.duration:
        return float(container.duration / av.time_base)
    stream = container.streams.video[0]
    rate = float(stream.average_rate or 25)
    ends = [0.0]
    for count, packet in enumerate(container.demux(stream)):
        at = float(packet.pts * packet.time_base) if packet.pts is not None and packet.time_base else 0.0
        ends.append(max(at, count / rate))
    return max(ends)


def _then_flush(frames: Any) -> Any:
    """The frames, then None, which tells the resampler to hand out what it still holds."""
    yield from frames
    yield None
