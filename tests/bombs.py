"""Small files that would become large, or lead elsewhere, made here: name → kind of media and bytes."""

import functools
import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import av
import numpy as np
import soundfile
from PIL import Image

PNG = b"\x89PNG\r\n\x1a\n"


def chunk(name: bytes, data: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width: int, height: int, *chunks: bytes, depth: int = 8, mode: int = 2, rows: bytes | None = None) -> bytes:
    """A PNG of a claimed size, with ``chunks`` before its pixels; black unless ``rows`` are given."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, mode, 0, 0, 0))
    if rows is None:
        rows = bytes((1 + width * {0: 1, 2: 3}[mode] * depth // 8) * height)
    return PNG + header + b"".join(chunks) + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")


def tiff(width: int, height: int, tile: tuple[int, int] | None = None, compression: int = 8) -> bytes:
    """A grey TIFF of claimed sizes with next to nothing in it."""
    data = zlib.compress(bytes(100))
    tags = [(256, width), (257, height), (258, 8), (259, compression), (262, 1), (277, 1)]
    place = [(324, 8), (325, len(data))] if tile else [(273, 8), (279, len(data))]
    tags += [(322, tile[0]), (323, tile[1]), *place] if tile else [*place, (278, height)]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(tags))
    directory = struct.pack("<H", len(tags)) + entries + bytes(4)
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + directory


def saved(image: Image.Image, file_format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def ico(inner: bytes) -> bytes:
    """An icon whose directory says 16 x 16, with ``inner`` as its picture."""
    return struct.pack("<HHHBBBBHHII", 0, 1, 1, 16, 16, 0, 0, 1, 32, len(inner), 22) + inner


def jpeg(width: int, height: int) -> bytes:
    """A JPEG of 8 x 8 pixels whose header says otherwise."""
    data = bytearray(saved(Image.new("RGB", (8, 8)), "JPEG"))
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = struct.pack(">HH", height, width)
    return bytes(data)


def scans(width: int, height: int, more: int, mode: str = "RGB") -> bytes:
    """A progressive JPEG whose last scan comes ``more`` times again."""
    data = saved(Image.new(mode, (width, height)), "JPEG", progressive=True)
    return data[:-2] + data[data.rindex(b"\xff\xda") : -2] * more + data[-2:]


def jpeg_in_tiff(width: int, height: int, parts: int, data: bytes, claims: int | None = None) -> bytes:
    """A grey TIFF of ``parts`` strips, ``data`` each of them, all at one place; they may claim another length."""
    length, at = len(data) if claims is None else claims, 8 + len(data)
    lists = struct.pack(f"<{2 * parts}I", *[8] * parts, *[length] * parts)
    where, lengths = (at, at + 4 * parts) if parts > 1 else (8, length)
    tags = [(256, 1, width), (257, 1, height), (258, 1, 8), (259, 1, 7), (262, 1, 1), (273, parts, where), (277, 1, 1)]
    tags += [(278, 1, -(-height // parts)), (279, parts, lengths)]
    entries = b"".join(struct.pack("<HHII", tag, 4, count, value) for tag, count, value in tags)
    directory = struct.pack("<H", len(tags)) + entries + bytes(4)
    return b"II*\0" + struct.pack("<I", at + len(lists)) + data + lists + directory


def jpeg2000(width: int, height: int) -> bytes:
    """A JPEG 2000 code stream of 8 x 8 pixels whose header says otherwise."""
    data = bytearray(saved(Image.new("RGB", (8, 8)), "JPEG2000", no_jp2=True))
    at = data.index(b"\xff\x51") + 6
    data[at : at + 8] = struct.pack(">II", width, height)
    data[at + 16 : at + 24] = struct.pack(">II", width, height)
    return bytes(data)


def gif(width: int, height: int) -> bytes:
    """A GIF of 1 x 1 pixels on a screen of another size."""
    data = bytearray(saved(Image.new("P", (1, 1)), "GIF"))
    data[6:10] = struct.pack("<HH", width, height)
    return bytes(data)


def animation(file_format: str, frames: int) -> bytes:
    """Many frames of few pixels."""
    pictures = [Image.new("RGB", (4, 4), (at % 256, at // 256, 7)) for at in range(frames)]
    return saved(pictures[0], file_format, save_all=True, append_images=pictures[1:], duration=10)


def wav(rate: int = 16000, channels: int = 1, samples: int = 1600, claims: int | None = None) -> bytes:
    """16-bit silence; the header may claim another number of bytes."""
    data = bytes(2 * channels * samples)
    size = len(data) if claims is None else claims
    what = struct.pack("<HHIIHH", 1, channels, rate, min(2**32 - 1, rate * channels * 2), channels * 2 % 65536, 16)
    header = b"RIFF" + struct.pack("<I", min(2**32 - 1, size + 36)) + b"WAVEfmt " + struct.pack("<I", 16) + what
    return header + b"data" + struct.pack("<I", size) + data


def flac(seconds: int, rate: int = 16000, channels: int = 1) -> bytes:
    """Silence, of which an hour is a few kilobytes."""
    buffer = io.BytesIO()
    with soundfile.SoundFile(buffer, "w", rate, channels, "PCM_16", format="FLAC") as file:
        for _ in range(seconds):
            file.write(np.zeros((rate, channels), np.int16))
    return buffer.getvalue()


def film(frames: int, rate: int = 8, size: int = 32, file_format: str = "mp4") -> bytes:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=file_format) as container:
        stream = container.add_stream("mpeg4", rate=rate)
        stream.width, stream.height, stream.pix_fmt = size, size, "yuv420p"
        for index in range(frames):
            pixels = np.full((size, size, 3), index % 256, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return buffer.getvalue()


def claims_seconds(data: bytes, seconds: int) -> bytes:
    """An MP4 whose headers say another length than its frames have."""
    changed = bytearray(data)
    for box, scale_at, length_at in ((b"mvhd", 16, 20), (b"mdhd", 16, 20)):
        at = changed.index(box)
        scale = struct.unpack_from(">I", changed, at + scale_at)[0]
        struct.pack_into(">I", changed, at + length_at, seconds * scale)
    return bytes(changed)


def playlists(source: str) -> dict[str, bytes]:
    """Texts that FFmpeg or a player would follow to ``source``."""
    head = '<?xml version="1.0"?>'
    scheme = 'xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentationDuration="PT10S"'
    profile = 'profiles="urn:mpeg:dash:profile:isoff-on-demand:2011"'
    texts = {
        "hls": f"#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{source}\n#EXT-X-ENDLIST\n",
        "m3u": f"#EXTM3U\n#EXTINF:10,\n{source}\n",
        "concat": f"ffconcat version 1.0\nfile '{source}'\n",
        "dash": f'{head}<MPD {scheme} {profile}><Period><AdaptationSet mimeType="audio/mp4">'
        f'<Representation id="1" bandwidth="1"><BaseURL>{source}</BaseURL></Representation>'
        "</AdaptationSet></Period></MPD>",
        "smil": f'<smil><body><video src="{source}"/></body></smil>',
        "asx": f'<asx version="3.0"><entry><ref href="{source}"/></entry></asx>',
        "pls": f"[playlist]\nFile1={source}\nNumberOfEntries=1\nVersion=2\n",
        "ram": f"{source}\n",
        "reference": f"[Reference]\nRef1={source}\n",
        "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5004 RTP/AVP 0\n",
        "svg": '<svg xmlns="http://www.w3.org/2000/svg" xmlns:x="http://www.w3.org/1999/xlink">'
        f'<image x:href="{source}"/></svg>',
        "eps": f"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n({source}) run\n%%EOF\n",
        "mvg": f"push graphic-context\nviewbox 0 0 9 9\nimage over 0,0 0,0 '{source}'\npop graphic-context\n",
    }
    return {name: text.encode() for name, text in texts.items()}


@functools.cache
def _huge() -> bytes:
    """200 MiB of nothing, packed."""
    return zlib.compress(bytes(200 * 2**20), 1)


BOMBS: dict[str, tuple[str, Callable[[], bytes]]] = {
    "png claims": ("image", lambda: png(30_000, 30_000, rows=b"")),
    "png of black": ("image", lambda: png(20_000, 20_000, depth=1, mode=0)),
    "png with a long text": ("image", lambda: png(8, 8, chunk(b"zTXt", b"a\0\0" + _huge()))),
    "png with a long text in UTF-8": ("image", lambda: png(8, 8, chunk(b"iTXt", b"a\0\1\0\0\0" + _huge()))),
    "png with a large profile": ("image", lambda: png(8, 8, chunk(b"iCCP", b"a\0\0" + _huge()))),
    "png with many texts": (
        "image",
        lambda: png(8, 8, *[chunk(b"zTXt", b"a%d\0\0" % at + zlib.compress(bytes(10**6))) for at in range(300)]),
    ),
    "png inside an icon": ("image", lambda: ico(png(16_000, 16_000, depth=1, mode=0))),
    "line of pixels": ("image", lambda: png(60_000, 1)),
    "jpeg claims": ("image", lambda: jpeg(65_500, 65_500)),
    "jpeg of many scans": ("image", lambda: scans(4000, 4000, 1000)),
    "tiff with a jpeg of many scans": ("image", lambda: jpeg_in_tiff(6000, 6000, 1, scans(6000, 6000, 80, "L"))),
    "tiff of one jpeg many times": ("image", lambda: jpeg_in_tiff(3000, 3000, 300, scans(3000, 10, 90, "L"))),
    "jpeg 2000 claims": ("image", lambda: jpeg2000(60_000, 60_000)),
    "gif claims": ("image", lambda: gif(65_535, 65_535)),
    "tiff claims": ("image", lambda: tiff(60_000, 60_000)),
    "tiff with a large tile": ("image", lambda: tiff(16, 16, (60_000, 60_000))),
    "webp of black": ("image", lambda: saved(Image.new("RGB", (8_100, 8_100)), "WEBP", lossless=True, method=0)),
    "flac of two hours": ("audio", lambda: flac(7_200)),
    "wav of the highest rate": ("audio", lambda: wav(2**31 - 1)),
    "film of many frames": ("video", lambda: film(36_001, 1000, 16)),
}
