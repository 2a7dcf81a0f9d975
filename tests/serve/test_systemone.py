"""``/v1/systemone``: the answers are the local pipeline's."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.serve.cluster import deploy
from tests.serve.described import validate
from tests.serve.local import local_pipeline
from tests.serve.served import case_of, served
from tests.tiny.compare import difference

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]

CASE = "decision-llama"


@pytest.fixture(scope="module")
def server(url: str, checkpoints: Path) -> str:
    deploy(url, {"models": [served(case_of(CASE), checkpoints, name="decide")]})
    return url


def _post(server: str, path: str, body: Any) -> httpx.Response:
    return httpx.post(f"{server}{path}", json=body, timeout=60)


def test_answers_are_the_local_pipelines(server: str, checkpoints: Path) -> None:
    case = case_of(CASE)
    pipe = local_pipeline(case, checkpoints)
    for request in case.inputs:
        answer = _post(server, "/v1/systemone", {"model": "decide", **request})
        assert answer.status_code == 200, answer.text
        found = answer.json()
        assert difference(found["answers"], pipe(request)) is None
        prompts = pipe.preprocess(request)["prompts"]
        assert found["usage"] == {
            "input_tokens": sum(inputs["input_ids"].shape[-1] for inputs, _ in prompts),
            "output_tokens": 0,
        }
        assert found["model"] == "decide"
        validate(server, "/v1/systemone", found)
        assert _post(server, "/models/decide/v1/systemone", request).json() == found


@pytest.mark.parametrize(
    ("more", "status", "param"),
    [
        ({"model": "nobody"}, 404, "model"),
        ({"questions": {}}, 422, "questions"),
        ({"questions": {"a": {"type": "riddle"}}}, 422, "questions"),
        ({"assets": {"x": {"data_base64": "/etc/passwd"}}}, 422, "assets.x.data_base64"),
        ({"mood": 1}, 422, "mood"),
    ],
)
def test_refusals(server: str, more: dict[str, Any], status: int, param: str) -> None:
    body = {"state": "a", "questions": {"a": {"type": "noul", "instructions": "Is it?"}}, "model": "decide", **more}
    answer = _post(server, "/v1/systemone", body)
    assert answer.status_code == status, answer.text
    assert answer.json()["error"]["param"] == param
