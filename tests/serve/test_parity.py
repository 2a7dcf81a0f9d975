"""Promise 1: what is served equals what the local ``pipeline()`` gives, for every task.

For each tiny model: three inputs and one changed parameter, over HTTP and over the handle, alone and as a list,
compared with the local pipeline in this process: structure, types, strings and integers exactly, floats within
rtol 1e-5 + atol 1e-6. Over HTTP twice: the Python client, and the plain JSON that any HTTP client sends.
"""

import base64
import io
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
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
from tests.tiny import Case, checkpoint
from tests.tiny.compare import difference

pytestmark = [pytest.mark.ray, pytest.mark.pipelines, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def group(request: pytest.FixtureRequest, url: str, checkpoints: Path) -> str:
    """The server with the models of one group deployed."""
    models = [
        {
            "name": case.id,
            "task": case.task,
            "model": str(checkpoint(case, checkpoints)),
            "init": case.init,
            "resources": {"num_cpus": 0.5},
        }
        for case in GROUPS[request.param]
    ]
    deploy(url, {"models": models})
    return url


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every test for every case, group by group."""
    pairs = [(index, case) for index, cases in enumerate(GROUPS) for case in cases]
    ids = [case.id for _, case in pairs]
    metafunc.parametrize(("group", "case"), pairs, ids=ids, indirect=["group"], scope="module")


def expected(case: Case, checkpoints: Path, given: Any, parameters: dict[str, Any]) -> Any:
    """What the local pipeline says."""
    return local_pipeline(case, checkpoints)(given, **parameters)


def settings(case: Case) -> list[dict[str, Any]]:
    """The parameters of every call, and those with the one changed."""
    return [case.always, {**case.always, **case.parameters}]


@pytest.mark.parametrize("changed", [0, 1], ids=["default", "changed"])
def test_the_handle_answers_as_the_local_pipeline(group: str, case: Case, changed: int, checkpoints: Path) -> None:
    parameters = settings(case)[changed]
    served = graph.pipeline(model=case.id)
    for given, again in zip(case.inputs, case.inputs, strict=True):
        assert difference(expected(case, checkpoints, given, parameters), served(again, **parameters)) is None


@pytest.mark.parametrize("changed", [0, 1], ids=["default", "changed"])
def test_http_answers_as_the_local_pipeline(group: str, case: Case, changed: int, checkpoints: Path) -> None:
    parameters = settings(case)[changed]
    served = graph.pipeline(model=case.id, url=group)
    for given, again in zip(case.inputs, case.inputs, strict=True):
        assert difference(expected(case, checkpoints, given, parameters), served(again, **parameters)) is None


def test_plain_json_answers_as_the_local_pipeline(group: str, case: Case, checkpoints: Path) -> None:
    for given, again in zip(case.inputs, case.inputs, strict=True):
        body = json.dumps(
            {"inputs": jsonable(case, checkpoints, again), "parameters": jsonable(case, checkpoints, case.always)}
        )
        answer = httpx.post(f"{group}/models/{case.id}", content=body, headers={"accept": MEDIA_TYPE}, timeout=60)
        assert answer.status_code == 200, answer.text
        got = unpack_tensors(from_json(answer.json()))
        assert difference(expected(case, checkpoints, given, case.always), got) is None


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


def test_requests_in_company_answer_as_alone(group: str, case: Case, checkpoints: Path) -> None:
    """Twelve callers at once, with both parameter sets: batches form, and nobody gets another's answer."""
    served = graph.pipeline(model=case.id, url=group)
    calls = [(index, parameters) for parameters in settings(case) for index in (0, 1, 2)] * 2
    with ThreadPoolExecutor(len(calls)) as callers:
        answers = list(callers.map(lambda call: served(case.inputs[call[0]], **call[1]), calls))
    for (index, parameters), answer in zip(calls, answers, strict=True):
        assert difference(expected(case, checkpoints, case.inputs[index], parameters), answer) is None


def test_parameters_do_not_stay(group: str, case: Case, checkpoints: Path) -> None:
    served = graph.pipeline(model=case.id)
    served(case.inputs[0], **settings(case)[1])
    want = expected(case, checkpoints, case.inputs[0], case.always)
    assert difference(want, served(case.inputs[0], **case.always)) is None


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
