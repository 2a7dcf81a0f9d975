"""What a body is, by its first bytes: JSON, text, or a file of which kind.

Only what tells the kinds apart: which image or sound it is, the decoder finds out. A table of our own, because the
libraries that fit (``filetype``, ``puremagic``) take text that begins with "BM" for a bitmap and know no JSON. What
counts as text is said by the MIME Sniffing standard (https://mimesniff.spec.whatwg.org): no binary data bytes.
"""

import codecs
import re
from typing import Literal

Found = Literal["json", "text", "image", "audio", "video"]

HEAD = 1024
"""Bytes of a body that are looked at."""

_BINARY = re.compile(rb"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f]")
_IMAGE: tuple[Found, ...] = ("image",)
_AUDIO: tuple[Found, ...] = ("audio",)
_VIDEO: tuple[Found, ...] = ("video", "audio")  # a container of films may hold nothing but sound

# pattern of the first bytes → what the file may be, the likelier first
_MAGIC: tuple[tuple[re.Pattern[bytes], tuple[Found, ...]], ...] = tuple(
    (re.compile(pattern, re.DOTALL), kinds)
    for pattern, kinds in (
        (rb"\x89PNG\r\n\x1a\n|\xff\xd8\xff|RIFF.{4}WEBP|II[*+]\x00|MM\x00[*+]", _IMAGE),
        (rb"GIF8[79]a", ("image", "video")),
        (rb"BM.{4}\x00{4}.{4}[\x0c\x28\x34\x38\x40\x6c\x7c]\x00\x00\x00", _IMAGE),  # to the size of its header
        (rb"\x00\x00[\x01\x02]\x00|\x00\x00\x00\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51", _IMAGE),  # ICO, JPEG 2000
        (rb"P[4-7]\s|qoif|8BPS\x00|DDS |icns", _IMAGE),
        (rb".{4}ftyp(?:avi[fs]|hei[cfmsx]|hev[cmsx]|mif1|msf1)", _IMAGE),
        (rb".{4}ftypM4[ABP]", _AUDIO),
        (rb".{4}(?:ftyp|moov|mdat|wide)", _VIDEO),
        (rb"\x1aE\xdf\xa3|FLV\x01|\x00\x00\x01\xba|0&\xb2u\x8ef\xcf\x11", _VIDEO),  # Matroska and WebM, MPEG, ASF
        (rb"RIFF.{4}AVI |\x00\x00\x01\xb3", ("video",)),
        (rb"\x47.{187}\x47.{187}\x47", _VIDEO),  # MPEG transport stream
        (rb"OggS\x00", ("audio", "video")),
        (rb"(?:RIFF|RF64).{4}WAVE|FORM.{4}AIF[FC]|fLaC|ID3[\x02-\x04]|\.snd\x00|caff\x00|#!AMR|wvpk", _AUDIO),
        # AAC in ADTS; a frame of MPEG audio: layer II or III, a bit rate and a sampling rate that exist
        (rb"\xff[\xf0\xf1\xf8\xf9]|\xff[\xe2-\xe5\xf2-\xf5\xfa-\xfd][\x00-\xef]", _AUDIO),
    )
)


def sniff(head: bytes) -> tuple[Found, ...]:
    """What the file that begins with ``head`` may be, the likelier first; nothing for bytes that say nothing.

    JSON is what begins as an object or an array does; text is UTF-8 without control characters. Neither is ever taken
    for a file, nor a file for them.
    """
    if _is_text(head):
        return ("json",) if head.removeprefix(codecs.BOM_UTF8).lstrip(b" \t\r\n")[:1] in (b"{", b"[") else ("text",)
    return next((kinds for pattern, kinds in _MAGIC if pattern.match(head)), ())


def _is_text(head: bytes) -> bool:
    if _BINARY.search(head):
        return False
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)  # whose last character may be cut off
    except UnicodeDecodeError:
        return False
    return True
