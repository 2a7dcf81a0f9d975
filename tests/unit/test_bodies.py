"""Typed and hostile bodies up to the merged parameters: refused as the caller's fault, in words that travel."""

import json
from typing import Any

import numpy as np
import pytest

from deployments.codec import MEDIA_TYPE, to_json
from deployments.errors import MalformedRequestError, PipelineGraphError, RequestError
from deployments.parameters import accepted_names, merge_parameters
from deployments.payload import Media
from deployments.tasks import TASKS
from graph.decode import read_body, read_call
from graph.status import describe


def _serve(task: str, body: bytes, content_type: str) -> None:
    """What the server does with a body before a model sees it."""
    spec = TASKS[task]
    call = read_call(spec, read_body(body, content_type), 100)
    merge_parameters(spec, accepted_names(spec), {}, call.parameters)


def _refused(task: str, body: bytes, content_type: str) -> RequestError | None:
    try:
        _serve(task, body, content_type)
    except RequestError as error:
        return error
    return None


ARRAY = np.arange(3)


@pytest.mark.parametrize(
    "root",
    [
        ARRAY,
        {"inputs": "a", "parameters": ARRAY},
        {"inputs": "a", "parameters": {1: 2}},
        {"inputs": "a", "parameters": {"top_k": {(1, 2): 3}}},
        {"inputs": "a", 5: 1},
        {"inputs": "a", "parameters": {"candidate_labels": ARRAY}},
        {"inputs": ARRAY},
        {"inputs": {"a": ARRAY}},
        {"inputs": {1: "a"}},
        {"inputs": (ARRAY, ARRAY)},
        {"inputs": [ARRAY]},
        {"inputs": Media(b"x", "video")},
        {"inputs": [{"role": "user", "content": ARRAY}]},
        {"inputs": [{"role": "user", "content": [{"type": "image", "image": ARRAY}]}]},
    ],
    ids=repr,
)
def test_typed_value_anywhere_is_taken_or_the_callers_fault(root: Any) -> None:
    body, wrong = json.dumps(to_json(root)).encode(), {}
    for task in TASKS:
        try:
            _serve(task, body, MEDIA_TYPE)
        except RequestError:
            pass
        except Exception as error:
            wrong[task] = repr(error)
    assert wrong == {}


def test_parameters_must_be_an_object_in_a_typed_body_too() -> None:
    body = json.dumps(to_json({"inputs": "a", "parameters": ARRAY})).encode()
    error = _refused("text-classification", body, MEDIA_TYPE)
    assert error is not None
    assert error.field == "parameters"


@pytest.mark.parametrize("half", ["\\ud800", "x\\uDFFFy", "\\ude00\\ud83d"])
@pytest.mark.parametrize("root", ['{"inputs": "%s"}', '{"inputs": {"%s": 1}}', '{"inputs": ["a", "%s"]}', '{"%s": 1}'])
def test_half_a_character_is_malformed(half: str, root: str) -> None:
    """Tokenizers and answers alike could not write it as UTF-8."""
    with pytest.raises(MalformedRequestError):
        read_body((root % half).encode(), "application/json")


def test_whole_character_in_two_halves_is_one() -> None:
    assert read_body(b'{"inputs": "\\ud83d\\ude00"}', "application/json") == {"inputs": "😀"}


@pytest.mark.parametrize("body", ['{"inputs": "a", "parameters": {"\\ud800": 1}}', '{"inputs": {"\\ud800": 1}}'])
def test_refusal_can_be_sent_whatever_it_quotes(body: str) -> None:
    error: PipelineGraphError | None = _refused("text-classification", body.encode(), "application/json")
    assert error is not None
    json.dumps(describe(error, "id")[1], ensure_ascii=False).encode()


@pytest.mark.parametrize("depth", [100, 300, 400, 500, 900, 10_000])
@pytest.mark.parametrize("shape", [("[", "]"), ('{"a":', "}"), ('{"$type":"tuple","items":[', "]}")])
@pytest.mark.parametrize("content_type", ["application/json", MEDIA_TYPE])
@pytest.mark.parametrize("task", ["text-classification", "decision"])
def test_body_of_any_depth_is_taken_or_the_callers_fault(
    task: str, content_type: str, shape: tuple[str, str], depth: int
) -> None:
    body = '{"inputs":' + shape[0] * depth + "1" + shape[1] * depth + "}"
    error = _refused(task, body.encode(), content_type)
    assert error is not None or task != "text-classification"
