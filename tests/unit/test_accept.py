"""The Accept header: what RFC 9110 says of it, what clients really send, and answers as files read back by others."""

import io
import json
from typing import Any

import av
import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from deployments.codec import MEDIA_TYPE
from deployments.errors import NotAcceptableError
from deployments.payload import Tensor
from deployments.tasks import TASKS
from graph.accept import JSON, answer_types, negotiate
from graph.encode import Answer, encode
from graph.pictures import image_bytes, label_map
from graph.sound import sound_bytes

SPEECH, DEPTH, PICTURE, SEGMENTS = "text-to-audio", "depth-estimation", "image-to-image", "image-segmentation"
FIREFOX = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/png,*/*;q=0.8"


@pytest.mark.parametrize(
    ("task", "accept", "found"),
    [
        # nothing said: the task's own
        (SPEECH, "", "audio/wav"),
        (SPEECH, "*/*", "audio/wav"),
        (SPEECH, "*", "audio/wav"),
        (PICTURE, "*/*", "image/png"),
        (DEPTH, "*/*", JSON),
        (SEGMENTS, "", JSON),
        ("fill-mask", "*/*", JSON),
        # said
        (SPEECH, "audio/flac", "audio/flac"),
        (SPEECH, "AUDIO/MPEG", "audio/mpeg"),
        (SPEECH, "audio/mp3", "audio/mpeg"),
        (SPEECH, "audio/x-wav", "audio/wav"),
        (SPEECH, "audio/*", "audio/wav"),
        (SPEECH, "application/*", JSON),
        (SPEECH, "application/json", JSON),
        (DEPTH, "image/*", "image/png"),
        (DEPTH, "image/jpg", "image/jpeg"),
        (DEPTH, "image/webp", "image/webp"),
        (SEGMENTS, "image/*", "image/png"),
        ("mask-generation", "image/png", "image/png"),
        ("fill-mask", MEDIA_TYPE, MEDIA_TYPE),
        ("fill-mask", "application/json;charset=utf-8", JSON),
        # weighed
        (SPEECH, "audio/wav;q=0.1, audio/ogg;q=0.9", "audio/ogg"),
        (SPEECH, "audio/*;q=0.9, application/json", JSON),
        (SPEECH, "audio/wav;q=0, */*", "audio/flac"),
        (DEPTH, "image/*, image/png;q=0", "image/jpeg"),
        (DEPTH, "image/png;q=0.5, */*;q=0.1", "image/png"),
        (DEPTH, "text/html, image/png;q=0.2", "image/png"),
        ("fill-mask", f"{MEDIA_TYPE}, */*;q=0.1", MEDIA_TYPE),
        (SPEECH, "application/json, text/plain, */*", JSON),  # axios
        (SPEECH, FIREFOX, "audio/wav"),
        (DEPTH, FIREFOX, "image/png"),
        ("fill-mask", FIREFOX, JSON),
        # unreadable: as if nothing were said
        (SPEECH, "nonsense", "audio/wav"),
        (SPEECH, ",,", "audio/wav"),
        (SPEECH, "audio/flac;q=high", "audio/flac"),
    ],
)
def test_the_best_type_is_found(task: str, accept: str, found: str) -> None:
    assert negotiate(TASKS[task], False, accept) == found


@pytest.mark.parametrize(
    ("task", "accept"),
    [
        ("fill-mask", "image/png"),
        ("fill-mask", "text/html"),
        (SPEECH, "image/*"),
        (SEGMENTS, "image/jpeg"),
        (DEPTH, "*/*;q=0"),
        (PICTURE, "audio/wav, video/*"),
        ("fill-mask", "application/xml"),
    ],
)
def test_what_cannot_be_had_is_refused_with_what_can(task: str, accept: str) -> None:
    with pytest.raises(NotAcceptableError) as caught:
        negotiate(TASKS[task], False, accept)
    assert all(name in str(caught.value) for name in answer_types(TASKS[task]))


@pytest.mark.parametrize("accept", ["image/png", "audio/wav", "*/*", "", "text/html", "*/*;q=0"])
@pytest.mark.parametrize("task", [SPEECH, PICTURE, DEPTH, "fill-mask"])
def test_a_list_is_json(task: str, accept: str) -> None:
    assert negotiate(TASKS[task], True, accept) == JSON
    assert negotiate(TASKS[task], True, MEDIA_TYPE) == MEDIA_TYPE


@given(st.sampled_from(sorted(TASKS)), st.booleans(), st.text('audioimgepng/*;q=0.1, "\\', max_size=30))
def test_any_header_has_an_answer_or_a_refusal(task: str, many: bool, accept: str) -> None:
    try:
        assert negotiate(TASKS[task], many, accept) in answer_types(TASKS[task], many)
    except NotAcceptableError:
        return


# --- sounds ---

RATE = 16_000
TONE = (0.5 * np.sin(2 * np.pi * 440 * np.arange(2 * RATE) / RATE)).astype(np.float32)


def pitch(samples: Any, rate: int) -> float:
    """The loudest frequency (Hz)."""
    return float(np.argmax(np.abs(np.fft.rfft(samples * np.hanning(len(samples))))) * rate / len(samples))


def sent(task: str, output: Any, media_type: str) -> Answer:
    return encode(TASKS[task], [output], False, {}, media_type)


@pytest.mark.parametrize("rate", [8000, 16_000, 22_050, 24_000, 44_100, 48_000])
@pytest.mark.parametrize("media_type", ["audio/wav", "audio/flac", "audio/mpeg", "audio/ogg"])
def test_speech_is_a_file_that_others_read(media_type: str, rate: int) -> None:
    tone = (0.5 * np.sin(2 * np.pi * 440 * np.arange(2 * rate) / rate)).astype(np.float32)
    answer = sent(SPEECH, {"audio": tone, "sampling_rate": rate}, media_type)
    assert (answer.media_type, answer.headers) == (media_type, {})
    samples, found = soundfile.read(io.BytesIO(answer.body))
    assert found == rate or media_type == "audio/ogg"
    assert len(samples) / found == pytest.approx(2, abs=0.1)
    assert pitch(samples, found) == pytest.approx(440, abs=1)
    samples = samples[found // 2 : -found // 2]  # MP3 has silence around it
    assert np.sqrt(np.mean(samples**2)) == pytest.approx(0.5 / np.sqrt(2), rel=0.06)  # LAME scales by 0.95


def test_lossless_files_hold_the_samples() -> None:
    for media_type in ("audio/wav", "audio/flac"):
        samples, _ = soundfile.read(io.BytesIO(sound_bytes(TONE, RATE, media_type)))
        assert samples.shape == TONE.shape
        assert np.abs(samples - TONE).max() < 1e-4


@pytest.mark.parametrize(
    ("media_type", "codec"), [("audio/flac", "flac"), ("audio/mpeg", "mp3float"), ("audio/ogg", "opus")]
)
def test_the_files_are_what_they_are_called(media_type: str, codec: str) -> None:
    with av.open(io.BytesIO(sound_bytes(TONE, RATE, media_type))) as file:
        assert file.streams.audio[0].codec_context.name == codec


@pytest.mark.parametrize("media_type", ["audio/wav", "audio/flac", "audio/mpeg", "audio/ogg"])
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_channels_are_kept_or_mixed_down(media_type: str, channels: int) -> None:
    samples, _ = soundfile.read(io.BytesIO(sound_bytes(np.tile(TONE, (channels, 1)), RATE, media_type)), always_2d=True)
    assert samples.shape[1] == (channels if media_type == "audio/wav" or channels < 3 else 1)


@pytest.mark.parametrize("media_type", ["audio/wav", "audio/flac", "audio/mpeg", "audio/ogg"])
def test_a_sound_of_nothing_is_a_file_too(media_type: str) -> None:
    assert sound_bytes(np.zeros(0, np.float32), RATE, media_type)


# --- images ---


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16", "I", "F", "CMYK"])
@pytest.mark.parametrize("media_type", ["image/png", "image/jpeg", "image/webp"])
def test_an_image_of_any_mode_is_a_file(media_type: str, mode: str) -> None:
    image = Image.open(io.BytesIO(image_bytes(Image.new(mode, (30, 20)), media_type)))
    assert (image.get_format_mimetype(), image.size) == (media_type, (30, 20))


def test_depth_is_a_picture() -> None:
    depth = np.tile(np.arange(256, dtype=np.uint8), (20, 1))
    output = {"predicted_depth": Tensor(depth.astype(np.float32), "float32"), "depth": Image.fromarray(depth)}
    for media_type, off in (("image/png", 0), ("image/jpeg", 4), ("image/webp", 4)):
        answer = sent(DEPTH, output, media_type)
        found = np.asarray(Image.open(io.BytesIO(answer.body)).convert("L")).astype(int)
        assert np.abs(found - depth).max() <= off
    assert set(json.loads(sent(DEPTH, output, JSON).body)) == {"predicted_depth", "depth"}


def test_deep_grey_keeps_its_order_in_8_bits() -> None:
    deep = Image.fromarray(np.tile(np.arange(0, 65_536, 256, dtype=np.uint16), (20, 1)))
    found = np.asarray(Image.open(io.BytesIO(image_bytes(deep, "image/jpeg")))).astype(int)
    assert np.abs(found[0] - np.arange(256)).max() <= 4


def mask(rows: list[list[int]]) -> Image.Image:
    return Image.fromarray(np.array(rows, np.uint8) * 255)


def test_segments_are_one_map_of_labels_with_a_legend() -> None:
    output = [
        {"label": "sky", "score": np.float32(0.5), "mask": mask([[1, 1, 1], [0, 0, 0]])},
        {"label": "h\u00e9ron", "score": None, "mask": mask([[0, 0, 1], [0, 0, 0]])},
        {"label": "lake", "score": 0.25, "mask": mask([[0, 0, 0], [1, 1, 0]])},
    ]
    answer = sent(SEGMENTS, output, "image/png")
    image = Image.open(io.BytesIO(answer.body))
    assert np.asarray(image).tolist() == [[1, 1, 2], [3, 3, 0]]  # the smaller of two that overlap is seen
    assert len(set(image.convert("RGB").getdata())) == 4
    legend = [{"label": "sky", "score": 0.5}, {"label": "h\u00e9ron", "score": None}, {"label": "lake", "score": 0.25}]
    assert json.loads(answer.headers["x-segments"]) == legend
    assert json.loads(image.text["segments"]) == legend  # type: ignore[attr-defined]
    assert answer.headers["x-segments"].isascii()


def test_masks_without_labels_are_a_map_too() -> None:
    masks = [np.array([[True, False]]), Tensor(np.array([[False, True]]), "bool")]
    answer = sent("mask-generation", {"masks": masks, "scores": Tensor(np.array([0.5, 0.25]), "float32")}, "image/png")
    assert np.asarray(Image.open(io.BytesIO(answer.body))).tolist() == [[1, 2]]
    assert json.loads(answer.headers["x-segments"]) == [{"score": 0.5}, {"score": 0.25}]


@pytest.mark.parametrize(("count", "mode"), [(0, "P"), (255, "P"), (256, "I;16"), (300, "I;16")])
def test_any_number_of_masks_fits(count: int, mode: str) -> None:
    masks = [np.arange(300)[None] == number for number in range(count)]
    image = Image.open(io.BytesIO(label_map(masks, [{}] * count)))
    assert image.mode == mode
    assert np.asarray(image)[0, :count].tolist() == list(range(1, count + 1))[: image.width]


def test_a_long_legend_is_in_the_file_alone() -> None:
    output = [{"label": "x" * 50, "score": 1.0, "mask": mask([[1]])}] * 100
    answer = sent(SEGMENTS, output, "image/png")
    assert answer.headers == {}
    assert len(json.loads(Image.open(io.BytesIO(answer.body)).text["segments"])) == 100  # type: ignore[attr-defined]
