"""Real encoded files, decoded as transformers would decode them, and every file that is none."""

import io
import os
import struct
import wave
import zlib
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import pytest
import soundfile
from PIL import Image

from deployments.config import MediaLimits
from deployments.errors import InvalidInputError, PayloadTooLargeError, RequestError
from deployments.media import MediaDecoder
from deployments.payload import Media

RATE = 16000
# Pillow warns of damage and of size before it raises; a server logs that
pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning:PIL"),
    pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning"),
]


def decode(data: bytes, kind: Any, rate: int | None = RATE, **limits: Any) -> Any:
    return MediaDecoder(rate, MediaLimits(**limits)).decode(Media(data, kind, "inputs[1]"))


def _saved(image: Image.Image, file_format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


PIXELS = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
PHOTO = Image.fromarray(PIXELS)


# --- images


@pytest.mark.parametrize("file_format", ["PNG", "BMP", "TIFF", "WEBP", "GIF", "JPEG"])
def test_image_file_becomes_its_pixels_in_rgb(file_format: str) -> None:
    data = _saved(PHOTO, file_format, **({"lossless": True} if file_format == "WEBP" else {}))
    image = decode(data, "image")
    assert (image.mode, image.size) == ("RGB", (9, 6))
    exact = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    assert np.array_equal(np.asarray(image), exact)
    if file_format not in ("JPEG", "GIF"):  # these lose something when written
        assert np.array_equal(np.asarray(image), PIXELS)


# EXIF 2.32, table of tag 274: where row 0 and column 0 of the stored picture are when it is looked at
ORIENTATIONS = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a, 1),
}


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("file_format", ["PNG", "TIFF", "JPEG"])
def test_photo_is_turned_as_its_exif_note_says(file_format: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    data = _saved(PHOTO, file_format, exif=exif)
    stored = np.asarray(Image.open(io.BytesIO(_saved(PHOTO, file_format))))
    assert np.array_equal(np.asarray(decode(data, "image")), ORIENTATIONS[orientation](stored))


def test_damaged_exif_does_not_make_a_photo_unreadable() -> None:
    data = _saved(PHOTO, "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert decode(data, "image").size == (9, 6)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "I;16", "CMYK"])
def test_image_of_any_mode_becomes_what_pillow_makes_of_it(mode: str) -> None:
    grey = Image.fromarray(PIXELS[..., 0].astype(np.uint16) * 257)
    image = grey if mode == "I;16" else PHOTO.convert("RGBA" if mode == "LA" else mode).convert(mode)
    data = _saved(image, "TIFF" if mode == "CMYK" else "PNG")
    found = decode(data, "image")
    assert found.mode == "RGB"
    assert np.array_equal(np.asarray(found), np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))


def test_first_frame_of_an_animation_is_the_image() -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    data = _saved(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert decode(data, "image").getpixel((1, 1)) == (255, 0, 0)


def _claims(width: int, height: int) -> bytes:
    """A PNG that claims a size and has no pixels: whoever decodes it before checking fails in another way."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(101, 1), (8000, 8001), (10_000, 10_000), (20_000, 20_000), (2**31 - 1, 2**31 - 1)])
def test_image_over_the_limit_is_refused_before_its_pixels_are_decoded(size: tuple[int, int]) -> None:
    most = 100 if size == (101, 1) else MediaLimits().max_image_pixels
    # above 2^28, Pillow's guard refuses, and does not tell how many
    many = size[0] * size[1] if size[0] * size[1] <= 2**28 else "too many"
    with pytest.raises(PayloadTooLargeError, match=f"{many} pixels; at most {most}") as caught:
        decode(_claims(*size), "image", max_image_pixels=most)
    assert caught.value.field == "inputs[1]"


def test_image_at_the_limit_is_taken() -> None:
    assert decode(_saved(PHOTO, "PNG"), "image", max_image_pixels=54).size == (9, 6)


NO_IMAGES = {
    "nothing": b"",
    "text": b"hello",
    "html": b"<!DOCTYPE html><html></html>",
    "svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "zeros": bytes(1000),
    "png-signature": b"\x89PNG\r\n\x1a\n",
    "png-header-only": _claims(5, 5),
    "half-png": _saved(PHOTO, "PNG")[:100],
    "half-jpeg": _saved(PHOTO, "JPEG")[:-200],
    "half-gif": _saved(PHOTO, "GIF")[:30],
    "half-tiff": _saved(PHOTO, "TIFF")[:60],
}


@pytest.mark.parametrize("name", NO_IMAGES)
def test_file_that_is_no_image_is_invalid_input(name: str) -> None:
    with pytest.raises(InvalidInputError, match=r"`inputs\[1\]` is not an image") as caught:
        decode(NO_IMAGES[name], "image")
    assert caught.value.field == "inputs[1]"


# --- sound


def _tone(seconds: float, rate: int, channels: int = 1, level: float = 0.5) -> npt.NDArray[np.float32]:
    time = np.arange(int(seconds * rate)) / rate
    tones = [level * np.sin(2 * np.pi * 440 * (1 + channel) * time) for channel in range(channels)]
    return np.stack(tones, axis=1).astype(np.float32)


def _sound(samples: npt.NDArray[Any], rate: int, file_format: str, subtype: str) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=file_format, subtype=subtype)
    return buffer.getvalue()


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 44100])
@pytest.mark.parametrize(
    ("file_format", "subtype"),
    [
        ("WAV", "PCM_U8"),
        ("WAV", "PCM_16"),
        ("WAV", "PCM_24"),
        ("WAV", "PCM_32"),
        ("WAV", "FLOAT"),
        ("FLAC", "PCM_16"),
        ("FLAC", "PCM_24"),
    ],
)
def test_sound_at_the_models_rate_is_sample_exact(file_format: str, subtype: str, rate: int) -> None:
    data = _sound(_tone(0.3, rate), rate, file_format, subtype)
    expected, _ = soundfile.read(io.BytesIO(data), dtype="float32")
    found = decode(data, "audio", rate)
    assert (found.dtype, found.shape) == (np.float32, expected.shape)
    assert np.array_equal(found, expected)


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_identical_channels_mix_to_what_each_of_them_holds(rate: int) -> None:
    """Any mono mix must agree on it up to one gain; clipping or dropping a channel's samples would not."""
    mono = _tone(0.3, rate)
    found = decode(_sound(np.repeat(mono, 2, axis=1), rate, "WAV", "FLOAT"), "audio", rate)
    gain = float(found @ mono[:, 0] / (mono[:, 0] @ mono[:, 0]))
    assert found.shape == (len(mono),)
    assert np.allclose(found, gain * mono[:, 0], atol=1e-6)
    assert gain in (pytest.approx(1.0, abs=1e-3), pytest.approx(2**0.5, abs=1e-3))


def test_both_channels_are_heard_equally() -> None:
    left, right = (_tone(0.3, RATE, 2) * np.array(side, np.float32) for side in ([1, 0], [0, 1]))
    both = decode(_sound(left + right, RATE, "WAV", "FLOAT"), "audio")
    alone = [decode(_sound(one, RATE, "WAV", "FLOAT"), "audio") for one in (left, right)]
    assert np.allclose(both, alone[0] + alone[1], atol=1e-6)
    assert np.sqrt(np.mean(alone[0] ** 2)) == pytest.approx(np.sqrt(np.mean(alone[1] ** 2)), rel=1e-2)


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 44100, 48000])
@pytest.mark.parametrize("channels", [1, 2])
def test_sound_at_another_rate_keeps_its_length_and_its_tone(rate: int, channels: int) -> None:
    found = decode(_sound(_tone(1.0, rate)[:, [0] * channels], rate, "WAV", "PCM_16"), "audio")
    assert len(found) == pytest.approx(RATE, abs=32)
    spectrum = np.abs(np.fft.rfft(found[:RATE], RATE))
    assert int(spectrum.argmax()) == 440
    assert spectrum[[*range(0, 400), *range(480, 3900)]].max() < spectrum[440] / 100


def _with_av(codec: str, container_format: str, rate: int = 48000) -> bytes:
    samples = (_tone(1.0, rate)[:, 0] * 32767).astype(np.int16)
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container_format) as container:
        stream = container.add_stream(codec, rate=rate, layout="mono")
        frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
        frame.sample_rate = rate
        resampler = av.AudioResampler(stream.format, "mono", rate, stream.codec_context.frame_size or 1024)
        for piece in (*resampler.resample(frame), *resampler.resample(None)):
            container.mux(stream.encode(piece))
        container.mux(stream.encode())
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("codec", "container_format"),
    [("libmp3lame", "mp3"), ("libopus", "ogg"), ("libvorbis", "ogg"), ("aac", "mp4"), ("libopus", "webm")],
)
def test_compressed_sound_is_heard(codec: str, container_format: str) -> None:
    if codec not in av.codecs_available:
        pytest.skip(f"this build of av has no {codec}")
    found = decode(_with_av(codec, container_format), "audio")
    assert len(found) == pytest.approx(RATE, abs=RATE // 10)
    assert int(np.abs(np.fft.rfft(found, RATE)).argmax()) == pytest.approx(440, abs=2)


def test_sound_of_a_film_is_heard() -> None:
    assert len(decode(_film(8, sound=True), "audio")) == pytest.approx(RATE, abs=RATE // 5)


@pytest.mark.parametrize(("seconds", "most"), [(1.0, 0.5), (1.0, 0.99)])
@pytest.mark.parametrize("rate", [8000, RATE])
def test_sound_over_the_limit_is_refused(seconds: float, most: float, rate: int) -> None:
    data = _sound(_tone(seconds, rate), rate, "WAV", "PCM_16")
    with pytest.raises(PayloadTooLargeError) as caught:
        decode(data, "audio", max_audio_s=most)
    assert caught.value.field == "inputs[1]"


def test_sound_at_the_limit_is_taken() -> None:
    assert len(decode(_sound(_tone(1.0, RATE), RATE, "WAV", "PCM_16"), "audio", max_audio_s=1.0)) == RATE


@pytest.fixture
def resampled(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds of each piece of sound that goes into a resampler."""
    seconds: list[float] = []
    resampler = av.AudioResampler

    class Noting:
        def __init__(self, **options: Any) -> None:
            self.inner = resampler(**options)

        def resample(self, frame: Any) -> Any:
            if frame is not None:
                seconds.append(frame.samples / frame.sample_rate)
            return self.inner.resample(frame)

    monkeypatch.setattr(av, "AudioResampler", Noting)
    return seconds


def test_sound_over_the_limit_is_not_decoded_to_its_end(resampled: list[float]) -> None:
    data = _sound(_tone(5, RATE), RATE, "FLAC", "PCM_16")
    decode(data, "audio")
    assert sum(resampled) == pytest.approx(5)
    resampled.clear()
    with pytest.raises(PayloadTooLargeError):
        decode(data, "audio", max_audio_s=0.5)
    assert sum(resampled) < 1.5


@pytest.mark.parametrize("file_format", ["WAV", "FLAC"])
def test_few_samples_that_last_for_hours_are_refused_before_they_are_blown_up(
    file_format: str, resampled: list[float]
) -> None:
    """4000 samples at 1 Hz are 8 kB in the file and 256 MB at the model's rate."""
    data = _sound(np.zeros(4000, np.float32), 1, file_format, "PCM_16")
    with pytest.raises(PayloadTooLargeError):
        decode(data, "audio", 8000, max_audio_s=60)
    assert sum(resampled) <= 2 * 60  # the resampler keeps some back before it hands any out


def _empty_wav() -> bytes:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", ""))
    return buffer.getvalue()


NO_SOUNDS = {
    "nothing": b"",
    "text": b"hello",
    "zeros": bytes(1000),
    "png": _saved(PHOTO, "PNG"),
    "riff": b"RIFF\x24\0\0\0WAVE",
    "empty-wav": _empty_wav(),
    "half-flac-header": _sound(_tone(0.3, RATE), RATE, "FLAC", "PCM_16")[:20],
}


@pytest.mark.parametrize("name", NO_SOUNDS)
def test_file_that_is_no_sound_is_invalid_input(name: str) -> None:
    with pytest.raises(InvalidInputError, match=r"inputs\[1\]"):
        decode(NO_SOUNDS[name], "audio")


def test_model_that_takes_no_sound_says_so() -> None:
    with pytest.raises(InvalidInputError, match="does not take"):
        decode(_sound(_tone(0.1, RATE), RATE, "WAV", "PCM_16"), "audio", None)


@pytest.mark.parametrize("key", ["raw", "array"])
def test_raw_sound_is_brought_to_the_models_rate(key: str) -> None:
    decoder = MediaDecoder(RATE, MediaLimits())
    found = decoder.decode({key: _tone(1.0, 8000)[:, 0], "sampling_rate": 8000})
    assert found["sampling_rate"] == RATE
    assert len(found["raw"]) == pytest.approx(RATE, abs=32)
    assert int(np.abs(np.fft.rfft(found["raw"], RATE)).argmax()) == 440


@pytest.mark.parametrize("rate", [RATE, None])
def test_raw_sound_at_the_models_rate_is_untouched(rate: int | None) -> None:
    value = {"raw": np.arange(5, dtype=np.float32), "sampling_rate": RATE}
    found = MediaDecoder(rate, MediaLimits()).decode(value)
    assert found["raw"] is value["raw"]
    assert found["sampling_rate"] == RATE


@pytest.mark.parametrize("rate", [0, -1, "x", None, [], 2**40, 1e300])
def test_raw_sound_with_an_impossible_rate_is_invalid_input(rate: Any) -> None:
    with pytest.raises(RequestError):
        MediaDecoder(RATE, MediaLimits()).decode({"raw": np.zeros(10, np.float32), "sampling_rate": rate})


def test_raw_sound_over_the_limit_is_refused() -> None:
    decoder = MediaDecoder(RATE, MediaLimits(max_audio_s=1))
    for rate in (8000, RATE):
        with pytest.raises(PayloadTooLargeError):
            decoder.decode({"raw": np.zeros(2 * rate, np.float32), "sampling_rate": rate})


# --- films


def _film(frames: int, file_format: str = "mp4", sound: bool = False, **options: Any) -> bytes:
    """``frames`` at 8 frames a second."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=file_format, options=options) as container:
        stream = container.add_stream("mpeg4", rate=Fraction(8))
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        audio = container.add_stream("aac", rate=RATE, layout="mono") if sound else None
        for index in range(frames):
            pixels = np.full((32, 32, 3), index * 20 % 256, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
        if audio is not None:
            for start in range(0, RATE, 1024):
                frame = av.AudioFrame.from_ndarray(_tone(1, RATE)[start : start + 1024].T.copy(), "fltp", "mono")
                frame.sample_rate, frame.pts = RATE, start
                container.mux(audio.encode(frame))
            container.mux(audio.encode())
    return buffer.getvalue()


@pytest.mark.parametrize("file_format", ["mp4", "matroska", "avi"])
def test_film_is_a_file_until_its_decoder_is_closed(file_format: str) -> None:
    data = _film(16, file_format)
    decoder = MediaDecoder(None, MediaLimits())
    path = decoder.decode([Media(data, "video")])[0]
    assert Path(path).read_bytes() == data
    with av.open(path) as container:
        assert sum(1 for _ in container.decode(video=0)) == 16
    decoder.close()
    assert not os.path.exists(path)
    decoder.close()


@pytest.mark.parametrize(
    ("file_format", "options"),
    [("mp4", {}), ("matroska", {}), ("avi", {}), ("matroska", {"live": "1"}), ("m4v", {})],
    ids=["mp4", "matroska", "avi", "matroska-without-duration", "raw-stream-without-duration"],
)
def test_film_over_the_limit_is_refused_and_leaves_no_file(
    file_format: str, options: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    data = _film(80, file_format, **options)
    decoder = MediaDecoder(None, MediaLimits(max_video_s=5))
    try:
        with pytest.raises(PayloadTooLargeError):
            decoder.decode(Media(data, "video"))
        assert list(tmp_path.iterdir()) == []
    finally:
        decoder.close()


@pytest.mark.parametrize(
    "data",
    [b"", b"hello", bytes(1000), _sound(_tone(0.1, RATE), RATE, "WAV", "PCM_16"), _film(8)[:200]],
    ids=["nothing", "text", "zeros", "sound", "half"],
)
def test_file_that_is_no_film_is_invalid_input(data: bytes) -> None:
    with pytest.raises(InvalidInputError, match=r"inputs\[1\]"):
        decode(data, "video")


# --- all of them


@pytest.mark.parametrize("kind", ["image", "audio", "video"])
def test_damaged_file_is_decoded_or_a_request_error(kind: Any) -> None:
    files = {
        "image": [_saved(PHOTO, name) for name in ("PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP")],
        "audio": [_sound(_tone(0.05, RATE), RATE, name, "PCM_16") for name in ("WAV", "FLAC")],
        "video": [_film(2)],
    }[kind]
    chance = np.random.default_rng(5)
    first = 44 if kind == "audio" else 0  # a wrong rate in the header makes hours of sound: see the limits above
    for data in files:
        for _ in range(100):
            damaged = bytearray(data)
            for place in chance.integers(first, min(len(damaged), 400), 3):
                damaged[place] = chance.integers(0, 256)
            decoder = MediaDecoder(RATE, MediaLimits())
            try:
                decoder.decode(Media(bytes(damaged[: chance.integers(len(data) // 2, len(data) + 1)]), kind))
            except RequestError:
                pass
            finally:
                decoder.close()


def test_media_are_found_wherever_they_stand_and_the_rest_stays() -> None:
    media = Media(_saved(PHOTO, "PNG"), "image")
    chat = [{"role": "user", "content": [{"type": "image", "image": media}, {"type": "text", "text": "a"}]}]
    found = MediaDecoder(None, MediaLimits()).decode(chat)
    assert found[0]["content"][0]["image"].size == (9, 6)
    assert found[0]["content"][1] == {"type": "text", "text": "a"}
    assert MediaDecoder(None, MediaLimits()).decode({"n": 1, "t": "x"}) == {"n": 1, "t": "x"}


def test_contents_of_a_file_never_reach_a_log() -> None:
    assert repr(Media(b"secret", "image")) == "Media(image, 6 bytes)"
