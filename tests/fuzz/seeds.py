"""Small valid inputs of each target, made here, which fuzzing changes."""

import base64
import functools
import io
import json
from pathlib import Path
from typing import Any

import av
import numpy as np
import soundfile
from PIL import Image

from deployments.codec import to_json
from deployments.images import FORMATS
from deployments.payload import Media, Tensor
from deployments.tasks import TASKS
from tests import bombs

FOUND = Path(__file__).with_name("found")
"""``found/{target}-{what}``: inputs that once brought something else out than a refusal."""


@functools.cache
def seeds(target: str) -> tuple[bytes, ...]:
    """Seeds of a target, the found ones among them."""
    made = {
        "image": _images,
        "audio": _sounds,
        "video": _films,
        "json": _json,
        "call": _calls,
        "typed": _typed,
        "string": _strings,
        "raw": _raw,
        "form": _forms,
    }[target]()
    return (*made, *(path.read_bytes() for path in sorted(FOUND.glob(f"{target}-*"))))


@functools.cache
def _images() -> tuple[bytes, ...]:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
    photo = Image.fromarray(pixels)
    files = [bombs.saved(photo.resize((16, 16)) if name == "ICO" else photo, name) for name in FORMATS]
    exif = Image.Exif()
    exif[274] = 6
    files += [bombs.saved(photo, name, exif=exif) for name in ("PNG", "JPEG", "WEBP", "TIFF")]
    files += [bombs.saved(photo.convert(mode), "PNG") for mode in ("1", "P", "LA", "RGBA")]
    files += [bombs.saved(photo, "TIFF", compression=name) for name in ("tiff_lzw", "packbits", "jpeg", "tiff_deflate")]
    files += [bombs.animation(name, 3) for name in ("GIF", "PNG", "WEBP", "MPO")]
    files += [bombs.png(8, 8, bombs.chunk(b"zTXt", b"a\0\0x\x9c\x03\0\0\0\0\x01")), bombs.tiff(16, 16, (16, 16))]
    return tuple(files)


def encoded(codec: str, container_format: str) -> bytes:
    """A tenth of a second of noise."""
    noise = np.random.default_rng(1).integers(-9999, 9999, (1, 4800), dtype=np.int16)
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container_format) as container:
        stream = container.add_stream(codec, rate=48_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(noise, format="s16", layout="mono")
        frame.sample_rate = 48_000
        resampler = av.AudioResampler(stream.format, "mono", 48_000, stream.codec_context.frame_size or 1024)
        for piece in (*resampler.resample(frame), *resampler.resample(None)):
            container.mux(stream.encode(piece))
        container.mux(stream.encode())
    return buffer.getvalue()


@functools.cache
def _sounds() -> tuple[bytes, ...]:
    files = [bombs.wav(samples=80), bombs.wav(44_100, 2, 80), bombs.flac(1)]
    for name, subtype in (("WAV", "FLOAT"), ("AIFF", "PCM_16"), ("AU", "PCM_16"), ("W64", "PCM_16"), ("CAF", "PCM_16")):
        buffer = io.BytesIO()
        soundfile.write(buffer, np.zeros(80, np.float32), 16_000, subtype, format=name)
        files.append(buffer.getvalue())
    files += [
        encoded("libmp3lame", "mp3"),
        encoded("libopus", "ogg"),
        encoded("aac", "mp4"),
        encoded("libopus", "webm"),
    ]
    files += [encoded("aac", "adts"), encoded("aac", "mpegts"), encoded("aac", "flv")]
    return tuple(files)


@functools.cache
def _films() -> tuple[bytes, ...]:
    files = [bombs.film(2, file_format=name) for name in ("mp4", "matroska", "avi", "mpegts", "m4v", "asf")]
    return (*files, *bombs.playlists("/tmp/x").values())


@functools.cache
def _json() -> tuple[bytes, ...]:
    texts = ["{}", "[]", '"a"', '{"inputs": ["\\ud83d\\ude00", 1.5e3, null, true], "parameters": {"top_k": -2}}']
    return (*(text.encode() for text in texts), b"[" * 65 + b"]" * 65, b'["\\\\\\"[{,"]', b"\xef\xbb\xbf[1e999]")


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _bodies() -> list[dict[str, Any]]:
    image, sound = _b64(_images()[0]), _b64(_sounds()[0])
    chat = [{"role": "user", "content": [{"type": "image", "image": image}, {"type": "text", "text": "a"}]}]
    return [
        {"inputs": "a text", "parameters": {"top_k": 1}},
        {"inputs": [image, f"data:image/png;base64,{image}", "http://a.example/x.png", "file:///x"]},
        {"inputs": sound},
        {"inputs": {"image": image, "question": "?", "word_boxes": [["a", [1, 2, 3, 4]]]}},
        {"inputs": {"question": "?", "context": "b"}, "options": {}},
        {"inputs": {"table": {"a": ["1"]}, "query": "?"}},
        {"inputs": {"table": [{"a": 1}, {"b": 2}], "query": "?"}},
        {"inputs": chat},
        {"inputs": "a", "parameters": {"candidate_labels": "a, b"}},
    ]


@functools.cache
def _calls() -> tuple[bytes, ...]:
    tasks = range(0, len(TASKS), 3)
    return tuple(bytes([task]) + json.dumps(body).encode() for task in tasks for body in _bodies())


@functools.cache
def _typed() -> tuple[bytes, ...]:
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    values: list[Any] = [
        (1, b"\0", float("nan")),
        {1: "a", "$type": 2},
        array,
        Tensor(array, "bfloat16"),
        np.float16(2),
        Image.new("L", (3, 2)),
        Image.new("CMYK", (3, 2)),
        Media(_images()[0], "image"),
        {"raw": array[0], "sampling_rate": 8000},
        [{"role": "user", "content": [{"type": "image", "image": Image.new("RGB", (3, 2))}]}],
    ]
    tasks = range(0, len(TASKS), 3)
    bodies = [json.dumps({"inputs": to_json(value)}).encode() for value in values]
    return tuple(bytes([task]) + body for task in tasks for body in bodies)


@functools.cache
def _strings() -> tuple[bytes, ...]:
    image = _b64(_images()[0])
    texts = [image, f"data:image/png;base64,{image}", "data:;charset=utf-8;base64,AAAA", "http://a.example:80/x?y#z"]
    texts += ["https://user:word@[::1]:8080/", "file:///tmp/x%20y.png", "/tmp/a b.png", "HTTP://bücher.example/"]
    return tuple(text.encode() for text in texts)


@functools.cache
def _raw() -> tuple[bytes, ...]:
    bodies = [_images()[0], _images()[1], _sounds()[0], _films()[0], b"a text", b'{"inputs": "a"}', b"top_k=1&inputs=a"]
    return tuple(bytes([task, kind]) + body for task in range(0, len(TASKS), 3) for kind, body in enumerate(bodies))


@functools.cache
def _forms() -> tuple[bytes, ...]:
    def part(name: str, value: bytes, more: str = "") -> bytes:
        return f'--x\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'.encode() + value + b"\r\n"

    png = part("image", _images()[0], '; filename="a.png"\r\nContent-Type: image/png')
    wav = part("inputs", _sounds()[0], "; filename*=UTF-8''a%20b.wav")
    fields = part("parameters", b'{"top_k": 1}') + part("question", b"wo?") + part("candidate_labels", b"a, b")
    bodies = [png + fields, wav, png + png, fields, part("inputs", b"a text")]
    return tuple(bytes([task]) + body + b"--x--\r\n" for task in range(0, len(TASKS), 3) for body in bodies)
