"""Frames that a caller asks for are bounded by what they take in memory before a film is handed on."""

import io
from typing import Any

import av
import numpy as np
import pytest

from deployments import frames
from deployments.av_files import Film
from deployments.config import MediaLimits
from deployments.errors import PayloadTooLargeError
from deployments.frames import frame_bytes
from deployments.media import MediaDecoder
from deployments.payload import Media

SIDE, COUNT, RATE = 32, 8, 4
FRAME_BYTES = SIDE * SIDE * 3


def _film() -> Media:
    """Two seconds."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=RATE)
        stream.width = stream.height = SIDE
        stream.pix_fmt = "yuv420p"
        for _ in range(COUNT):
            frame = av.VideoFrame.from_ndarray(np.zeros((SIDE, SIDE, 3), np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return Media(buffer.getvalue(), "video")


FILM = _film()


def _decode(value: Any, parameters: dict[str, Any], most_frames: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "MOST_FRAME_BYTES", int(most_frames * FRAME_BYTES))
    decoder = MediaDecoder(None, MediaLimits(), None, parameters)
    try:
        decoder.decode(value)
    finally:
        decoder.close()


@pytest.mark.parametrize(
    ("parameters", "taken"),
    [
        ({"num_frames": 3}, 3),
        ({"num_frames": 10_000}, COUNT),
        ({"num_frames": None, "processor_kwargs": {"num_frames": 5}}, 5),
        ({"processor_kwargs": {"videos_kwargs": {"fps": 1, "size": {"height": 2}}}}, 2),
        ({"processor_kwargs": {"videos_kwargs": {"fps": 1024}}}, COUNT),
        ({"processor_kwargs": {"do_sample_frames": False}}, COUNT),
    ],
)
def test_frames_that_are_asked_for_are_bounded(
    parameters: dict[str, Any], taken: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    _decode(FILM, parameters, taken, monkeypatch)
    with pytest.raises(PayloadTooLargeError, match="ask for fewer frames"):
        _decode(FILM, parameters, taken - 0.5, monkeypatch)


def test_frames_of_several_films_are_added_up(monkeypatch: pytest.MonkeyPatch) -> None:
    _decode([FILM, FILM], {"num_frames": 3}, 6, monkeypatch)
    with pytest.raises(PayloadTooLargeError):
        _decode([FILM, FILM], {"num_frames": 3}, 5, monkeypatch)


@pytest.mark.parametrize("parameters", [{}, {"num_frames": None, "top_k": 5}, {"processor_kwargs": {"size": 224}}])
def test_the_models_own_number_is_not_asked_for(parameters: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    _decode(FILM, parameters, 0.5, monkeypatch)


def test_most_of_a_full_film_in_full_hd_is_refused_and_a_usual_request_is_not() -> None:
    film = Film(600.0, 18_000, 1920 * 1080)
    assert frame_bytes(film, {"num_frames": 10_000}) > frames.MOST_FRAME_BYTES
    assert frame_bytes(film, {"num_frames": 32}) < frames.MOST_FRAME_BYTES
