"""Answers as files, over real HTTP, equal to what the local pipeline gives."""

import io
import json
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile
from huggingface_hub import InferenceClient
from PIL import Image

from tests.serve.cluster import deploy
from tests.serve.local import local_pipeline
from tests.serve.served import case_of, served
from tests.tiny import samples

pytestmark = [pytest.mark.ray, pytest.mark.pipelines, pytest.mark.timeout(300)]

SERVED = {
    "depth": "depth-estimation-dpt",
    "segments": "image-segmentation-segformer",
    "speak": "text-to-audio-vits",
    "upscale": "image-to-image-swin2sr",
}


@pytest.fixture(scope="module")
def server(url: str, checkpoints: Path) -> str:
    deploy(url, {"models": [served(case_of(SERVED[name]), checkpoints, name=name) for name in SERVED]})
    return url


PHOTO = samples.picture(1)
BUFFER = io.BytesIO()
PHOTO.save(BUFFER, "PNG")
PNG = BUFFER.getvalue()


def ask(server: str, name: str, accept: str | None, body: Any = PNG) -> httpx.Response:
    headers = {} if accept is None else {"accept": accept}
    answer = httpx.post(f"{server}/models/{name}", content=body, headers=headers, timeout=60)
    assert answer.status_code == 200, answer.text
    return answer


def opened(answer: httpx.Response) -> Image.Image:
    image = Image.open(io.BytesIO(answer.content))
    assert image.get_format_mimetype() == answer.headers["content-type"]
    return image


@pytest.mark.parametrize(("accept", "off"), [("image/png", 0), ("image/*", 0), ("image/jpeg", 60), ("image/webp", 60)])
def test_depth_is_a_picture_for_who_wants_one(server: str, accept: str, off: int, checkpoints: Path) -> None:
    want = np.asarray(local_pipeline(case_of(SERVED["depth"]), checkpoints)(PHOTO)["depth"]).astype(int)
    found = np.asarray(opened(ask(server, "depth", accept)).convert("L")).astype(int)
    assert found.shape == want.shape
    assert np.abs(found - want).max() <= off
    assert ask(server, "depth", None).headers["content-type"] == "application/json"


def test_segments_are_one_label_map(server: str, checkpoints: Path) -> None:
    want = local_pipeline(case_of(SERVED["segments"]), checkpoints)(PHOTO)
    answer = ask(server, "segments", "image/png")
    labels, legend = np.asarray(opened(answer)), json.loads(answer.headers["x-segments"])
    assert [one["label"] for one in legend] == [one["label"] for one in want]
    for number, segment in enumerate(want, 1):
        assert np.array_equal(labels == number, np.asarray(segment["mask"]) > 0)


@pytest.mark.parametrize("accept", [None, "*/*", "image/png"])
def test_an_image_for_an_image_is_a_png(server: str, accept: str | None, checkpoints: Path) -> None:
    want = local_pipeline(case_of(SERVED["upscale"]), checkpoints)(PHOTO)
    assert np.array_equal(np.asarray(opened(ask(server, "upscale", accept))), np.asarray(want))


@pytest.mark.parametrize("media_type", ["audio/wav", "audio/flac", "audio/mpeg", "audio/ogg"])
def test_speech_is_the_file_that_is_asked_for(server: str, media_type: str, checkpoints: Path) -> None:
    text = case_of(SERVED["speak"]).inputs[0]
    want = local_pipeline(case_of(SERVED["speak"]), checkpoints)(text)
    answer = ask(server, "speak", media_type, text.encode())
    assert answer.headers["content-type"] == media_type
    found, rate = soundfile.read(io.BytesIO(answer.content))
    assert len(found) / rate == pytest.approx(want["audio"].size / want["sampling_rate"], abs=0.1)
    if media_type in ("audio/wav", "audio/flac"):
        assert np.abs(found - np.clip(want["audio"].reshape(-1), -1, 1)).max() < 1e-4


def test_the_client_of_huggingface_gets_files(server: str, checkpoints: Path) -> None:
    client = InferenceClient(token="none")
    want = local_pipeline(case_of(SERVED["upscale"]), checkpoints)(PHOTO)
    assert np.array_equal(np.asarray(client.image_to_image(PNG, model=f"{server}/models/upscale")), np.asarray(want))
    spoken = client.text_to_speech(case_of(SERVED["speak"]).inputs[0], model=f"{server}/models/speak")
    assert soundfile.read(io.BytesIO(spoken))[1] == 16_000
    found = client.image_segmentation(PNG, model=f"{server}/models/segments")
    for one, segment in zip(found, local_pipeline(case_of(SERVED["segments"]), checkpoints)(PHOTO), strict=True):
        assert one.label == segment["label"]
        assert np.array_equal(np.asarray(one.mask), np.asarray(segment["mask"]))


@pytest.mark.parametrize("name", SERVED)
def test_what_cannot_be_had_is_refused_before_the_model_runs(server: str, name: str) -> None:
    answer = httpx.post(f"{server}/models/{name}", content=PNG, headers={"accept": "video/mp4"}, timeout=60)
    if name == "speak":
        assert answer.status_code == 415
    else:
        assert (answer.status_code, answer.json()["error_type"]) == (406, "not_acceptable")
        assert "application/json" in answer.json()["error"]
