"""The OpenAPI document: valid, tight, of every route, and true of requests and examples."""

import copy
import json
from typing import Any

import jsonschema
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from starlette.applications import Starlette
from starlette.routing import Match, Route

from deployments import errors
from deployments.codec import to_json
from deployments.errors import InvalidInputError, RequestError
from deployments.payload import Media, Tensor
from deployments.tasks import TASKS
from graph.accept import answer_types
from graph.config import GraphConfig
from graph.decode import read_call
from graph.openapi import document
from graph.openapi.answers import ANSWERS
from graph.openapi.errors import RESPONSES
from graph.openapi.examples import example_request
from graph.openapi.requests import title
from graph.router import Router
from graph.status import STATUS, describe, status_of

GRAPH = GraphConfig.model_validate(
    {
        "models": [
            *({"name": f"my-{task}", "task": task} for task in TASKS),
            {"name": "second", "task": "fill-mask", "model": "some/model", "parameters": {"top_k": 2}},
        ]
    }
)
DOCUMENT = document(GRAPH)


def validator(schema: Any) -> jsonschema.Draft202012Validator:
    """Of a schema that may refer to the document's components."""
    return jsonschema.Draft202012Validator({**schema, "components": DOCUMENT["components"]})


def component(name: str) -> jsonschema.Draft202012Validator:
    return validator({"$ref": f"#/components/schemas/{name}"})


def test_document_is_valid_openapi_3_1() -> None:
    assert DOCUMENT["openapi"].startswith("3.1.")
    assert [error.message for error in OpenAPIV31SpecValidator(DOCUMENT).iter_errors()] == []
    json.dumps(DOCUMENT, allow_nan=False)


def test_every_component_is_a_valid_schema_and_used() -> None:
    text = json.dumps(DOCUMENT)
    for name, schema in DOCUMENT["components"]["schemas"].items():
        jsonschema.Draft202012Validator.check_schema(schema)
        assert f'"#/components/schemas/{name}"' in text, name
    assert set(DOCUMENT["components"]["responses"]) == set(RESPONSES) - {"Error401"}  # there are no keys
    for name in DOCUMENT["components"]["responses"]:
        assert f'"#/components/responses/{name}"' in text, name


def _routes() -> list[Route]:
    router = Router.func_or_class.__bases__[0]  # without what Serve wraps around it
    app: Starlette = router.__serve_build_asgi_app__(object.__new__(router))
    return [route for route in app.routes if isinstance(route, Route)]


def _serves(route: Route, path: str, method: str) -> bool:
    match, _ = route.matches({"type": "http", "path": path, "method": method.upper(), "root_path": ""})
    return match is Match.FULL


def test_every_route_is_in_the_document_and_nothing_else() -> None:
    described = [(path, method) for path, item in DOCUMENT["paths"].items() for method in item]
    routes = _routes()
    for path, method in described:
        assert any(_serves(route, path, method) for route in routes), (method, path)
    for route in routes:
        methods = {method for path, method in described if _serves(route, path, method)}
        assert methods == {method.lower() for method in route.methods or ()} - {"head"}, route.path


def test_every_model_and_every_served_task_has_its_paths() -> None:
    paths = set(DOCUMENT["paths"])
    names = [str(model.name) for model in GRAPH.models]
    assert {path for path in paths if path.startswith("/models/") and "/v1/" not in path} == {
        f"/models/{name}{rest}" for name in names for rest in ("", "/info", "/health")
    }
    assert {path for path in paths if path.startswith("/tasks/")} == {f"/tasks/{task}" for task in TASKS}
    identities = [operation["operationId"] for item in DOCUMENT["paths"].values() for operation in item.values()]
    assert len(identities) == len(set(identities))


def test_only_what_is_served_is_described() -> None:
    small = document(GraphConfig.model_validate({"models": [{"name": "a", "task": "fill-mask"}]}))
    assert {path for path in small["paths"] if path.startswith("/tasks/")} == {"/tasks/fill-mask"}
    assert "SummarizationRequest" not in small["components"]["schemas"]


@pytest.mark.parametrize("task", sorted(TASKS))
def test_example_of_a_request_is_one_and_the_server_reads_it(task: str) -> None:
    example = example_request(TASKS[task])
    if example is None:
        assert task == "video-classification"
        return
    component(f"{title(TASKS[task])}Request").validate(example)
    call = read_call(TASKS[task], copy.deepcopy(example), 10)
    assert (len(call.items), call.many) == (1, False)


@pytest.mark.parametrize("task", sorted(TASKS))
def test_example_of_an_answer_is_one_alone_and_in_a_list_with_a_failure(task: str) -> None:
    answer, example = component(f"{title(TASKS[task])}Answer"), ANSWERS[task].example
    failure = {"error": "It failed.", "error_type": "invalid_input", "field": "inputs[1]"}
    answer.validate(example)
    answer.validate([*example, failure] if task == "text-classification" else [example, failure])
    assert not answer.is_valid([{**failure, "extra": 1}])


@pytest.mark.parametrize("task", sorted(set(TASKS) - {"fake"}))
def test_a_changed_answer_is_refused(task: str) -> None:
    answer = component(f"{title(TASKS[task])}Answer")
    for changed in [*mutations(ANSWERS[task].example), None, 1]:
        assert not answer.is_valid(changed), changed


# keys that an answer may lack, and one that a question has as its name
_OPTIONAL = {"aggregator", "chunks", "timestamp", "content-type", "open"}


def mutations(value: Any) -> list[Any]:
    """``value`` with, at each place in turn, a key too many, a key too few, or a value of another type."""
    if isinstance(value, dict):
        grown = [] if "open" in value else [{**value, "unheard_of": 1}]
        needed = [] if {*value} == {"score", "answer"} else [key for key in value if key not in _OPTIONAL]
        shrunk = [{name: part for name, part in value.items() if name != key} for key in needed]
        return grown + shrunk + [{**value, key: new} for key in value for new in mutations(value[key])]
    if isinstance(value, list):
        return [[changed, *value[1:]] for changed in mutations(value[0])]
    return [{"not": "this"}, [[["nor", "this"]]]]


def test_an_embedding_model_is_described_with_both_of_its_tasks() -> None:
    small = document(GraphConfig.model_validate({"models": [{"name": "a", "task": "feature-extraction"}]}))
    assert {path for path in small["paths"] if path.startswith("/tasks/")} == {
        "/tasks/feature-extraction",
        "/tasks/sentence-similarity",
    }
    call = small["paths"]["/models/a"]["post"]
    body = jsonschema.Draft202012Validator(
        {**call["requestBody"]["content"]["application/json"]["schema"], "components": small["components"]}
    )
    answer = jsonschema.Draft202012Validator(
        {**call["responses"]["200"]["content"]["application/json"]["schema"], "components": small["components"]}
    )
    for inputs in ("a", ["a", "b"], {"source_sentence": "a", "sentences": ["b"]}):
        body.validate({"inputs": inputs, "parameters": {"pooling": "mean"}})
    assert not body.is_valid({"inputs": {"sentences": ["b"]}})
    for value in ([[[0.1]]], [[0.1, 0.2]], ["AAAA"], [0.5, -1.0], [{"error": "x", "error_type": "y"}, [0.1]]):
        answer.validate(value)


@pytest.mark.parametrize(
    ("task", "root"),
    [
        ("visual-question-answering", {"inputs": "aGVsbG8=", "question": "What?", "image": "aGVsbG8="}),
        ("visual-question-answering", {"inputs": "aGVsbG8=", "question": "What?"}),
        ("visual-question-answering", {"question": "What?", "image": "data:image/png;base64,aGVsbG8="}),
        ("question-answering", {"inputs": {"question": "Who?", "context": "Me."}}),
        ("question-answering", {"inputs": [{"question": "Who?", "context": "Me."}] * 2}),
        ("text-classification", {"inputs": "a"}),
        ("feature-extraction", {"inputs": ["a", ""], "parameters": {"normalize": True, "dimensions": 3}}),
        ("sentence-similarity", {"inputs": {"source_sentence": "a", "sentences": ["b"]}, "parameters": {}}),
        ("sentence-similarity", {"inputs": [{"source_sentence": "a", "sentences": ["b"]}]}),
        ("text-classification", {"inputs": ["a", {"text": "b", "text_pair": "c"}]}),
        ("text-generation", {"inputs": [{"role": "user", "content": "Hello."}], "parameters": {"top_p": 0.5}}),
        ("zero-shot-classification", {"inputs": "a", "parameters": {"candidate_labels": "a, b"}}),
        ("keypoint-matching", {"inputs": ["aGVsbG8=", "https://example.org/a.png"]}),
        ("table-question-answering", {"inputs": {"table": {"a": ["1"]}, "query": ["one?", "two?"]}}),
        (
            "image-text-to-text",
            {"inputs": [{"role": "user", "content": [{"type": "image", "image": "aGVsbG8="}]}]},
        ),
    ],
)
def test_request_that_the_server_reads_is_described(task: str, root: dict[str, Any]) -> None:
    component(f"{title(TASKS[task])}Request").validate(root)
    read_call(TASKS[task], copy.deepcopy(root), 10)


@pytest.mark.parametrize(
    ("task", "root"),
    [
        ("text-generation", {}),
        ("text-generation", {"inputs": ""}),
        ("text-generation", {"inputs": []}),
        ("text-generation", {"inputs": 5}),
        ("visual-question-answering", {"inputs": "aGVsbG8="}),
        ("visual-question-answering", {"inputs": {"image": "aGVsbG8="}}),
        ("image-classification", {"inputs": "no base64!"}),
        ("keypoint-matching", {"inputs": ["aGVsbG8="]}),
        ("table-question-answering", {"inputs": {"table": {}, "query": "one?"}}),
        ("decision", {"inputs": {}}),
        ("sentence-similarity", {"inputs": "a"}),
        ("sentence-similarity", {"inputs": {"source_sentence": "a", "sentences": []}}),
    ],
)
def test_request_that_the_server_refuses_is_not_described(task: str, root: dict[str, Any]) -> None:
    assert not component(f"{title(TASKS[task])}Request").is_valid(root)
    with pytest.raises(InvalidInputError):
        read_call(TASKS[task], root, 10)


def test_required_labels_are_required_unless_a_model_has_them_by_default() -> None:
    def with_defaults(parameters: dict[str, Any]) -> Any:
        model = {"name": "a", "task": "zero-shot-classification", "parameters": parameters}
        found = document(GraphConfig.model_validate({"models": [model]}))["components"]["schemas"]
        return found["ZeroShotClassificationRequest"]["required"]

    assert with_defaults({}) == ["inputs", "parameters"]
    assert with_defaults({"candidate_labels": ["a"]}) == ["inputs"]


@pytest.mark.parametrize("kind", sorted(STATUS, key=lambda kind: kind.__name__))
def test_error_body_is_the_described_one(kind: type[Any]) -> None:
    status, body, headers = describe(kind("It failed."), "id")
    if kind.__name__ in ("ConfigError", "ModelLoadError", "PipelineGraphError", "RequestError"):
        return  # never an answer
    found = RESPONSES[f"Error{status}"]
    validator(found["content"]["application/json"]["schema"]).validate(body)
    validator(found["content"]["application/json"]["schema"]).validate(found["content"]["application/json"]["example"])
    described = {name for name, header in found["headers"].items() if header["required"]}
    assert described - {"x-request-id"} == set(headers)
    if issubclass(kind, RequestError):
        _, body, _ = describe(kind("It failed.", "inputs"), "id")
        validator(found["content"]["application/json"]["schema"]).validate(body)
    assert not validator(found["content"]["application/json"]["schema"]).is_valid({**body, "error_type": "other"})


# while the server starts, or before any route and only where there are keys
_ELSEWHERE = (errors.ConfigError, errors.ModelLoadError, errors.AuthenticationError)


@pytest.mark.parametrize("task", sorted(TASKS))
def test_call_has_the_statuses_that_it_may_end_with(task: str) -> None:
    by_model = DOCUMENT["paths"][f"/models/my-{task}"]["post"]["responses"]
    by_task = DOCUMENT["paths"][f"/tasks/{task}"]["post"]["responses"]
    served = {str(status_of(kind("x"))[0]) for kind in STATUS if kind not in _ELSEWHERE}
    assert set(by_task) == served | {"200"}
    assert set(by_task) - set(by_model) == {"404"}
    streamed = {"text/event-stream"} if TASKS[task].streams else set()
    assert set(by_model["200"]["content"]) == set(answer_types(TASKS[task])) | streamed


@pytest.mark.parametrize(
    "value",
    [
        {"a": [1, (2.5, None)], "b": float("nan")},
        Tensor(__import__("numpy").zeros((2, 2)), "bfloat16"),
        Media(b"x", "audio"),
        {1: b"bytes", "$type": "own"},
    ],
)
def test_raw_values_are_described(value: Any) -> None:
    component("PipelineValue").validate(to_json(value))
    assert not component("PipelineValue").is_valid({"$type": "pickle", "data": "AA=="})
