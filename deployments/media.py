"""Encoded media → what a pipeline takes: PIL images, mono float32 sound at the model's rate, film files.

No Ray, no torch. Every limit is checked before the pixels or samples are decoded, of one file and of all in a request.
"""

import tempfile
import threading
from collections.abc import Callable, Mapping
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from PIL import Image

from deployments.av_files import HIGHEST_RATE, check_film, read_sound, resample, too_long
from deployments.config import MediaLimits
from deployments.errors import InvalidInputError, PayloadTooLargeError
from deployments.frames import check_frame_bytes, frame_bytes
from deployments.images import check_size, read_image
from deployments.payload import Media
from deployments.room import Room

_FEW = 1000
_PIXEL_BYTES = 4  # as Pillow keeps RGB


class MediaDecoder:
    """Decodes the media of one request; films stay on disk until `close`.

    Args:
        sampling_rate: of the model's feature extractor (Hz), or None when the model takes no sound.
        limits: refuses larger media with `PayloadTooLargeError`.
        room: is told what the decoded media take, until `close`.
        parameters: of the call, which may ask for frames of a film.
    """

    def __init__(
        self,
        sampling_rate: int | None,
        limits: MediaLimits,
        room: Room | None = None,
        parameters: Mapping[str, Any] | None = None,
    ) -> None:
        self._sampling_rate = sampling_rate
        self._limits = limits
        self._room = room
        self._files: list[Any] = []
        self._held = 0
        self._closed = False
        self._lock = threading.Lock()  # whoever leaves closes it while a thread may be decoding
        self._pixels = self._audio_s = self._video_s = 0.0
        self._parameters, self._frame_bytes = parameters or {}, 0

    def close(self) -> None:
        """Remove the film files and give back the room, also of what is being decoded now."""
        with self._lock:
            self._closed = True
            files, self._files = self._files, []
            held, self._held = self._held, 0
        for file in files:
            file.close()
        if held and self._room is not None:
            self._room.give_back(held)

    def decode(self, value: Any) -> Any:
        """``value`` with every `Media` in it decoded.

        Raises:
            InvalidInputError: undecodable; names the field.
            PayloadTooLargeError: over a limit.
        """
        if isinstance(value, Media):
            return self._decoders[value.kind](self, value)
        if isinstance(value, Image.Image):  # decoded by whoever sent it
            check_size(value.size, self._limits, "inputs", self._pixels_left)
            return self._counted(value)
        if isinstance(value, dict):
            if "sampling_rate" in value and isinstance(value.get("raw", value.get("array")), np.ndarray):
                return self._resampled(value)
            return {key: self.decode(part) for key, part in value.items()}
        if isinstance(value, list):
            return [self.decode(part) for part in value]
        return value

    @property
    def _pixels_left(self) -> int:
        return int(self._limits.max_total_pixels - self._pixels)

    def _counted(self, image: Image.Image) -> Image.Image:
        self._pixels += image.width * image.height
        return image

    def _hold(self, size: int, file: Any = None) -> None:
        """Keep ``file``, and ``size`` bytes of room; neither where nobody waits any more."""
        with self._lock:
            if not self._closed:
                self._held += size
                if self._room is not None:
                    self._room.take(size)
                if file is not None:
                    self._files.append(file)
            elif file is not None:
                file.close()

    def _image(self, media: Media) -> Image.Image:
        image = read_image(media.data, self._limits, media.field, self._pixels_left, media.mode)
        self._hold(image.width * image.height * _PIXEL_BYTES)
        return self._counted(image)

    def _audio(self, media: Media) -> npt.NDArray[np.float32]:
        if self._sampling_rate is None:
            raise InvalidInputError(f"`{media.field}` is audio, which this model does not take.", media.field)
        samples = read_sound(media.data, self._sampling_rate, self._limits, media.field)
        self._hold(samples.nbytes)
        self._add_audio(samples.size / self._sampling_rate, media.field)
        return samples

    def _add_audio(self, seconds: float, field: str) -> None:
        self._audio_s += seconds
        if self._audio_s > self._limits.max_total_audio_s:
            raise _too_long_together("sounds", self._limits.max_total_audio_s, field)

    def _resampled(self, value: dict[str, Any]) -> dict[str, Any]:
        """``{"raw": array, "sampling_rate": Hz}`` at the model's rate, without torchaudio."""
        samples, rate = value.get("raw", value.get("array")), value["sampling_rate"]
        assert isinstance(samples, np.ndarray)
        if isinstance(rate, bool) or not isinstance(rate, int | np.integer) or not 0 < rate <= HIGHEST_RATE:
            raise InvalidInputError(f"`sampling_rate` must be a whole number of Hz up to {HIGHEST_RATE}.", "inputs")
        if samples.shape[-1:] and samples.shape[-1] > self._limits.max_audio_s * rate:
            raise too_long("inputs", self._limits.max_audio_s)
        self._add_audio(samples.shape[-1] / rate if samples.ndim else 0.0, "inputs")
        if self._sampling_rate is not None and rate != self._sampling_rate and samples.ndim == 1 and samples.size:
            frame = av.AudioFrame.from_ndarray(samples.astype(np.float32)[None], format="flt", layout="mono")
            frame.sample_rate = int(rate)
            samples = resample(iter([frame]), self._sampling_rate, self._limits.max_audio_s, "inputs")
            self._hold(samples.nbytes)
            return {"raw": samples, "sampling_rate": self._sampling_rate}
        return value

    def _video(self, media: Media) -> str:
        """Path of a temporary file: the video pipelines sample their frames from a file themselves."""
        film = check_film(media.data, self._limits, media.field)
        self._video_s += film.seconds
        if self._video_s > self._limits.max_total_video_s:
            raise _too_long_together("films", self._limits.max_total_video_s, media.field)
        self._frame_bytes += frame_bytes(film, self._parameters)
        check_frame_bytes(self._frame_bytes, media.field)
        file = tempfile.NamedTemporaryFile(suffix=".video")  # noqa: SIM115 - closed, and so removed, in close()
        file.write(media.data)
        file.flush()
        self._hold(len(media.data), file)
        return str(file.name)

    _decoders: "dict[str, Callable[[MediaDecoder, Media], Any]]" = {"image": _image, "audio": _audio, "video": _video}  # noqa: RUF012


def plain(value: Any) -> bool:
    """Whether ``value`` is text and numbers alone, as far as is told soon: decoding it changes nothing."""
    parts = [value]
    for _ in range(_FEW):
        if not parts:
            return True
        part = parts.pop()
        if isinstance(part, dict):
            parts += part.values()
        elif isinstance(part, list):
            parts += part
        elif not isinstance(part, str | int | float | None):
            return False
    return not parts


def _too_long_together(what: str, most_s: float, field: str) -> PayloadTooLargeError:
    return PayloadTooLargeError(
        f"The {what} of this input are longer than {most_s:g} s together, the most that is taken.", field
    )
