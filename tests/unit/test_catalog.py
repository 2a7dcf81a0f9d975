"""What the server says of itself, and which model a client means."""

import asyncio
import json
from typing import Any

import pytest

from deployments.errors import UnknownModelError
from graph import catalog, dispatch
from graph.config import read_config
from graph.dispatch import Dispatcher
from graph.readiness import ModelState, Readiness
from graph.resolve import resolve

MODELS = [
    {"name": "embed", "task": "feature-extraction", "model": "owner/minilm", "parameters": {"truncation": True}},
    {"name": "mood", "task": "sentiment-analysis", "model": "owner/mood", "revision": "abc"},
    {"name": "topic", "task": "text-classification", "model": "owner/topic"},
    {"task": "translation_en_to_fr"},
]


@pytest.fixture
def dispatcher(monkeypatch: pytest.MonkeyPatch) -> Dispatcher:
    monkeypatch.setattr(dispatch.serve, "get_deployment_handle", lambda name, app: (app, name))
    config = resolve(read_config({"models": MODELS}))
    return Dispatcher(config.models, "app", 1.0, Readiness("app"), asyncio.sleep)


@pytest.mark.parametrize(
    ("task", "model", "name"),
    [
        ("feature-extraction", None, "embed"),
        ("sentiment-analysis", None, "mood"),
        ("text-classification", None, "mood"),
        ("text-classification", "topic", "topic"),
        ("text-classification", "owner/topic", "topic"),
        ("translation_en_to_fr", None, "translation_en_to_fr"),
        ("translation", None, "translation_en_to_fr"),
        ("embed", None, "embed"),
        ("owner/minilm", None, "embed"),
        (None, "topic", "topic"),
        (None, "owner/topic", "topic"),
    ],
)
def test_model_is_found_as_people_ask_for_it(
    dispatcher: Dispatcher, task: str | None, model: str | None, name: str
) -> None:
    found = catalog.resolve(dispatcher, task, model)
    assert found["name"] == name
    assert found["task"] == dispatcher.targets[name].spec.name
    assert found["defaults"] == dispatcher.targets[name].config.parameters
    json.dumps(found)


@pytest.mark.parametrize(
    ("task", "model", "says"),
    [
        ("fill-mask", None, "feature-extraction"),
        ("text-classification", "embed", "mood, topic"),
        ("translation_en", None, "'translation_en'"),
        ("embedd", None, "embed (feature-extraction)"),
        (None, "nothing", "mood (text-classification)"),
        ("feature-extraction", "owner/topic", "embed"),
    ],
)
def test_unknown_model_names_the_known_ones(
    dispatcher: Dispatcher, task: str | None, model: str | None, says: str
) -> None:
    with pytest.raises(UnknownModelError) as caught:
        catalog.resolve(dispatcher, task, model)
    assert says in str(caught.value)


@pytest.mark.parametrize("task", ["NER", "Text-Classification", "MyTask"])
def test_unknown_task_is_named_as_it_was_asked_for(dispatcher: Dispatcher, task: str) -> None:
    with pytest.raises(UnknownModelError) as caught:
        dispatcher.by_task(task)
    assert repr(task) in str(caught.value)


def test_unknown_name_names_the_known_ones(dispatcher: Dispatcher) -> None:
    assert dispatcher.by_name("embed").handle == ("app", "embed")
    with pytest.raises(UnknownModelError, match="embed, mood, topic, translation_en_to_fr"):
        dispatcher.by_name("nothing")


def test_index_leads_to_every_model(dispatcher: Dispatcher) -> None:
    found = catalog.index(dispatcher)["models"]
    assert {name: entry["url"] for name, entry in found.items()} == {
        name: f"/models/{name}" for name in dispatcher.targets
    }
    assert found["mood"]["task"] == "sentiment-analysis"


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (ModelState("ready", 2), {"state": "ready", "replicas": 2}),
        (ModelState("loading"), {"state": "loading", "replicas": 0}),
        (ModelState("failed", 0, "no file"), {"state": "failed", "replicas": 0, "reason": "no file"}),
    ],
)
def test_state_has_a_reason_only_when_it_failed(state: ModelState, expected: dict[str, Any]) -> None:
    assert catalog.state(state) == expected


def _describe(
    dispatcher: Dispatcher, name: str, live: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> dict[str, Any]:
    async def info(_: Any) -> dict[str, Any]:
        return dict(live)

    monkeypatch.setattr(dispatcher, "info", info)
    found = asyncio.run(catalog.describe(dispatcher, dispatcher.by_name(name), Readiness("app")))
    json.dumps(found)
    return found


def test_model_is_described_before_any_replica_runs(dispatcher: Dispatcher, monkeypatch: pytest.MonkeyPatch) -> None:
    found = _describe(dispatcher, "mood", {}, monkeypatch)
    expected = {
        "name": "mood",
        "task": "sentiment-analysis",
        "model": "owner/mood",
        "model_id": "owner/mood",
        "pipeline_tag": "text-classification",
        "revision": "abc",
        "state": "loading",
    }
    assert {key: found[key] for key in expected} == expected
    assert "top_k" in found["parameters"]
    unnamed = _describe(dispatcher, "translation_en_to_fr", {}, monkeypatch)
    assert (unnamed["model"], unnamed["model_id"]) == ("default", "translation_en_to_fr")


def test_what_a_replica_says_goes_before_what_was_configured(
    dispatcher: Dispatcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    live = {"revision": "full-commit", "dtype": "float32", "device": "cpu", "parameters": ["x"], "defaults": {"a": 1}}
    found = _describe(dispatcher, "mood", live, monkeypatch)
    assert {key: found[key] for key in live} == live
    found = _describe(dispatcher, "mood", live | {"revision": None}, monkeypatch)
    assert found["revision"] == "abc"


def test_strangers_are_told_neither_reasons_nor_names(dispatcher: Dispatcher) -> None:
    failed = ModelState("failed", 0, "/secret/folder is no model")
    assert catalog.state(failed)["reason"] == "/secret/folder is no model"
    assert catalog.state(failed, stranger=True) == {"state": "failed", "replicas": 0}
    name = next(iter(dispatcher.targets))
    for stranger in (False, True):
        assert catalog.probed(dispatcher, name, stranger).name == name
        with pytest.raises(UnknownModelError, match="'nowhere'") as refused:
            catalog.probed(dispatcher, "nowhere", stranger)
        assert (name in str(refused.value)) is not stranger
