"""Every kind of body, over real HTTP, to tasks of every medium: each gives the local pipeline's answer."""

import base64
import io
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import soundfile
from huggingface_hub import InferenceClient
from PIL import Image

import graph
from deployments.codec import MEDIA_TYPE, from_json
from deployments.tensors import unpack_tensors
from tests.serve.cluster import deploy
from tests.serve.local import local_pipeline
from tests.serve.served import case_of, served
from tests.tiny import samples
from tests.tiny.compare import difference

pytestmark = [pytest.mark.ray, pytest.mark.pipelines, pytest.mark.timeout(300)]


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def wav(seed: int) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples.tone(seed, 0.6), samples.SAMPLING_RATE, "FLOAT", format="WAV")
    return buffer.getvalue()


@dataclass(frozen=True)
class Asked:
    """A call, however it is sent: what goes as a file or as text, its other parts, its parameters."""

    case: str
    data: bytes
    content_type: str
    name: str
    parts: dict[str, Any] = field(default_factory=dict)
    parameters: dict[str, Any] = field(default_factory=dict)

    @property
    def given(self) -> Any:
        """The input as a person gives it to the local pipeline."""
        if self.content_type == "image/png":
            media: Any = Image.open(io.BytesIO(self.data))
        elif self.content_type == "audio/wav":
            media = soundfile.read(io.BytesIO(self.data), dtype="float32")[0]
        elif self.content_type == "video/mp4":
            media = samples.clip_file(3)
        else:
            media = self.data.decode()
        return {self.name: media, **self.parts} if self.parts else media

    def in_json(self, prefix: str = "") -> Any:
        """The input in JSON, files in base64 behind ``prefix``."""
        text = self.content_type == "text/plain"
        media = self.data.decode() if text else prefix + base64.b64encode(self.data).decode()
        return {self.name: media, **self.parts} if self.parts else media


PAGE = samples.picture(4, (90, 64))
WORDS = [["Total", [10, 10, 200, 60]], ["is", [210, 10, 260, 60]], ["nine", [270, 10, 400, 60]]]
ASKED = {
    "classify": Asked(
        "text-classification-bert", "I like it, h\u00e9!".encode(), "text/plain", "inputs", {}, {"top_k": 2}
    ),
    "photo": Asked("image-classification-vit", png(samples.picture(1)), "image/png", "image", {}, {"top_k": 3}),
    "speech": Asked("asr-whisper", wav(1), "audio/wav", "audio", {}, {"return_timestamps": True}),
    "sounds": Asked("audio-classification-wav2vec2", wav(2), "audio/wav", "audio", {}, {"top_k": 1}),
    "film": Asked(
        "video-classification-videomae", samples.clip(3), "video/mp4", "video", {}, {"frame_sampling_rate": 2}
    ),
    "ask": Asked(
        "visual-question-answering-vilt", png(PAGE), "image/png", "image", {"question": "how many"}, {"top_k": 2}
    ),
    "document": Asked(
        "document-question-answering-layoutlm",
        png(PAGE),
        "image/png",
        "image",
        {"question": "What is the total?", "word_boxes": WORDS},
        {"top_k": 2},
    ),
    "labels": Asked(
        "zero-shot-image-classification-clip",
        png(samples.picture(2)),
        "image/png",
        "image",
        {},
        {"candidate_labels": ["a cat", "a dog"]},
    ),
}


def always(name: str) -> dict[str, Any]:
    """What every call of the case has, but for the labels, which the callers give."""
    return {key: value for key, value in case_of(ASKED[name].case).always.items() if key != "candidate_labels"}


@pytest.fixture(scope="module")
def server(url: str, checkpoints: Path) -> str:
    models = [
        served(case_of(asked.case), checkpoints, name=name, parameters=always(name)) for name, asked in ASKED.items()
    ]
    deploy(url, {"models": models, "limits": {"max_body_bytes": 300_000, "max_list_items": 10}})
    return url


def expected(name: str, checkpoints: Path) -> Any:
    local = local_pipeline(case_of(ASKED[name].case), checkpoints)
    return local(ASKED[name].given, **always(name), **ASKED[name].parameters)


def fields(values: dict[str, Any]) -> dict[str, Any]:
    """Values as a query or a form spells them."""
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in values.items()}


def in_json(asked: Asked, prefix: str = "") -> dict[str, Any]:
    return {"json": {"inputs": asked.in_json(prefix), "parameters": asked.parameters}}


def raw(asked: Asked, content_type: str | None) -> dict[str, Any]:
    headers = {} if content_type is None else {"content-type": content_type}
    return {"content": asked.data, "params": fields(asked.parts | asked.parameters), "headers": headers}


def form(asked: Asked, name: str) -> dict[str, Any]:
    files = {name: ("file", asked.data, "application/octet-stream")}
    return {"files": files, "data": fields(asked.parts | asked.parameters)}


BODIES: dict[str, Callable[[Asked], dict[str, Any]]] = {
    "json": in_json,
    "json data uri": lambda asked: in_json(asked, f"data:{asked.content_type};base64,"),
    "raw, nothing said": lambda asked: raw(asked, None),
    "raw, octets": lambda asked: raw(asked, "application/octet-stream"),
    "raw, typed": lambda asked: raw(asked, asked.content_type),
    "raw, as curl": lambda asked: raw(asked, "application/x-www-form-urlencoded"),
    "form, file": lambda asked: form(asked, "file"),
    "form, by name": lambda asked: form(asked, asked.name),
    "form, parameters": lambda asked: {
        "files": {"inputs": ("file", asked.data)},
        "data": {**fields(asked.parts), "parameters": json.dumps(asked.parameters)},
    },
}


@pytest.mark.parametrize("kind", BODIES)
@pytest.mark.parametrize("name", ASKED)
def test_every_kind_of_body_gives_the_local_answer(server: str, name: str, kind: str, checkpoints: Path) -> None:
    sent = BODIES[kind](ASKED[name])
    sent["headers"] = {**sent.get("headers", {}), "accept": MEDIA_TYPE}
    answer = httpx.post(f"{server}/models/{name}", timeout=60, **sent)
    assert answer.status_code == 200, answer.text
    assert difference(expected(name, checkpoints), unpack_tensors(from_json(answer.json()))) is None


@pytest.mark.parametrize("name", ASKED)
def test_the_served_pipeline_gives_it_too(server: str, name: str, checkpoints: Path, tmp_path: Path) -> None:
    """Which sends files as such, with their parameters in a form."""
    asked = ASKED[name]
    asked_for = graph.pipeline(model=name, url=server)
    given: Any = asked.given
    if asked.content_type != "text/plain":
        path = tmp_path / "file"
        path.write_bytes(asked.data)
        given = {asked.name: str(path), **asked.parts} if asked.parts else str(path)
    assert difference(expected(name, checkpoints), asked_for(given, **asked.parameters)) is None


@pytest.mark.parametrize("kind", ["json", "form"])
def test_several_files_are_a_list_of_inputs(server: str, kind: str, checkpoints: Path) -> None:
    pictures = [png(picture) for picture in samples.pictures()]
    if kind == "json":
        sent: dict[str, Any] = {"json": {"inputs": [base64.b64encode(data).decode() for data in pictures]}}
    else:
        sent = {"files": [("file", data) for data in pictures]}
    answer = httpx.post(f"{server}/models/photo", headers={"accept": MEDIA_TYPE}, timeout=60, **sent)
    want = local_pipeline(case_of(ASKED["photo"].case), checkpoints)(
        [Image.open(io.BytesIO(data)) for data in pictures]
    )
    assert difference(want, from_json(answer.json())) is None


def test_a_task_is_asked_for_with_a_raw_body_too(server: str) -> None:
    asked = ASKED["photo"]
    by_task, by_name = (
        httpx.post(f"{server}/{path}", content=asked.data, timeout=60).json()
        for path in ("tasks/image-classification?model=photo", "models/photo")
    )
    assert by_task == by_name


# --- huggingface_hub's client, which sends bytes as they are ---


@pytest.mark.parametrize("how", ["bytes", "name", "path"])
def test_the_client_of_huggingface_sends_files_raw(server: str, how: str, checkpoints: Path, tmp_path: Path) -> None:
    def opened(name: str, suffix: str) -> Any:
        path = tmp_path / f"{name}{suffix}"
        path.write_bytes(ASKED[name].data)
        ways: dict[str, Callable[[], Any]] = {
            "bytes": path.read_bytes,
            "name": lambda: str(path),
            "path": lambda: path,
        }
        return ways[how]()

    client = InferenceClient(token="none")
    photo = local_pipeline(case_of(ASKED["photo"].case), checkpoints)(ASKED["photo"].given)
    found = client.image_classification(opened("photo", ".png"), model=f"{server}/models/photo")
    assert [one.label for one in found] == [one["label"] for one in photo]
    assert [one.score for one in found] == pytest.approx([one["score"] for one in photo], rel=1e-5)

    sounds = local_pipeline(case_of(ASKED["sounds"].case), checkpoints)(ASKED["sounds"].given)
    heard = client.audio_classification(opened("sounds", ".wav"), model=f"{server}/models/sounds")
    assert [one.label for one in heard] == [one["label"] for one in sounds]

    always = case_of(ASKED["speech"].case).always
    said = local_pipeline(case_of(ASKED["speech"].case), checkpoints)(ASKED["speech"].given, **always)
    assert (
        client.automatic_speech_recognition(opened("speech", ".wav"), model=f"{server}/models/speech").text
        == said["text"]
    )


def test_the_client_of_huggingface_asks_about_images(server: str, checkpoints: Path) -> None:
    answers = InferenceClient(token="none").visual_question_answering(
        ASKED["ask"].data, "how many", model=f"{server}/models/ask"
    )
    want = local_pipeline(case_of(ASKED["ask"].case), checkpoints)(ASKED["ask"].given)
    assert [one.answer for one in answers] == [one["answer"] for one in want]


# --- refusals ---

PHOTO, SOUND = ASKED["photo"].data, ASKED["sounds"].data
REFUSED = [
    # path, what is sent, status, error_type, what the message must name
    ("photo", {"content": SOUND}, 415, "unsupported_media", "audio"),
    ("sounds", {"files": {"file": PHOTO}}, 415, "unsupported_media", "image"),
    ("classify", {"content": PHOTO}, 415, "unsupported_media", "text"),
    (
        "photo",
        {"content": b"%PDF-1.7\0", "headers": {"content-type": "application/pdf"}},
        415,
        "unsupported_media",
        "pdf",
    ),
    ("photo", {"content": PHOTO, "headers": {"content-encoding": "gzip"}}, 415, "unsupported_media", "gzip"),
    ("photo", {"content": PHOTO[:60]}, 422, "invalid_input", "inputs"),
    ("photo", {"content": PHOTO, "params": {"topp_k": 1}}, 422, "invalid_parameter", "top_k"),
    ("photo", {"content": PHOTO, "params": {"top_k": "many"}}, 422, "invalid_parameter", "top_k"),
    ("photo", {"files": {"file": PHOTO}, "data": {"topp_k": 1}}, 422, "invalid_parameter", "top_k"),
    (
        "photo",
        {"json": {"inputs": "x", "parameters": {"top_k": 1}}, "params": {"top_k": 1}},
        422,
        "invalid_parameter",
        "twice",
    ),
    ("ask", {"content": PHOTO}, 422, "invalid_input", "question"),
    ("photo", {"content": bytes(300_001)}, 413, "payload_too_large", "300000"),
    ("photo", {"content": iter([bytes(100_000)] * 4)}, 413, "payload_too_large", "300000"),
    ("photo", {"files": {"file": bytes(300_001)}}, 413, "payload_too_large", "300000"),
    ("photo", {"files": [("file", PHOTO)] * 11}, 413, "payload_too_large", "10"),
    ("photo", {"content": b"x", "headers": {"content-type": "multipart/form-data"}}, 400, "malformed_request", "form"),
    ("photo", {"content": PHOTO, "headers": {"accept": "audio/wav"}}, 406, "not_acceptable", "application/json"),
]


@pytest.mark.parametrize(("name", "sent", "status", "word", "says"), REFUSED, ids=range(len(REFUSED)))
def test_what_cannot_be_read_is_refused_in_words(
    server: str, name: str, sent: dict[str, Any], status: int, word: str, says: str
) -> None:
    answer = httpx.post(f"{server}/models/{name}", timeout=60, **sent)
    assert (answer.status_code, answer.json()["error_type"]) == (status, word), answer.text
    assert says in answer.json()["error"]
    assert answer.json()["request_id"] == answer.headers["x-request-id"]
