"""Embeddings and similarities on the wire: what is read, what is answered, long lists in parts."""

import asyncio
import json
from typing import Any

import numpy as np
import pytest

from deployments.codec import MEDIA_TYPE
from deployments.errors import ConfigError, InvalidInputError, PayloadTooLargeError, PipelineGraphError
from deployments.payload import StageTimes, TaskRequest, TaskResult, Tensor, Usage
from deployments.tasks import TASKS
from graph import catalog, dispatch
from graph.accept import negotiate
from graph.config import read_config
from graph.decode import read_call
from graph.dispatch import Dispatcher
from graph.encode import encode
from graph.fields import read_fields
from graph.readiness import Readiness
from graph.resolve import configure, resolve
from graph.similarity import joined, parts

FEATURES, SIMILARITY = TASKS["feature-extraction"], TASKS["sentence-similarity"]
VECTOR, TOKENS = [0.5, 0.25], [[[1.0, 2.0], [3.0, 4.0]]]


def _answer(outputs: list[Any], many: bool, accept: str = "", spec: Any = FEATURES) -> Any:
    return json.loads(encode(spec, outputs, many, {}, negotiate(spec, many, accept)).body)


def test_one_embedding_is_one_row_and_a_list_several() -> None:
    """As of text-embeddings-inference, whose parameters these are."""
    assert _answer([VECTOR], False) == [VECTOR]
    assert _answer([VECTOR, VECTOR], True) == [VECTOR, VECTOR]
    assert _answer(["AAAA"], False) == ["AAAA"]
    assert _answer(["AAAA", "BBBB"], True) == ["AAAA", "BBBB"]
    assert _answer([Tensor(np.array(VECTOR, np.float32), "float32")], False) == [VECTOR]


def test_features_of_tokens_are_as_the_pipeline_gives_them() -> None:
    assert _answer([TOKENS], False) == TOKENS
    assert _answer([TOKENS, TOKENS], True) == [TOKENS, TOKENS]
    assert _answer([Tensor(np.array(TOKENS, np.float32), "float32")], False) == TOKENS


def test_the_pipelines_own_form_has_the_bare_vector() -> None:
    assert _answer([VECTOR], False, MEDIA_TYPE) == VECTOR
    assert _answer([VECTOR, VECTOR], True, MEDIA_TYPE) == [VECTOR, VECTOR]


def test_an_item_that_failed_stands_among_the_rows() -> None:
    first, second = _answer([InvalidInputError("too long"), VECTOR], True)
    assert (first["error"], second) == ("too long", VECTOR)


def test_similarities_are_numbers() -> None:
    assert _answer([[0.5, -0.25]], False, spec=SIMILARITY) == [0.5, -0.25]
    assert _answer([[0.5], [1.0]], True, spec=SIMILARITY) == [[0.5], [1.0]]


def test_parameters_at_the_root_are_read() -> None:
    """Where InferenceClient.feature_extraction puts them."""
    call = read_call(FEATURES, {"inputs": "a", "normalize": True, "truncation_direction": "left"}, 9)
    assert (call.items, call.parameters) == (["a"], {"normalize": True, "truncation_direction": "left"})


def test_sentences_are_read_as_one_input() -> None:
    compared = {"source_sentence": "a", "sentences": ["b", ""]}
    call = read_call(SIMILARITY, {"inputs": compared, "parameters": {}}, 9)
    assert (call.items, call.many, call.parameters) == ([compared], False, {})
    assert read_call(SIMILARITY, {"inputs": [compared, compared]}, 9).many


@pytest.mark.parametrize(
    ("inputs", "field", "says"),
    [
        ("text", "inputs", 'must be an object with "source_sentence" and "sentences", not a string'),
        ({"sentences": ["b"]}, "inputs.source_sentence", "is missing"),
        ({"source_sentence": "a"}, "inputs.sentences", "is missing"),
        ({"source_sentence": "a", "sentences": []}, "inputs.sentences", "a list of at least one string"),
        ({"source_sentence": "a", "sentences": "b"}, "inputs.sentences", "a list of at least one string, not a string"),
        ({"source_sentence": "a", "sentences": ["b", 3]}, r"inputs.sentences[1]", "must be a string, not a number"),
        ({"source_sentence": ["a"], "sentences": ["b"]}, "inputs.source_sentence", "must be a string, not a list"),
        ({"source_sentence": "a", "sentences": ["b"], "first": 1}, "inputs.first", "is unknown"),
    ],
)
def test_what_cannot_be_compared_is_refused(inputs: Any, field: str, says: str) -> None:
    with pytest.raises(InvalidInputError, match=says) as caught:
        read_call(SIMILARITY, {"inputs": inputs}, 9)
    assert caught.value.field == field


def test_the_limit_on_lists_counts_sentences() -> None:
    compared = {"source_sentence": "a", "sentences": ["b"] * 5}
    assert read_call(SIMILARITY, {"inputs": compared}, 5).items == [compared]
    for inputs in (compared, [compared]):
        with pytest.raises(PayloadTooLargeError, match="has 5 items; at most 4") as caught:
            read_call(SIMILARITY, {"inputs": inputs}, 4)
        assert caught.value.field == "inputs.sentences"


def test_long_lists_are_cut_into_parts_that_know_their_place() -> None:
    sentences = [f"{index}" for index in range(600)]
    pieces = parts({"source_sentence": "a", "sentences": sentences})
    assert [piece["first"] for piece in pieces] == [0, 256, 512]
    assert [text for piece in pieces for text in piece["sentences"]] == sentences
    assert {piece["source_sentence"] for piece in pieces} == {"a"}
    for item in ("text", {"source_sentence": "a", "sentences": ["b"] * 256}, {"sentences": ["b"] * 999}, ["b"] * 999):
        assert parts(item) == [item]


def test_answers_to_parts_are_joined_in_order() -> None:
    results = [
        TaskResult([0.1, 0.2], StageTimes(forward_s=0.1), 4, 0.2, usage=Usage(7)),
        TaskResult([0.3], StageTimes(forward_s=0.3), 2, 0.4, "shared", Usage(5)),
    ]
    assert joined(results) == TaskResult([0.1, 0.2, 0.3], StageTimes(forward_s=0.3), 4, 0.4, "shared", Usage(12))


class _Handle:
    """Answers each sentence with its number."""

    def __init__(self) -> None:
        self.requests: list[TaskRequest] = []

    async def remote(self, request: TaskRequest) -> TaskResult:
        self.requests.append(request)
        return TaskResult([float(text) for text in request.inputs["sentences"]])


class _Ready(Readiness):
    def require(self, config: Any) -> None:
        """Always."""


def _dispatcher(monkeypatch: pytest.MonkeyPatch, handle: Any, *models: dict[str, Any]) -> Dispatcher:
    monkeypatch.setattr(dispatch.serve, "get_deployment_handle", lambda name, app: handle)
    config = resolve(read_config({"models": list(models)}))

    async def fetch(item: Any) -> Any:
        return item

    return Dispatcher(config.models, "app", 5.0, _Ready("app"), fetch)


EMBED = {"name": "embed", "task": "feature-extraction", "model": "owner/minilm"}
SIMILAR = {"name": "similar", "task": "sentence-similarity", "model": "owner/mpnet"}


def test_the_dispatcher_sends_parts_behind_single_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    handle = _Handle()
    dispatcher = _dispatcher(monkeypatch, handle, EMBED)
    item = {"source_sentence": "a", "sentences": [f"{index}" for index in range(700)]}
    result = asyncio.run(dispatcher.call(dispatcher.by_name("embed"), item, {"normalize": True}, "id"))
    assert result.output == [float(index) for index in range(700)]
    assert [request.bulk for request in handle.requests] == [True] * 3
    assert {request.request_id for request in handle.requests} == {"id"}


def test_an_error_of_a_part_is_that_of_the_item(monkeypatch: pytest.MonkeyPatch) -> None:
    class Refusing:
        async def remote(self, request: TaskRequest) -> TaskResult:
            raise InvalidInputError("`inputs.sentences[300]` is too long.", "inputs.sentences[300]")

    dispatcher = _dispatcher(monkeypatch, Refusing(), EMBED)
    item = {"source_sentence": "a", "sentences": ["b"] * 300}
    with pytest.raises(PipelineGraphError, match=r"sentences\[300\]"):
        asyncio.run(dispatcher.call(dispatcher.by_name("embed"), item, {}, "id"))


def test_both_tasks_lead_to_either_model(monkeypatch: pytest.MonkeyPatch) -> None:
    both = _dispatcher(monkeypatch, None, SIMILAR, EMBED)
    assert both.by_task("feature-extraction").name == "embed"  # the one configured for it comes first
    assert both.by_task("sentence-similarity").name == "similar"
    assert both.by_task("sentence-similarity", "embed").name == "embed"
    for model in (EMBED, SIMILAR):
        alone = _dispatcher(monkeypatch, None, model)
        for task in ("feature-extraction", "sentence-similarity"):
            assert alone.by_task(task).name == model["name"]
            found = catalog.resolve(alone, task, None)
            assert (found["name"], found["task"]) == (model["name"], task)
        assert set(alone.by_name(str(model["name"])).tasks) == {"feature-extraction", "sentence-similarity"}


def test_defaults_are_checked_where_they_are_configured() -> None:
    configure({"models": [{**EMBED, "parameters": {"pooling": "mean", "normalize": True}}]})
    with pytest.raises(ConfigError) as caught:
        configure({"models": [{**EMBED, "parameters": {"pooling": "maen", "dimensions": "8"}}]})
    assert [mistake.split(":")[0] for mistake in caught.value.mistakes] == [
        "args.models[0].parameters.pooling",
        "args.models[0].parameters.dimensions",
    ]


def test_a_query_or_form_says_the_same() -> None:
    """Where a prompt stays a text, whatever it looks like, and a number or a flag is one."""
    sent = [("inputs", "a"), ("prompt", "true"), ("normalize", "true"), ("dimensions", "8"), ("pooling", "mean")]
    call = read_call(FEATURES, read_fields(FEATURES, sent), 9)
    assert call.parameters == {"prompt": "true", "normalize": True, "dimensions": 8, "pooling": "mean"}
    sent = [("source_sentence", "1"), ("sentences", "2"), ("sentences", "b")]
    call = read_call(SIMILARITY, read_fields(SIMILARITY, sent), 9)
    assert call.items == [{"source_sentence": "1", "sentences": ["2", "b"]}]
