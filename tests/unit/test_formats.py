"""Every kind of file, decoded as transformers itself decodes it: images by `load_image`, sounds by `ffmpeg_read`.

`ffmpeg_read` calls the program ``ffmpeg``; the package imageio-ffmpeg brings one along.
"""

import io
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import av
import imageio_ffmpeg
import numpy as np
import numpy.typing as npt
import pytest
import soundfile
from PIL import Image
from transformers.image_utils import load_image
from transformers.pipelines.audio_utils import ffmpeg_read

from deployments.config import MediaLimits
from deployments.media import MediaDecoder
from deployments.payload import Media
from graph.sniff import HEAD, sniff

RATE = 16_000
MP3_FRAME_S = 1152 / 16_000
PIXELS = np.random.default_rng(0).integers(0, 256, (12, 9, 4), dtype=np.uint8)
PHOTO = Image.fromarray(PIXELS[..., :3])


def decode(data: bytes, kind: Any) -> Any:
    return MediaDecoder(RATE, MediaLimits()).decode(Media(data, kind))


# --- images ---


def saved(image: Image.Image, file_format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def rgb16() -> bytes:
    """A PNG of three times 16 bits, which Pillow reads and does not write."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    wide = PIXELS[..., :3].astype(">u2") * 257
    rows = b"".join(b"\0" + row.tobytes() for row in wide)
    header = struct.pack(">IIBBBBB", 9, 12, 16, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def transparent_palette(file_format: str) -> bytes:
    return saved(PHOTO.quantize(8), file_format, transparency=2)


def animated(file_format: str) -> bytes:
    first, *others = (Image.new("RGB", (8, 6), colour) for colour in ("red", "lime", "blue"))
    first.putpixel((0, 0), (0, 0, 0))
    return saved(first, file_format, save_all=True, append_images=others)


GREY16 = Image.fromarray(PIXELS[..., 0].astype(np.uint16) * 257)
TURNED = Image.Exif()
TURNED[274] = 6

IMAGES = {
    "png": saved(PHOTO, "PNG"),
    "png turned": saved(PHOTO, "PNG", exif=TURNED),
    "png 1 bit": saved(PHOTO.convert("1"), "PNG"),
    "png grey with alpha": saved(Image.fromarray(PIXELS).convert("LA"), "PNG"),
    "png with alpha": saved(Image.fromarray(PIXELS), "PNG"),
    "png palette with transparency": transparent_palette("PNG"),
    "png 16 bit grey": saved(GREY16, "PNG"),
    "png 3 x 16 bit": rgb16(),
    "apng": animated("PNG"),
    "jpeg": saved(PHOTO, "JPEG"),
    "jpeg turned": saved(PHOTO, "JPEG", exif=TURNED),
    "jpeg grey": saved(PHOTO.convert("L"), "JPEG"),
    "jpeg cmyk": saved(PHOTO.convert("CMYK"), "JPEG"),
    "jpeg progressive": saved(PHOTO, "JPEG", progressive=True),
    "mpo": animated("MPO"),
    "gif": saved(PHOTO, "GIF"),
    "gif animated": animated("GIF"),
    "gif with transparency": transparent_palette("GIF"),
    "webp": saved(PHOTO, "WEBP"),
    "webp animated": animated("WEBP"),
    "webp with alpha": saved(Image.fromarray(PIXELS), "WEBP", lossless=True),
    "tiff": saved(PHOTO, "TIFF"),
    "tiff turned": saved(PHOTO, "TIFF", exif=TURNED),
    "tiff cmyk": saved(PHOTO.convert("CMYK"), "TIFF"),
    "tiff 16 bit": saved(GREY16, "TIFF", compression="tiff_lzw"),
    "tiff 32 bit": saved(GREY16.convert("I"), "TIFF"),
    "tiff float": saved(PHOTO.convert("F"), "TIFF"),
    "tiff fax": saved(PHOTO.convert("1"), "TIFF", compression="group4"),
    "tiff pages": animated("TIFF"),
    "bmp": saved(PHOTO, "BMP"),
    "bmp palette": saved(PHOTO.quantize(8), "BMP"),
    "ico": saved(PHOTO.resize((16, 16)), "ICO"),
    "jpeg 2000": saved(PHOTO, "JPEG2000"),
    "avif": saved(PHOTO.resize((32, 32)), "AVIF"),
    "ppm": saved(PHOTO, "PPM"),
}


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_is_what_load_image_makes_of_it(name: str) -> None:
    expected = load_image(Image.open(io.BytesIO(IMAGES[name])))
    found = decode(IMAGES[name], "image")
    assert (found.mode, found.size) == ("RGB", expected.size)
    assert np.array_equal(np.asarray(found), np.asarray(expected))
    # Pillow 13 makes deep grey white, and so does transformers
    assert np.ptp(np.asarray(found)) > 0 or name in ("png 16 bit grey", "tiff 16 bit", "tiff 32 bit")


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_is_known_as_one(name: str) -> None:
    assert sniff(IMAGES[name][:HEAD])[0] == "image"


# --- sounds ---


@pytest.fixture(scope="module", autouse=True)
def _ffmpeg(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The program under the name that `ffmpeg_read` calls."""
    folder = tmp_path_factory.mktemp("bin")
    Path(folder, "ffmpeg").symlink_to(imageio_ffmpeg.get_ffmpeg_exe())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
        yield


def tone(rate: int, channels: int) -> npt.NDArray[np.float32]:
    """Half a second of another pitch in each channel, shape ``(samples, channels)``."""
    time = np.arange(rate // 2) / rate
    pitches = np.array([300, 440, 610, 90, 1200, 1500][:channels])
    return (0.5 * np.sin(2 * np.pi * pitches * time[:, None])).astype(np.float32)


def with_soundfile(file_format: str, subtype: str, rate: int, channels: int) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, tone(rate, channels), rate, subtype, format=file_format)
    return buffer.getvalue()


def with_av(file_format: str, codec: str, rate: int, channels: int) -> bytes:
    layout = {1: "mono", 2: "stereo", 6: "5.1"}[channels]
    samples = np.ascontiguousarray(tone(rate, channels).reshape(1, -1))
    buffer = io.BytesIO()
    # the index in pieces, for a program that reads from a pipe
    options = {"movflags": "frag_keyframe+empty_moov"} if file_format in ("ipod", "mp4") else {}
    with av.open(buffer, "w", format=file_format, options=options) as container:
        stream = container.add_stream(codec, rate=rate, layout=layout)
        stream.codec_context.open(strict=False)
        frame = av.AudioFrame.from_ndarray(samples, format="flt", layout=layout)
        frame.sample_rate = rate
        size = stream.codec_context.frame_size or 1024
        resampler = av.AudioResampler(stream.codec_context.format, layout, rate, size)
        for piece in (*resampler.resample(frame), *resampler.resample(None), None):
            container.mux(stream.encode(piece))
    return buffer.getvalue()


def same_sound(data: bytes, tolerance: float) -> None:
    expected, found = ffmpeg_read(data, RATE), decode(data, "audio")
    length = min(len(expected), len(found))
    # from a pipe, the program cannot tell how much of the last frame of an MP3 is padding
    assert length > len(expected) - (MP3_FRAME_S * RATE if data[:3] == b"ID3" or data[0] == 0xFF else 32)
    assert length > len(found) - 32  # what the resampler still holds at the end
    assert np.abs(found[: length - 64] - expected[: length - 64]).max() <= tolerance
    assert np.abs(found).max() > 0.1


@pytest.mark.parametrize("rate", [8000, 16_000, 22_050, 44_100, 48_000, 96_000])
@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize(
    ("file_format", "subtype"),
    [
        ("WAV", "PCM_U8"),
        ("WAV", "PCM_16"),
        ("WAV", "PCM_24"),
        ("WAV", "PCM_32"),
        ("WAV", "FLOAT"),
        ("WAV", "DOUBLE"),
        ("FLAC", "PCM_16"),
        ("FLAC", "PCM_24"),
    ],
)
def test_lossless_sound_is_what_ffmpeg_read_makes_of_it(
    file_format: str, subtype: str, channels: int, rate: int
) -> None:
    same_sound(with_soundfile(file_format, subtype, rate, channels), 1e-5)


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize(
    ("file_format", "codec", "rate"),
    [
        ("mp3", "libmp3lame", 44_100),
        ("mp3", "libmp3lame", 16_000),
        ("ogg", "libopus", 48_000),
        ("ipod", "aac", 44_100),
        ("ipod", "aac", 96_000),
        ("mp4", "aac", 48_000),
        ("adts", "aac", 22_050),
        ("webm", "libopus", 48_000),
        ("matroska", "aac", 48_000),
        ("mp2", "mp2", 48_000),
    ],
)
def test_compressed_sound_is_what_ffmpeg_read_makes_of_it(
    file_format: str, codec: str, rate: int, channels: int
) -> None:
    data = with_av(file_format, codec, rate, channels)
    same_sound(data, 2e-3)
    assert "audio" in sniff(data[:HEAD])


@pytest.mark.parametrize(("file_format", "subtype"), [("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III")])
@pytest.mark.parametrize(("channels", "rate"), [(1, 16_000), (2, 48_000)])
def test_files_of_libsndfile_too(file_format: str, subtype: str, channels: int, rate: int) -> None:
    same_sound(with_soundfile(file_format, subtype, rate, channels), 2e-3)


@pytest.mark.parametrize(("file_format", "codec"), [("ipod", "aac"), ("webm", "libopus"), ("adts", "aac")])
def test_six_channels_of_compressed_sound_too(file_format: str, codec: str) -> None:
    same_sound(with_av(file_format, codec, 48_000, 6), 2e-3)
