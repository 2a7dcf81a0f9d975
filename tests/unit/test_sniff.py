"""Kinds of bodies by their first bytes: files made by the libraries that write them, JSON and text of any content."""

import io
import json
from fractions import Fraction
from typing import Any

import av
import numpy as np
import pytest
import soundfile
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from graph.sniff import HEAD, sniff


def picture(file_format: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (32, 32), (9, 200, 30)).save(buffer, file_format)
    return buffer.getvalue()


def sound(file_format: str, subtype: str) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, np.zeros(16_000, np.float32), 16_000, subtype, format=file_format)
    return buffer.getvalue()


def container(file_format: str, codec: str, **options: Any) -> bytes:
    """A second of silence, or a few frames, in any container that FFmpeg writes."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=file_format) as file:
        if codec in ("mpeg4", "libvpx", "mpeg1video", "mpeg2video", "gif"):
            stream = file.add_stream(codec, rate=25)
            stream.width, stream.height = 32, 32
            stream.pix_fmt = "rgb8" if codec == "gif" else "yuv420p"
            frames = [av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24") for _ in range(4)]
        else:
            stream = file.add_stream(codec, rate=48_000, layout="stereo", **options)
            frames = [av.AudioFrame.from_ndarray(np.zeros((1, 96_000), np.int16), format="s16", layout="stereo")]
            frames[0].sample_rate, frames[0].time_base = 48_000, Fraction(1, 48_000)
        for frame in [*frames, None]:
            file.mux(stream.encode(frame))
    return buffer.getvalue()


@pytest.mark.parametrize(
    "file_format",
    ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "ICO", "JPEG2000", "PPM", "DDS", "ICNS", "AVIF", "QOI", "MPO"],
)
def test_images_are_images(file_format: str) -> None:
    assert sniff(picture(file_format)[:HEAD])[0] == "image"


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
def test_wav_files_are_sounds(subtype: str) -> None:
    assert sniff(sound("WAV", subtype)[:HEAD]) == ("audio",)


@pytest.mark.parametrize(
    ("file_format", "subtype"),
    [
        ("FLAC", "PCM_16"),
        ("OGG", "VORBIS"),
        ("OGG", "OPUS"),
        ("MP3", "MPEG_LAYER_III"),
        ("AIFF", "PCM_16"),
        ("AU", "PCM_16"),
        ("CAF", "PCM_16"),
        ("RF64", "PCM_16"),
    ],
)
def test_other_sound_files_are_sounds(file_format: str, subtype: str) -> None:
    assert sniff(sound(file_format, subtype)[:HEAD])[0] == "audio"


@pytest.mark.parametrize(
    ("file_format", "codec"),
    [("adts", "aac"), ("mp3", "libmp3lame"), ("mp2", "mp2"), ("ipod", "aac"), ("ogg", "libopus")],
)
def test_sounds_in_containers_are_sounds(file_format: str, codec: str) -> None:
    assert sniff(container(file_format, codec)[:HEAD])[0] == "audio"


@pytest.mark.parametrize(
    ("file_format", "codec"), [("webm", "libopus"), ("mp4", "aac"), ("mov", "aac"), ("matroska", "aac")]
)
def test_container_of_films_may_hold_only_sound(file_format: str, codec: str) -> None:
    assert set(sniff(container(file_format, codec)[:HEAD])) == {"audio", "video"}


@pytest.mark.parametrize(
    ("file_format", "codec"),
    [
        ("mp4", "mpeg4"),
        ("webm", "libvpx"),
        ("matroska", "mpeg4"),
        ("avi", "mpeg4"),
        ("mov", "mpeg4"),
        ("mpegts", "mpeg2video"),
        ("vob", "mpeg2video"),
        ("asf", "mpeg4"),
        ("gif", "gif"),
        ("mpeg1video", "mpeg1video"),
    ],
)
def test_films_may_be_films(file_format: str, codec: str) -> None:
    assert "video" in sniff(container(file_format, codec)[:HEAD])


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(
    st.dictionaries(st.text(), JSON_VALUES) | st.lists(JSON_VALUES),
    st.booleans(),
    st.sampled_from(["", " ", "\r\n\t ", "\ufeff"]),
    st.sampled_from([None, 1]),
)
def test_json_is_never_taken_for_anything_else(value: Any, ascii_only: bool, before: str, indent: int | None) -> None:
    body = (before + json.dumps(value, ensure_ascii=ascii_only, indent=indent)).encode(errors="replace")
    assert sniff(body[:HEAD]) == ("json",)


# the standard's "binary data byte": a control character that no text has
PLAIN = st.text(st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from("\t\n\r\f\x1b"))


@given(PLAIN)
@example("BMW makes cars.")
@example("ID3 tags are text, GIF89a is not, and RIFF is \u00e9t\u00e9")
@example("II* MM* P6 8BPS fLaC OggS ftyp")
@example("\u00ff\u00d8\u00ff")
def test_text_is_never_taken_for_a_file(text: str) -> None:
    assert sniff(text.encode()[:HEAD]) in (("text",), ("json",))
    assert (sniff(text.encode()[:HEAD]) == ("json",)) == (text.lstrip("\ufeff").lstrip(" \t\r\n")[:1] in ("{", "["))


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=HEAD))
def test_a_character_cut_in_two_is_no_damage(text: str) -> None:
    assert sniff(text.encode()[:HEAD]) in (("text",), ("json",))


@given(st.binary(max_size=64))
@example(b"")
@example(b"\xff\xfe{\x00")
@example(b"\x00" * 64)
def test_any_bytes_have_an_answer(data: bytes) -> None:
    found = sniff(data)
    assert set(found) <= {"json", "text", "image", "audio", "video"}
    assert len(set(found)) == len(found)


@pytest.mark.parametrize(
    "data", [b"\xff\xfeh\x00i\x00", b"%PDF-1.7\n\x00", b"PK\x03\x04", b"\x1f\x8b\x08\x00", b"BM\x00"]
)
def test_what_is_no_media_is_none(data: bytes) -> None:
    assert sniff(data) == ()
