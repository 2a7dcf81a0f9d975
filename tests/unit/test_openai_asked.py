"""Which model a request to an OpenAI route means, how models are listed, and errors as OpenAI's clients read them."""

import asyncio
import json
from types import SimpleNamespace
from typing import Any

import pytest

from deployments import errors
from deployments.config import ModelConfig
from deployments.errors import InvalidInputError, InvalidParameterError, UnknownModelError
from deployments.tasks import TASKS
from graph.dispatch import Dispatcher, Target
from graph.openai import models
from graph.openai.asked import Asked
from graph.openai.errors import openai_error
from graph.status import STATUS

CHAT = ("text-generation", "image-text-to-text")


def _asked(name: str | None = None, *, path: dict[str, str] | None = None, **tasks: str) -> Asked:
    dispatcher: Any = object.__new__(Dispatcher)
    dispatcher.targets = {
        model: Target(ModelConfig(name=model, task=task, model=f"org/{model}-1b"), TASKS[task], None)
        for model, task in tasks.items()
    }
    request: Any = SimpleNamespace(path_params=path or {}, state=SimpleNamespace())
    return Asked(request, None, dispatcher, name)  # type: ignore[arg-type]


TWO = {"write": "text-generation", "see": "image-text-to-text", "fill": "fill-mask"}


@pytest.mark.parametrize("model", ["see", "org/see-1b"])
def test_by_name_and_by_source(model: str) -> None:
    assert _asked(**TWO).target(model, CHAT).name == "see"


@pytest.mark.parametrize("model", [None, "dummy", "tgi"])
def test_one_that_is_alone_needs_no_name(model: str | None) -> None:
    assert _asked(write="text-generation", fill="fill-mask").target(model, CHAT).name == "write"
    with pytest.raises((InvalidInputError, UnknownModelError), match="models for this route: see, write"):
        _asked(**TWO).target(model, CHAT)


def test_the_path_goes_before_the_body() -> None:
    assert _asked("see", **TWO).target("write", CHAT).name == "see"
    with pytest.raises(InvalidInputError, match="fill serves fill-mask; this route is for text-generation and"):
        _asked("fill", **TWO).target("write", CHAT)


def test_who_serves_something_else_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="fill serves fill-mask") as caught:
        _asked(**TWO).target("fill", CHAT)
    assert caught.value.field == "model"


def _body(answer: Any) -> Any:
    return json.loads(asyncio.run(answer).body)


def test_models_are_listed() -> None:
    listed = _body(models.listed(_asked(**TWO)))
    assert listed["object"] == "list"
    assert [one["id"] for one in listed["data"]] == list(TWO)
    first = {"id": "write", "object": "model", "created": 0, "owned_by": "org", "tasks": ["text-generation"]}
    assert listed["data"][0] == first
    assert _body(models.listed(_asked("see", **TWO)))["data"][0]["id"] == "see"
    assert _body(models.one(_asked(path={"model": "org/write-1b"}, **TWO))) == first


TYPES = {404: "not_found_error", 429: "rate_limit_error", 401: "authentication_error", 422: "invalid_request_error"}


@pytest.mark.parametrize("kind", sorted(STATUS, key=lambda kind: kind.__name__))
def test_error_is_in_openais_shape(kind: type[errors.PipelineGraphError]) -> None:
    status, body, _ = openai_error(kind("It failed."), "id-7")
    assert status == STATUS[kind][0]
    assert body["request_id"] == "id-7"
    error = body["error"]
    assert {**error, "type": ""} == {"message": "It failed.", "type": "", "param": None, "code": STATUS[kind][1]}
    assert error["type"] == TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")


def test_error_names_the_field() -> None:
    assert openai_error(InvalidParameterError("`n` is wrong.", "n"), "id")[1]["error"]["param"] == "n"
    assert openai_error(errors.OverloadedError("Full.", 2.5), "id")[2] == {"retry-after": "3"}
