"""What is fuzzed: name → a function of any bytes, from which only a `PipelineGraphError` may come out.

A new reader of requests needs a line in `TARGETS` and seeds under the same name in ``seeds.py``.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from typing import Any

import httpx
from starlette.datastructures import Headers

from deployments.codec import MEDIA_TYPE
from deployments.config import MediaLimits
from deployments.errors import PipelineGraphError
from deployments.media import MediaDecoder
from deployments.payload import Media
from deployments.tasks import TASKS, TaskSpec
from deployments.tasks.forms import MediaOf
from graph.body import read_raw
from graph.config import FilesConfig, LimitsConfig
from graph.decode import read_body, read_call
from graph.fetch import _checked, _redirected
from graph.files import FileReader
from graph.json_body import parse_json
from graph.multipart import read_multipart

# small, so that what is allowed is quick, and what takes long or much memory is a finding
LIMITS = MediaLimits(max_image_pixels=4_000_000, max_audio_s=60, max_video_s=60, max_video_frames=1000)
_TASKS = sorted(TASKS)
_FILES = FileReader(FilesConfig(allowed=("/no/such/folder",)))


def _decode(kind: Any) -> Callable[[bytes], None]:
    def target(data: bytes) -> None:
        decoder = MediaDecoder(16_000, LIMITS)
        try:
            decoder.decode(Media(data, kind))
        finally:
            decoder.close()

    return target


def _call(content_type: str) -> Callable[[bytes], None]:
    """A whole body of JSON."""

    def target(data: bytes) -> None:
        spec, body = _task(data)
        _decode_all(spec, read_body(body, content_type))

    return target


def _task(data: bytes) -> tuple[TaskSpec, bytes]:
    """The task that the first byte picks, and the rest."""
    return TASKS[_TASKS[data[0] % len(_TASKS)] if data else "fake"], data[1:]


def _decode_all(spec: TaskSpec, root: dict[str, Any]) -> None:
    call = read_call(spec, root, 100)
    decoder = MediaDecoder(16_000, LIMITS)
    try:
        decoder.decode(call.items)
    finally:
        decoder.close()


def _raw(data: bytes) -> None:
    """A body of anything, under a content type that the second byte picks."""
    spec, body = _task(data)
    types = ("", "image/png", "audio/wav", "video/mp4", "text/plain", "application/octet-stream", "application/json")
    _decode_all(spec, read_raw(spec, body[1:], types[body[0] % len(types)] if body else ""))


def _form(data: bytes) -> None:
    """A multipart form, its boundary an ``x``."""
    spec, body = _task(data)

    async def pieces() -> AsyncGenerator[bytes, None]:
        for start in range(0, len(body), 1000):
            yield body[start : start + 1000]

    headers = Headers({"content-type": "multipart/form-data; boundary=x"})
    _decode_all(spec, asyncio.run(read_multipart(headers, pieces(), spec, LimitsConfig(max_body_bytes=10**6))))


def _string(data: bytes) -> None:
    """A string where a file is meant: base64, a ``data:`` URI, a URL, a path."""
    text = data.decode("utf-8", "replace")
    for kind in ("image", "audio", "video"):
        media = MediaOf(kind).read(text, "inputs")  # type: ignore[arg-type]
        if hasattr(media, "source"):
            _FILES.read(media)
        if hasattr(media, "url"):
            _url(data)


def _url(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    with suppress(httpx.InvalidURL, ValueError):  # what the fetcher takes for a refusal
        _redirected(_checked(httpx.URL(text)), text[-20:])


TARGETS: dict[str, Callable[[bytes], Any]] = {
    "image": _decode("image"),
    "audio": _decode("audio"),
    "video": _decode("video"),
    "json": parse_json,
    "call": _call("application/json"),
    "typed": _call(MEDIA_TYPE),
    "string": _string,
    "raw": _raw,
    "form": _form,
}


def check(name: str, data: bytes) -> None:
    """Run one target.

    Raises:
        Exception: a finding.
    """
    with suppress(PipelineGraphError):
        TARGETS[name](data)
