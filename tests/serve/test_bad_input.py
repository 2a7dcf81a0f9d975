"""What a caller gets for a request that cannot be served: the status of the table, and a sentence to act on."""

import base64
import io
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from tests.serve.cluster import deploy
from tests.serve.served import case_of, served

pytestmark = [pytest.mark.ray, pytest.mark.pipelines, pytest.mark.timeout(300)]

_SERVED = {
    "classify": "text-classification-bert",
    "photo": "image-classification-vit",
    "speech": "asr-wav2vec2",
    "labels": "zero-shot-classification-bert",
    "fill": "fill-mask-bert",
    "pairs": "keypoint-matching-superglue",
}


@pytest.fixture(scope="module")
def server(url: str, checkpoints: Path) -> str:
    models = [served(case_of(case), checkpoints, name=name) for name, case in _SERVED.items()]
    limits = {"max_body_bytes": 200_000, "max_list_items": 10}
    deploy(url, {"models": models, "limits": limits, "media": {"max_image_pixels": 10_000, "max_audio_s": 5}})
    return url


def image(width: int, height: int) -> str:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height)).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


GARBAGE = base64.b64encode(b"neither a picture nor a sound").decode()

CASES_OF_ERROR = [
    # path, body, status, error_type, what the message must name
    ("/models/nobody", {"inputs": "x"}, 404, "unknown_model", "classify"),
    ("/tasks/fill-masc", {"inputs": "x"}, 404, "unknown_model", "fill-mask"),
    ("/tasks/summarization", {"inputs": "x"}, 404, "unknown_model", "text-classification"),
    ("/tasks/fill-mask?model=nobody", {"inputs": "x"}, 404, "unknown_model", "fill"),
    ("/nowhere", {"inputs": "x"}, 404, "not_found", "/nowhere"),
    ("/models/classify", "{", 400, "malformed_request", "JSON"),
    ("/models/classify", "[1]", 400, "malformed_request", "object"),
    ("/models/classify", '{"inputs": NaN}', 400, "malformed_request", "NaN"),
    ("/models/classify", "[" * 100_000, 400, "malformed_request", "nested"),
    ("/models/classify", {}, 422, "invalid_input", "inputs"),
    ("/models/classify", {"inputs": 5}, 422, "invalid_input", "inputs"),
    ("/models/classify", {"inputs": []}, 422, "invalid_input", "inputs"),
    ("/models/classify", {"inputs": ["x", 5]}, 422, "invalid_input", "inputs[1]"),
    ("/models/classify", {"inputs": "x", "parameters": []}, 422, "invalid_parameter", "parameters"),
    ("/models/classify", {"inputs": "x", "parameters": {"topk": 1}}, 422, "invalid_parameter", "top_k"),
    ("/models/classify", {"inputs": "x", "parameters": {"function_to_apply": "no"}}, 422, "invalid_parameter", ""),
    ("/models/classify", {"inputs": "word " * 2000}, 422, "invalid_input", "tokens"),
    ("/models/classify", {"inputs": ["x"] * 11}, 413, "payload_too_large", "10"),
    ("/models/classify", {"inputs": "x" * 300_000}, 413, "payload_too_large", "200000"),
    ("/models/labels", {"inputs": "x"}, 422, "invalid_parameter", "candidate_labels"),
    ("/models/labels", {"inputs": "x", "parameters": {"candidate_labels": []}}, 422, "invalid_parameter", "label"),
    ("/models/labels", {"inputs": " ", "parameters": {"candidate_labels": ["a"]}}, 422, "invalid_input", "empty"),
    ("/models/fill", {"inputs": "no mask here"}, 422, "invalid_input", "mask"),
    ("/models/photo", {"inputs": GARBAGE}, 422, "invalid_input", "inputs"),
    ("/models/photo", {"inputs": "/etc/passwd"}, 422, "invalid_input", "base64"),
    ("/models/photo", {"inputs": "file:///etc/passwd"}, 422, "invalid_input", "base64"),
    ("/models/photo", {"inputs": "http://127.0.0.1:1/x.png"}, 422, "invalid_input", "cannot be fetched"),
    ("/models/photo", {"inputs": image(200, 100)}, 413, "payload_too_large", "20000"),
    ("/models/speech", {"inputs": GARBAGE}, 422, "invalid_input", "inputs"),
    ("/models/speech", {"inputs": image(9, 9)}, 422, "invalid_input", "inputs"),
    ("/models/pairs", {"inputs": [image(9, 9)]}, 422, "invalid_input", "two images"),
    ("/models/speech", {"inputs": "x", "parameters": {"trust_remote_code": True}}, 422, "invalid_input", "inputs"),
]


@pytest.mark.parametrize(("path", "body", "status", "word", "names"), CASES_OF_ERROR)
def test_a_bad_request_is_refused_with_a_sentence(
    server: str, path: str, body: Any, status: int, word: str, names: str
) -> None:
    content = body if isinstance(body, str) else json.dumps(body)
    answer = httpx.post(server + path, content=content, timeout=60)
    assert (answer.status_code, answer.json()["error_type"]) == (status, word), answer.text
    assert names in answer.json()["error"]
    assert answer.json()["request_id"] == answer.headers["x-request-id"]
    assert "Traceback" not in answer.text
    assert "site-packages" not in answer.text


def test_a_body_of_another_kind_is_refused(server: str) -> None:
    answer = httpx.post(f"{server}/models/photo", content=b"<a/>", headers={"content-type": "text/xml"}, timeout=60)
    assert (answer.status_code, answer.json()["error_type"]) == (415, "unsupported_media")


def test_the_wrong_method_is_refused_in_the_one_shape(server: str) -> None:
    answer = httpx.delete(f"{server}/models/photo", timeout=60)
    assert (answer.status_code, answer.json()["error_type"]) == (405, "method_not_allowed")


@pytest.mark.parametrize("name", ["custom_generate", "trust_remote_code", "assistant_model", "generation_config"])
def test_no_caller_brings_code_or_models(server: str, name: str) -> None:
    sound = base64.b64encode(b"RIFF").decode()
    for parameters in ({name: "x/y"}, {"generate_kwargs": {name: "x/y"}}):
        body = json.dumps({"inputs": sound, "parameters": parameters})
        answer = httpx.post(f"{server}/models/speech", content=body, timeout=60)
        assert (answer.status_code, answer.json()["error_type"]) == (422, "invalid_parameter")


def test_the_request_id_of_the_caller_is_kept(server: str) -> None:
    headers = {"x-request-id": "mine-42"}
    answer = httpx.post(f"{server}/models/classify", content='{"inputs": "hello"}', headers=headers, timeout=60)
    assert answer.headers.get_list("x-request-id") == ["mine-42"]


def test_one_bad_input_fails_alone(server: str) -> None:
    """Good and bad requests at once: each gets its own answer."""
    with httpx.Client(base_url=server, timeout=60) as client:
        from concurrent.futures import ThreadPoolExecutor

        texts = ["fine", "word " * 2000, "also fine", "word " * 3000] * 4
        with ThreadPoolExecutor(len(texts)) as callers:
            answers = list(callers.map(lambda text: client.post("/models/classify", json={"inputs": text}), texts))
    assert [answer.status_code for answer in answers] == [200, 422, 200, 422] * 4
