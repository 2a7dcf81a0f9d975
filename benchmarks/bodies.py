"""Large bodies through each proxy of Ray Serve: a 10 MB image and a minute of sound; raw, in a form, and in JSON.

What counts is the time around the model: what a caller waits, less the stages that the replica reports. And what small
requests wait meanwhile, as all of them pass the same router.
"""

import base64
import http.client
import io
import json
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import soundfile
from PIL import Image
from tqdm import tqdm  # type: ignore[import-untyped]

from benchmarks import models, server
from benchmarks.errors import BenchmarkError
from benchmarks.report import Outcome, Record
from benchmarks.settings import Settings

_REQUESTS = 12  # of each kind at scale 1
_SMALL_S = 2.0  # seconds of small requests beside large ones
_STAGES = ("decode", "queue", "preprocess", "forward", "postprocess")
MODES: dict[str, dict[str, str]] = {
    "default proxy": {},
    "default proxy, throughput": {"RAY_SERVE_THROUGHPUT_OPTIMIZED": "1"},
    "HAProxy": {"RAY_SERVE_ENABLE_HA_PROXY": "1"},
    "HAProxy, throughput": {"RAY_SERVE_ENABLE_HA_PROXY": "1", "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1"},
}
"""Name of each way through Serve → what is set in the environment."""


@dataclass(frozen=True)
class Sent:
    """A request body, made beforehand."""

    path: str
    body: bytes
    content_type: str


class Bodies:
    """The part ``bodies``.

    Args:
        settings: ``scale`` is of the number of requests; ``repeats`` goes over all ways through Serve in turn.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.record = Record()
        image, sound = _image(settings.seed), _sound(settings.seed)
        self.data = {"image MB": round(len(image) / 1e6, 1), "sound MB": round(len(sound) / 1e6, 1)}
        self.sent = {
            f"{name}, {how}": make(f"/models/{name}", data)
            for name, data in (("image", image), ("sound", sound))
            for how, make in _WAYS.items()
        }

    def run(self) -> Outcome:
        """Measure everything.

        Raises:
            BenchmarkError: a server did not start, or a request failed.
        """
        image, sound = (make(self.settings.seed) for make in (models.image_classifier, models.sound_classifier))
        served: list[dict[str, Any]] = [
            {"name": "image", "task": "image-classification", "model": str(image)},
            {"name": "sound", "task": "audio-classification", "model": str(sound)},
            {"name": "small", "task": "fake"},
        ]
        off = {name: "0" for environment in MODES.values() for name in environment}
        more = {"resources": {"num_cpus": 0.1}, **server.COMPUTED}
        for mode, environment in tqdm(list(MODES.items()) * self.settings.repeats, desc="bodies", unit="mode"):
            with server.project([{**model, **more} for model in served], environment={**off, **environment}) as url:
                self._measure(url, mode)
        return Outcome("bodies", "requests", self.settings, self.data, self.record)

    def _measure(self, url: str, mode: str) -> None:
        for name, sent in self.sent.items():
            _post(url, sent, 1)
            waits, around = zip(*_post(url, sent, self.settings.count(_REQUESTS)), strict=True)
            self.record.add(f"{mode}: {name}", p50_ms=statistics.median(waits), around_ms=statistics.median(around))
        self._small(url, f"{mode}: 1 KB alone", None)
        for how in ("raw", "JSON"):
            self._small(url, f"{mode}: 1 KB beside images, {how}", self.sent[f"image, {how}"])

    def _small(self, url: str, name: str, beside: Sent | None) -> None:
        """Small requests, one after another, while ``beside`` is sent again and again."""
        small = Sent("/models/small", json.dumps({"inputs": "x" * 1000}).encode(), "application/json")
        with _running(lambda: beside and _post(url, beside, 1)):
            waits, ended = [], time.perf_counter() + _SMALL_S
            while time.perf_counter() < ended:
                waits += [wait for wait, _ in _post(url, small, 10)]
        found = statistics.quantiles(waits, n=20)
        self.record.add(name, per_s=len(waits) / _SMALL_S, p50_ms=found[9], p95_ms=found[18])


def make(settings: Settings) -> Bodies:
    """The part on large bodies."""
    return Bodies(settings)


def _post(url: str, sent: Sent, count: int) -> list[tuple[float, float]]:
    """Milliseconds of each of ``count`` requests over one connection: all, and those around the replica's stages."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=120)
    found = []
    try:
        for _ in range(count):
            started = time.perf_counter()
            connection.request("POST", sent.path, sent.body, {"content-type": sent.content_type})
            response = connection.getresponse()
            body = response.read()
            wait = (time.perf_counter() - started) * 1000
            if response.status != 200:
                raise BenchmarkError(f"{sent.path} answered {response.status}: {body[:300].decode(errors='replace')}")
            inside = sum(float(response.headers[f"x-{stage}-ms"]) for stage in _STAGES)
            found.append((wait, wait - inside))
    finally:
        connection.close()
    return found


@contextmanager
def _running(work: Callable[[], Any]) -> Iterator[None]:
    """``work`` again and again on a thread, until left."""
    ended = threading.Event()

    def loop() -> None:
        while not ended.is_set() and work():
            pass

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _image(seed: int) -> bytes:
    """A PNG of noise, so that it does not shrink; quick to decode."""
    noise = np.random.default_rng(seed).integers(0, 256, (1828, 1828, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "PNG", compress_level=1)
    return file.getvalue()


def _sound(seed: int) -> bytes:
    """A minute at 48 kHz, stereo, 16 bit."""
    samples = np.random.default_rng(seed).normal(0, 0.1, (60 * 48_000, 2)).astype(np.float32)
    file = io.BytesIO()
    soundfile.write(file, samples, 48_000, "PCM_16", format="WAV")
    return file.getvalue()


def _in_json(path: str, data: bytes) -> Sent:
    return Sent(path, json.dumps({"inputs": base64.b64encode(data).decode()}).encode(), "application/json")


def _in_form(path: str, data: bytes) -> Sent:
    form = httpx.Request("POST", "http://form", files={"file": ("file", data, "application/octet-stream")})
    return Sent(path, form.read(), form.headers["content-type"])


_WAYS: dict[str, Callable[[str, bytes], Sent]] = {
    "raw": lambda path, data: Sent(path, data, "application/octet-stream"),
    "form": _in_form,
    "JSON": _in_json,
}
