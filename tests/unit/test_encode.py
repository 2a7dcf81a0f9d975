"""Answers on the wire: huggingface_hub's own client is the reader; sounds and images are read back by others."""

import base64
import io
import json
import math
import wave
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from huggingface_hub import InferenceClient
from huggingface_hub.inference._generated import types
from PIL import Image

from deployments.codec import MEDIA_TYPE, from_json
from deployments.payload import Tensor
from deployments.tasks import TASKS
from graph.accept import negotiate
from graph.encode import Answer, encode, join, plain
from graph.pictures import png_bytes
from graph.sound import wav_bytes


def sent(task: str, outputs: list[Any], many: bool, parameters: dict[str, Any], accept: str) -> Answer:
    return encode(TASKS[task], outputs, many, parameters, negotiate(TASKS[task], many, accept))


def body(task: str, output: Any, accept: str = "*/*") -> bytes:
    return sent(task, [output], False, {}, accept).body


def client_reads(method: str, reply: bytes, *args: Any, **kwargs: Any) -> Any:
    """What the client's method makes of ``reply``."""
    client = InferenceClient("http://127.0.0.1:1/x", token="none")
    with patch.object(InferenceClient, "_inner_post", return_value=reply):
        return getattr(client, method)(*args, **kwargs)


F = np.float32
BOX = {"xmin": 1, "ymin": 2, "xmax": 3, "ymax": 4}
LABELS = [{"label": "a", "score": F(0.75)}, {"label": "b", "score": F(0.25)}]
MASK = Image.fromarray(np.array([[0, 255], [255, 0]], np.uint8))


@pytest.mark.parametrize("output", [LABELS, LABELS[:1]])
def test_the_client_reads_text_classes(output: Any) -> None:
    found = client_reads("text_classification", body("text-classification", output), "text")
    assert [(type(one), one.label, one.score) for one in found] == [
        (types.TextClassificationOutputElement, one["label"], float(one["score"])) for one in output
    ]


def test_the_client_reads_a_lone_text_class() -> None:
    """As the pipeline gives it in a list of inputs."""
    assert [one.label for one in client_reads("text_classification", body("text-classification", LABELS[0]), "x")] == [
        "a"
    ]


def test_the_client_reads_zero_shot_classes() -> None:
    output = {"sequence": "text", "labels": ["a", "b"], "scores": [0.75, 0.25]}
    found = client_reads("zero_shot_classification", body("zero-shot-classification", output), "text", ["b", "a"])
    assert [(one.label, one.score) for one in found] == [("a", 0.75), ("b", 0.25)]


@pytest.mark.parametrize(
    ("task", "method", "args"),
    [
        ("image-classification", "image_classification", (b"x",)),
        ("audio-classification", "audio_classification", (b"x",)),
        ("zero-shot-image-classification", "zero_shot_image_classification", (b"x", ["a", "b"])),
    ],
)
def test_the_client_reads_classes_of_files(task: str, method: str, args: Any) -> None:
    assert [(one.label, one.score) for one in client_reads(method, body(task, LABELS), *args)] == [
        ("a", 0.75),
        ("b", 0.25),
    ]


def test_the_client_reads_masks_as_images() -> None:
    output = [{"label": "cat", "score": None, "mask": MASK}]
    (found,) = client_reads("image_segmentation", body("image-segmentation", output), b"x")
    assert (found.label, found.score) == ("cat", None)
    assert isinstance(found.mask, Image.Image)
    assert (found.mask.mode, found.mask.tobytes()) == ("L", MASK.tobytes())


def test_the_client_reads_detections() -> None:
    output = [{"label": "cat", "score": F(0.5), "box": {name: np.int64(side) for name, side in BOX.items()}}]
    (found,) = client_reads("object_detection", body("object-detection", output), b"x")
    assert (found.label, found.score, dict(found.box)) == ("cat", 0.5, BOX)
    zero_shot = types.ZeroShotObjectDetectionOutputElement.parse_obj_as_list(body("zero-shot-object-detection", output))
    assert (zero_shot[0].label, zero_shot[0].box.ymax) == ("cat", 4)


def test_the_client_reads_entities() -> None:
    output = [{"entity_group": "PER", "score": F(0.5), "word": "Ada", "start": np.int64(0), "end": 3}]
    (found,) = client_reads("token_classification", body("token-classification", output), "Ada")
    assert (found.entity_group, found.score, found.word, found.start, found.end) == ("PER", 0.5, "Ada", 0, 3)


def test_the_client_reads_masks_filled_in() -> None:
    output = [{"score": 0.5, "token": 7, "token_str": "x", "sequence": "a x"}]
    (found,) = client_reads("fill_mask", body("fill-mask", output), "a [MASK]")
    assert (found.token, found.token_str, found.sequence) == (7, "x", "a x")


def test_the_client_reads_embeddings() -> None:
    output = [[[1.0, 2.0], [3.0, 4.0]]]
    found = client_reads("feature_extraction", body("feature-extraction", output), "text")
    assert (found.dtype, found.tolist()) == (np.float32, output)


@pytest.mark.parametrize(
    ("task", "method", "key"),
    [("summarization", "summarization", "summary_text"), ("translation", "translation", "translation_text")],
)
def test_the_client_reads_new_texts(task: str, method: str, key: str) -> None:
    assert client_reads(method, body(task, [{key: "short"}]), "text")[key] == "short"


def test_the_client_reads_generated_text() -> None:
    assert client_reads("text_generation", body("text-generation", [{"generated_text": "on"}]), "go") == "on"


def test_the_client_reads_captions() -> None:
    found = client_reads("image_to_text", body("image-to-text", [{"generated_text": "a cat"}]), b"x")
    assert found.generated_text == "a cat"


ANSWER = {"answer": "Oslo", "score": F(0.5), "start": np.int64(3), "end": 7}


def test_the_client_reads_answers() -> None:
    found = client_reads("question_answering", body("question-answering", ANSWER), "where?", "in Oslo")
    assert (found.answer, found.score, found.start, found.end) == ("Oslo", 0.5, 3, 7)


@pytest.mark.parametrize("output", [ANSWER, [ANSWER]])
def test_the_client_reads_answers_of_documents(output: Any) -> None:
    found = client_reads("document_question_answering", body("document-question-answering", output), b"x", "where?")
    assert [one.answer for one in found] == ["Oslo"]


def test_the_client_reads_answers_about_images() -> None:
    output = [{"score": 0.5, "answer": "two"}]
    found = client_reads("visual_question_answering", body("visual-question-answering", output), b"x", "how many?")
    assert [(one.answer, one.score) for one in found] == [("two", 0.5)]


def test_the_client_reads_answers_of_tables() -> None:
    output = {"answer": "1", "coordinates": [(0, 1)], "cells": ["1"], "aggregator": "NONE"}
    found = client_reads("table_question_answering", body("table-question-answering", output), {"a": ["1"]}, "?")
    assert (found.answer, found.coordinates, found.cells, found.aggregator) == ("1", [[0, 1]], ["1"], "NONE")


def test_the_client_reads_transcripts() -> None:
    output = {"text": "hi", "chunks": [{"text": "hi", "timestamp": (0.0, None)}]}
    found = client_reads("automatic_speech_recognition", body("automatic-speech-recognition", output), b"x")
    assert found.text == "hi"
    parsed = types.AutomaticSpeechRecognitionOutput.parse_obj_as_instance(body("automatic-speech-recognition", output))
    assert parsed.chunks is not None
    assert parsed.chunks[0].timestamp == [0.0, None]


def test_the_client_reads_a_depth_map() -> None:
    output = {"predicted_depth": Tensor(np.array([[1.5, 2.5]], F), "float32"), "depth": MASK}
    found = types.DepthEstimationOutput.parse_obj_as_instance(body("depth-estimation", output))
    assert found.predicted_depth == [[1.5, 2.5]]
    assert Image.open(io.BytesIO(base64.b64decode(found.depth))).tobytes() == MASK.tobytes()


def test_the_client_reads_a_new_image() -> None:
    picture = Image.new("RGB", (3, 2), (1, 2, 3))
    found = client_reads("image_to_image", body("image-to-image", picture, "image/png"), b"x", prompt="")
    assert (found.mode, found.size, found.tobytes()) == ("RGB", (3, 2), picture.tobytes())


@pytest.mark.parametrize(
    "kind", [np.asarray, lambda mask: Tensor(np.asarray(mask), "bool"), lambda mask: mask.tolist()]
)
def test_masks_of_everything_are_images(kind: Any) -> None:
    mask = np.array([[True, False, True]])
    output = {"masks": [kind(mask)], "scores": Tensor(np.array([0.5], F), "float32")}
    found = json.loads(body("mask-generation", output))
    assert found["scores"] == [0.5]
    image = Image.open(io.BytesIO(base64.b64decode(found["masks"][0])))
    assert (np.asarray(image) > 0).tolist() == mask.tolist()


# --- sound ---


def read_wav(data: bytes) -> tuple[int, np.ndarray[Any, Any]]:
    """Rate, and 16 bit samples of shape (frames, channels)."""
    with wave.open(io.BytesIO(data)) as file:
        assert file.getsampwidth() == 2
        frames = np.frombuffer(file.readframes(file.getnframes()), "<i2")
        return file.getframerate(), frames.reshape(-1, file.getnchannels())


SINE = np.sin(np.linspace(0, 30, 500))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("shape", [(500,), (1, 500), (2, 250)])
def test_speech_is_a_wav_file_that_others_read(dtype: str, shape: tuple[int, ...]) -> None:
    samples = SINE.astype(dtype).reshape(shape)
    data, content_type, _ = sent("text-to-audio", [{"audio": samples, "sampling_rate": 22050}], False, {}, "*/*")
    rate, frames = read_wav(data)
    assert (content_type, rate) == ("audio/wav", 22050)
    expected = samples.astype(np.float64).reshape(-1, shape[-1]).T
    assert frames.shape == expected.shape
    assert np.abs(frames / 32767 - expected).max() < 1 / 32767


def test_too_loud_sound_is_clipped_and_does_not_wrap_around() -> None:
    _, frames = read_wav(wav_bytes(np.array([2.0, -2.0, 1.0, -1.0, 0.0], F), 8000))
    assert frames[0] == 32767
    assert frames[1] <= -32767
    assert frames[4] == 0


def test_speech_in_json_is_the_same_file() -> None:
    output = {"audio": SINE.astype(F), "sampling_rate": 16000}
    data, content_type, _ = sent("text-to-audio", [output], False, {}, "application/json")
    found = json.loads(data)
    assert (content_type, found["sampling_rate"], found["content-type"]) == ("application/json", 16000, "audio/wav")
    assert base64.b64decode(found["audio"]) == body("text-to-audio", output)


def test_several_sounds_are_json() -> None:
    output = {"audio": SINE.astype(F), "sampling_rate": 16000}
    data, content_type, _ = sent("text-to-audio", [output] * 2, True, {}, "*/*")
    assert content_type == "application/json"
    assert [len(read_wav(base64.b64decode(one["audio"]))[1]) for one in json.loads(data)] == [500, 500]


def test_the_client_reads_speech() -> None:
    data = client_reads("text_to_speech", body("text-to-audio", {"audio": SINE, "sampling_rate": 8000}), "text")
    assert read_wav(data)[0] == 8000


# --- images ---


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_an_image_stays_as_it_is(mode: str) -> None:
    image = Image.new("RGB", (3, 2), (10, 200, 30)).convert(mode) if mode != "I;16" else Image.new(mode, (3, 2), 4000)
    found = Image.open(io.BytesIO(png_bytes(image)))
    assert (found.mode, found.size, found.tobytes()) == (mode, (3, 2), image.tobytes())


@pytest.mark.parametrize("mode", ["I", "CMYK", "YCbCr", "HSV", "LAB", "RGBX", "RGBa", "PA"])
def test_an_image_of_a_mode_without_png_is_a_png_all_the_same(mode: str) -> None:
    assert Image.open(io.BytesIO(png_bytes(Image.new(mode, (3, 2))))).size == (3, 2)


def test_grey_numbers_become_16_bit_grey() -> None:
    """As `png_bytes` says; 8 bits would lose most of a depth map."""
    image = Image.fromarray(np.array([[0, 300, 40_000]], F))
    assert np.asarray(Image.open(io.BytesIO(png_bytes(image)))).tolist() == [[0, 300, 40_000]]


# --- plain JSON ---


@pytest.mark.parametrize(
    "value", [math.nan, math.inf, -math.inf, F("nan"), np.float64("inf"), np.array(math.nan, "f2")]
)
def test_numbers_that_json_lacks_are_null(value: Any) -> None:
    assert json.loads(body("fake", {"a": [value, 1.5]})) == {"a": [None, 1.5]}


@pytest.mark.parametrize(
    "array", [np.array([[1.0, math.nan], [-math.inf, 2.0]]), np.array([[1, math.nan], [math.inf, 2]], F)]
)
def test_numbers_that_json_lacks_are_null_in_arrays(array: Any) -> None:
    for value in (array, Tensor(array, "float32")):
        assert json.loads(body("fake", value)) == [[1.0, None], [None, 2.0]]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ((1, (2,)), [1, [2]]),
        (np.int64(3), 3),
        (np.bool_(True), True),
        (F(0.5), 0.5),
        (np.array([[1, 2]], np.uint8), [[1, 2]]),
        (np.array(7), 7),
        (np.zeros((0, 2)), []),
        ({1: "a"}, {"1": "a"}),
        ("h\u00e9 \U0001f600", "h\u00e9 \U0001f600"),
        (None, None),
    ],
)
def test_everything_else_is_the_json_nearest_to_it(value: Any, expected: Any) -> None:
    assert plain(value) == expected
    assert json.loads(body("fake", value)) == expected


def test_half_a_character_does_not_break_the_answer() -> None:
    r"""Python reads the JSON ``"\ud83d"`` without complaint, so an answer may hold it."""
    assert json.loads(body("fake", {"echo": "\ud83d"})) == {"echo": "\ud83d"}


@pytest.mark.parametrize("accept", [MEDIA_TYPE, f"{MEDIA_TYPE}, */*;q=0.1"])
def test_types_are_kept_for_who_asks_for_them(accept: str) -> None:
    data, content_type, _ = sent("fake", [(np.float32(1.5), (1, math.inf))], False, {}, accept)
    found = from_json(json.loads(data))
    assert content_type == MEDIA_TYPE
    assert (type(found), type(found[0]), found) == (tuple, np.float32, (1.5, (1, math.inf)))


# --- lists ---


@pytest.mark.parametrize("task", ["fill-mask", "summarization", "zero-shot-classification", "question-answering"])
def test_many_inputs_have_one_answer_each_in_order(task: str) -> None:
    one = {"labels": ["a"], "scores": [1.0]} if task == "zero-shot-classification" else [{"x": 1}]
    data, _, _ = sent(task, [one, one, one], True, {}, "*/*")
    assert len(json.loads(data)) == 3
    assert len(json.loads(sent(task, [one], True, {}, "*/*")[0])) == 1


def test_many_texts_have_their_classes_each() -> None:
    data, _, _ = sent("text-classification", [LABELS, LABELS[:1]], True, {"top_k": 2}, "*/*")
    assert [[one["label"] for one in each] for each in json.loads(data)] == [["a", "b"], ["a"]]


@pytest.mark.parametrize(
    ("task", "outputs", "parameters", "expected"),
    [
        # as transformers: pipe([x, y]) of text-classification without and with top_k
        ("text-classification", [[{"l": 1}], [{"l": 2}]], {}, [{"l": 1}, {"l": 2}]),
        ("text-classification", [[{"l": 1}], [{"l": 2}]], {"top_k": 1}, [[{"l": 1}], [{"l": 2}]]),
        ("text-classification", [[{"l": 1}, {"l": 2}]] * 2, {"top_k": None}, [[{"l": 1}, {"l": 2}]] * 2),
        ("text-classification", [[{"l": 1}]], {}, [{"l": 1}]),
        # pipe([x]) of fill-mask gives what pipe(x) gives
        ("fill-mask", [[{"token": 1}, {"token": 2}]], {}, [{"token": 1}, {"token": 2}]),
        ("fill-mask", [[{"token": 1}], [{"token": 2}]], {}, [[{"token": 1}], [{"token": 2}]]),
        # text2text: one answer each is not nested, several each are
        ("summarization", [[{"s": 1}], [{"s": 2}]], {}, [{"s": 1}, {"s": 2}]),
        ("summarization", [[{"s": 1}, {"s": 2}]] * 2, {}, [[{"s": 1}, {"s": 2}]] * 2),
        ("text-generation", [[{"g": 1}], [{"g": 2}]], {}, [[{"g": 1}], [{"g": 2}]]),
        ("question-answering", [{"a": 1}], {}, [{"a": 1}]),
    ],
)
def test_joined_answers_are_what_the_pipeline_gives_for_the_list(
    task: str, outputs: list[Any], parameters: dict[str, Any], expected: Any
) -> None:
    assert join(TASKS[task], outputs, parameters) == expected
    data, _, _ = sent(task, outputs, True, parameters, MEDIA_TYPE)
    assert from_json(json.loads(data)) == expected
