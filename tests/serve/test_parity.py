"""Promise 1: what is served equals what the local ``pipeline()`` gives, for every task.

For each tiny model: three inputs and one changed parameter, over HTTP and over the handle, alone and as a list,
compared with the local pipeline in this process: structure, types, strings and integers exactly, floats within
rtol 1e-5 + atol 1e-6. Over HTTP twice: the Python client, and the plain JSON that any HTTP client sends.
"""

import base64
import io
import json
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import numpy as np
import pytest
import soundfile
from PIL import Image

import graph
from deployments.codec import MEDIA_TYPE, from_json
from deployments.tensors import unpack_tensors
from tests.serve.cluster import deploy
from tests.serve.local import local_pipeline, sampling_rate
from tests.serve.parity_cases import GROUPS
from tests.serve.served import served
from tests.tiny import Case
from tests.tiny.compare import difference

pytestmark = [pytest.mark.ray, pytest.mark.pipelines, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def group(request: pytest.FixtureRequest, url: str, checkpoints: Path) -> str:
    """The server with the models of one group deployed."""
    deploy(url, {"models": [served(case, checkpoints) for case in GROUPS[request.param]]})
    return url


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every test for every case, group by group."""
    pairs = [(index, case) for index, cases in enumerate(GROUPS) for case in cases]
    ids = [case.id for _, case in pairs]
    metafunc.parametrize(("group", "case"), pairs, ids=ids, indirect=["group"], scope="module")


@cache
def expected(case: Case, checkpoints: Path, index: int, changed: int) -> Any:
    """What the local pipeline says to an input, with either parameters; asked once, as it repeats itself exactly."""
    return local_pipeline(case, checkpoints)(case.inputs[index], **settings(case)[changed])


def settings(case: Case) -> list[dict[str, Any]]:
    """The parameters of every call, and those with the one changed."""
    return [case.always, {**case.always, **case.parameters}]


@pytest.mark.parametrize("changed", [0, 1], ids=["default", "changed"])
def test_the_handle_answers_as_the_local_pipeline(group: str, case: Case, changed: int, checkpoints: Path) -> None:
    parameters = settings(case)[changed]
    remote = graph.pipeline(model=case.id)
    for index, given in enumerate(case.inputs):
        assert difference(expected(case, checkpoints, index, changed), remote(given, **parameters)) is None


@pytest.mark.parametrize("changed", [0, 1], ids=["default", "changed"])
def test_http_answers_as_the_local_pipeline(group: str, case: Case, changed: int, checkpoints: Path) -> None:
    parameters = settings(case)[changed]
    remote = graph.pipeline(model=case.id, url=group)
    for index, given in enumerate(case.inputs):
        assert difference(expected(case, checkpoints, index, changed), remote(given, **parameters)) is None


def test_plain_json_answers_as_the_local_pipeline(group: str, case: Case, checkpoints: Path) -> None:
    for index, given in enumerate(case.inputs):
        body = json.dumps(
            {"inputs": jsonable(case, checkpoints, given), "parameters": jsonable(case, checkpoints, case.always)}
        )
        answer = httpx.post(f"{group}/models/{case.id}", content=body, headers={"accept": MEDIA_TYPE}, timeout=60)
        assert answer.status_code == 200, answer.text
        got = unpack_tensors(from_json(answer.json()))
        assert difference(expected(case, checkpoints, index, 0), got) is None


def test_the_task_route_and_the_wire_format_answer(group: str, case: Case, checkpoints: Path) -> None:
    body = json.dumps(
        {"inputs": jsonable(case, checkpoints, case.inputs[0]), "parameters": jsonable(case, checkpoints, case.always)}
    )
    answer = httpx.post(f"{group}/tasks/{case.task}?model={case.id}", content=body, timeout=60)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] in ("application/json", "audio/wav", "image/png")
    assert answer.content
    assert {f"x-{stage}-ms" for stage in ("decode", "queue", "preprocess", "forward", "postprocess", "total")} | {
        "x-request-id",
        "x-batch-size",
        "x-padding-waste",
        "x-cache",
    } <= set(answer.headers)


def test_the_answers_and_requests_are_what_the_schema_says(group: str, case: Case, checkpoints: Path) -> None:
    document = httpx.get(f"{group}/openapi.json", timeout=60).json()
    call = document["paths"][f"/models/{case.id}"]["post"]
    inputs = [jsonable(case, checkpoints, given) for given in case.inputs]
    for parameters in settings(case):
        for given in (*inputs, inputs[:2]):
            root = {"inputs": given, "parameters": jsonable(case, checkpoints, parameters)}
            conforms(document, call["requestBody"]["content"]["application/json"], root)
            answer = httpx.post(
                f"{group}/models/{case.id}", json=root, headers={"accept": "application/json"}, timeout=60
            )
            assert answer.status_code == 200, answer.text
            conforms(document, call["responses"]["200"]["content"]["application/json"], answer.json())
    raw = httpx.post(f"{group}/models/{case.id}", json=root, headers={"accept": MEDIA_TYPE}, timeout=60)
    conforms(document, call["responses"]["200"]["content"][MEDIA_TYPE], raw.json())


def conforms(document: dict[str, Any], content: dict[str, Any], body: Any) -> None:
    """Fails where ``body`` is not what the document's ``content`` says."""
    schema = {**content["schema"], "components": document["components"]}
    jsonschema.Draft202012Validator(schema).validate(body)


def test_requests_in_company_answer_as_alone(group: str, case: Case, checkpoints: Path) -> None:
    """Twelve callers at once, with both parameter sets: batches form, and nobody gets another's answer."""
    remote = graph.pipeline(model=case.id, url=group)
    calls = [(index, changed) for changed in (0, 1) for index in (0, 1, 2)] * 2
    with ThreadPoolExecutor(len(calls)) as callers:
        answers = list(callers.map(lambda call: remote(case.inputs[call[0]], **settings(case)[call[1]]), calls))
    for call, answer in zip(calls, answers, strict=True):
        assert difference(expected(case, checkpoints, *call), answer) is None


def test_parameters_do_not_stay(group: str, case: Case, checkpoints: Path) -> None:
    remote = graph.pipeline(model=case.id)
    remote(case.inputs[0], **settings(case)[1])
    assert difference(expected(case, checkpoints, 0, 0), remote(case.inputs[0], **case.always)) is None


def test_an_unknown_parameter_is_refused_by_name(group: str, case: Case, checkpoints: Path) -> None:
    body = json.dumps(
        {"inputs": jsonable(case, checkpoints, case.inputs[0]), "parameters": {**case.always, "topp_kk": 1}}
    )
    answer = httpx.post(f"{group}/models/{case.id}", content=body, timeout=60)
    assert answer.status_code == 422
    assert answer.json()["error_type"] == "invalid_parameter"
    assert "topp_kk" in answer.json()["error"]


def jsonable(case: Case, checkpoints: Path, value: Any) -> Any:
    """``value`` as a caller without Python would send it: media as base64 files."""
    if isinstance(value, Image.Image):
        return encoded(lambda file: value.save(file, "PNG"))
    if isinstance(value, dict) and "sampling_rate" in value:
        samples = value.get("raw", value.get("array"))
        return encoded(lambda file: soundfile.write(file, samples, value["sampling_rate"], "FLOAT", format="WAV"))
    if isinstance(value, np.ndarray):
        rate = sampling_rate(case, checkpoints)
        return encoded(lambda file: soundfile.write(file, value, rate, "FLOAT", format="WAV"))
    if case.task == "video-classification" and isinstance(value, str):
        return base64.b64encode(Path(value).read_bytes()).decode()
    if isinstance(value, dict):
        return {key: jsonable(case, checkpoints, part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(case, checkpoints, part) for part in value]
    return value


def encoded(write: Any) -> str:
    buffer = io.BytesIO()
    write(buffer)
    return base64.b64encode(buffer.getvalue()).decode()
