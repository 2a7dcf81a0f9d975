"""The configuration is strict: unknown keys, wrong values and contradictions are named by their path."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel, ValidationError
from ray.serve.schema import ServeDeploySchema

from deployments import config as deployments_config
from deployments.config import BatchConfig, ModelConfig, ResourceConfig, ScaleConfig, StrictModel
from deployments.errors import ConfigError
from deployments.parameters import accepted_names
from deployments.tasks import TASKS
from graph import config as graph_config
from graph.config import GraphConfig, read_config
from graph.resolve import resolve

ROOT = Path(__file__).parents[2]
CLASSES = sorted(
    {
        value
        for module in (deployments_config, graph_config)
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, StrictModel) and value is not StrictModel
    },
    key=lambda cls: cls.__name__,
)


def _mistakes(args: Any) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        read_config(args)
    return caught.value.mistakes


@pytest.mark.parametrize("model", [{"task": "fill-mask"}, {"model": "owner/name"}])
def test_task_or_model_alone_is_enough(model: dict[str, str]) -> None:
    assert len(read_config({"models": [model]}).models) == 1


@pytest.mark.parametrize(
    ("args", "path", "nearest"),
    [
        ({"models": [{"task": "ner", "bacth": {}}]}, "args.models[0].bacth", "batch"),
        (
            {"models": [{"task": "ner"}, {"task": "vqa", "batch": {"max_item": 1}}]},
            "args.models[1].batch.max_item",
            "max_items",
        ),
        ({"models": [{"task": "ner", "resources": {"num_gpu": 1}}]}, "args.models[0].resources.num_gpu", "num_gpus"),
        ({"models": [{"task": "ner"}], "limit": {}}, "args.limit", "limits"),
        ({"models": [{"task": "ner"}], "fetch": {"enable": False}}, "args.fetch.enable", "enabled"),
    ],
)
def test_unknown_key_is_named_with_the_nearest_known_one(args: Any, path: str, nearest: str) -> None:
    assert _mistakes(args) == (f"{path}: unknown key; did you mean '{nearest}'?",)


def test_unknown_key_like_no_other_lists_the_known_ones() -> None:
    (mistake,) = _mistakes({"models": [{"task": "ner", "batch": {"zzz": 1}}]})
    known = ", ".join(sorted(BatchConfig.model_fields))
    assert mistake == f"args.models[0].batch.zzz: unknown key; known keys: {known}."


def test_all_mistakes_are_told_at_once_each_at_its_path() -> None:
    args = {
        "models": [
            {"task": "text-clasification", "dtype": "float8"},
            {"task": "ner", "batch": {"max_items": 0}, "scale": {"min_replicas": 3, "max_replicas": 2}},
            {},
        ],
        "router": {"num_replicas": 0},
        "typo": 1,
    }
    found = dict(mistake.split(": ", 1) for mistake in _mistakes(args))
    assert set(found) == {
        "args.models[0].task",
        "args.models[0].dtype",
        "args.models[1].batch.max_items",
        "args.models[1].scale",
        "args.models[2]",
        "args.router.num_replicas",
        "args.typo",
    }
    assert "text-classification" in found["args.models[0].task"]


@pytest.mark.parametrize(
    ("args", "path"),
    [
        ({}, "args.models: missing."),
        ({"models": []}, "args.models: "),
        ({"models": ["ner"]}, "args.models[0]: "),
        ([], "args: "),
        (None, "args: "),
    ],
)
def test_configuration_without_models_is_a_mistake(args: Any, path: str) -> None:
    (mistake,) = _mistakes(args)
    assert mistake.startswith(path)


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ({}, "`task`, `model` or both"),
        ({"task": "ner", "device": "cuda:1", "device_map": "auto"}, "`device` or `device_map`"),
        ({"task": "ner", "device": "gpu"}, "cuda:N"),
        ({"task": "ner", "name": "a/b"}, "letters, digits"),
        ({"task": "ner", "name": "-a"}, "beginning with a letter or digit"),
        ({"task": "ner", "name": ""}, "1 to 100"),
        ({"task": "ner", "name": "a" * 101}, "1 to 100"),
        ({"task": "ner", "dtype": "half"}, "float16"),
        ({"task": "ner", "quantization": "2bit"}, "4bit"),
        ({"task": "ner", "resources": {"num_gpus": 1.5}}, "whole"),
        ({"task": "ner", "resources": {"num_gpus": -1}}, "greater"),
        ({"task": "ner", "scale": {"max_queued_requests": -2}}, "-1"),
        (
            {"task": "ner", "scale": {"min_replicas": 2, "max_replicas": 1}},
            "max_replicas (1) is below min_replicas (2)",
        ),
    ],
)
def test_contradiction_or_wrong_value_is_refused(model: dict[str, Any], says: str) -> None:
    (mistake,) = _mistakes({"models": [model]})
    assert says in mistake


@pytest.mark.parametrize(
    "model",
    [
        {"task": "ner", "device": "auto", "device_map": "auto"},
        {"task": "ner", "device": "cuda:0"},
        {"task": "translation_en_to_fr"},
        {"task": "ner", "resources": {"num_gpus": 0.25}},
        {"task": "ner", "resources": {"num_gpus": 2}},
        {"task": "ner", "scale": {"min_replicas": 0, "max_replicas": 0 + 1}},
        {"task": "ner", "name": "a" * 100},
    ],
)
def test_sensible_model_is_taken(model: dict[str, Any]) -> None:
    read_config({"models": [model]})


@pytest.mark.parametrize(
    ("models", "says"),
    [
        ([{"task": "ner"}, {"task": "ner"}], "two models are called ner"),
        ([{"task": "ner", "name": "x"}, {"model": "a/b", "name": "x"}], "two models are called x"),
        ([{"task": "ner", "name": "router"}], "'router'"),
    ],
)
def test_names_are_unique_and_not_the_routers(models: list[dict[str, str]], says: str) -> None:
    (mistake,) = _mistakes({"models": models})
    assert says in mistake


def test_configuration_is_frozen() -> None:
    config = read_config({"models": [{"task": "ner"}]})
    with pytest.raises(ValidationError, match="frozen"):
        config.models[0].name = "other"


def _stated_defaults(cls: type[BaseModel]) -> dict[str, float]:
    """Field → the default that its line of the docstring states, where that is a number or true or false."""
    found = {}
    for line in re.sub(r"\n {12,}", " ", cls.__doc__ or "").splitlines():
        match = re.match(r" *(\w+): .*\bdefault (true|false|-?\d+(?:\.\d+)?)( MiB| million)?", line)
        if match:
            unit = {None: 1, " MiB": 2**20, " million": 10**6}[match[3]]
            found[match[1]] = {"true": 1.0, "false": 0.0}[match[2]] if match[2].isalpha() else float(match[2]) * unit
    return found


@pytest.mark.parametrize("cls", CLASSES)
def test_stated_defaults_are_the_real_ones(cls: type[BaseModel]) -> None:
    stated = _stated_defaults(cls)
    assert stated == {name: float(cls.model_fields[name].default) for name in stated}


def test_stated_defaults_are_found() -> None:
    """Without this, the test above could pass on nothing."""
    assert _stated_defaults(ScaleConfig)["max_queued_requests"] == 512
    assert sum(len(_stated_defaults(cls)) for cls in CLASSES) >= 20


@pytest.mark.parametrize("cls", CLASSES)
def test_docstring_names_every_field(cls: type[BaseModel]) -> None:
    words = set(re.findall(r"\w+", cls.__doc__ or ""))
    assert set(cls.model_fields) - words == set()


def test_replica_is_told_what_needs_loading_again_apart_from_what_does_not() -> None:
    base = {"task": "ner", "model": "a/b"}
    first = ModelConfig.model_validate(base)
    light = [
        {"name": "x"},
        {"parameters": {"stride": 1}},
        {"batch": {"max_items": 2}},
        {"scale": {"max_replicas": 3}},
        {"cache": {"max_bytes": 9}},
        {"voices": {"anna": {}}},
    ]
    heavy = [{"model": "a/c"}, {"dtype": "float32"}, {"resources": {"num_cpus": 2}}, {"model_kwargs": {"x": 1}}]
    assert all(ModelConfig.model_validate(base | change).load_key() == first.load_key() for change in light)
    assert all(ModelConfig.model_validate(base | change).load_key() != first.load_key() for change in heavy)
    live = ModelConfig.model_validate(base | {"parameters": {"stride": 1}, "batch": {"max_items": 2}}).live_config()
    assert live["parameters"] == {"stride": 1}
    assert live["batch"]["max_items"] == 2
    assert live["cache"] == {"max_bytes": 0, "share_running": True}


def test_configuration_survives_json() -> None:
    """It reaches replicas and the router as JSON."""
    config = read_config({"models": [{"task": "ner", "resources": {"num_gpus": 0.5}, "device_map": {"": 0}}]})
    assert GraphConfig.model_validate_json(config.model_dump_json()) == config


def test_serve_config_of_the_repository_is_valid_for_ray_and_for_us() -> None:
    content = yaml.safe_load((ROOT / "serve_config.yaml").read_text())
    schema = ServeDeploySchema.model_validate(content)
    assert [app.import_path for app in schema.applications] == ["graph.app:build"]
    config = resolve(read_config(content["applications"][0]["args"]))
    assert all(model.name and model.task for model in config.models)


def test_resolve_gives_each_model_its_task_as_name() -> None:
    config = resolve(read_config({"models": [{"task": "ner"}, {"task": "ner", "name": "second"}]}))
    assert [model.name for model in config.models] == ["ner", "second"]


@pytest.mark.parametrize(
    ("models", "mistakes"),
    [
        ([{"task": "ner", "parameters": {"strde": 1}}], [("args.models[0].parameters.strde", "stride")]),
        (
            [
                {"task": "text-generation", "parameters": {"temprature": 1.0}},
                {"task": "text-to-audio", "parameters": {"generate_kwargs": {"max_new_token": 1}}},
            ],
            [
                ("args.models[0].parameters.temprature", "temperature"),
                ("args.models[1].parameters.generate_kwargs.max_new_token", "max_new_tokens"),
            ],
        ),
        (
            [{"task": "ner", "parameters": {"strde": 1, "delimitr": ","}}],
            [("args.models[0].parameters.strde", "stride"), ("args.models[0].parameters.delimitr", "delimiter")],
        ),
    ],
    ids=["one", "each-model", "two-in-one-model"],
)
def test_wrong_default_parameters_are_named(models: list[Any], mistakes: list[tuple[str, str]]) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve(read_config({"models": models}))
    assert len(caught.value.mistakes) == len(mistakes)
    for mistake, (path, nearest) in zip(caught.value.mistakes, mistakes, strict=True):
        assert mistake.startswith(f"{path}: ")
        assert f"`{nearest}`" in mistake


def test_required_parameters_may_be_left_to_the_caller() -> None:
    resolve(read_config({"models": [{"task": "zero-shot-classification"}]}))
    assert "candidate_labels" in accepted_names(TASKS["zero-shot-classification"])


@pytest.mark.parametrize("gpus", [0, 0.1, 1, 4])
def test_gpu_shares_that_ray_takes_are_taken(gpus: float) -> None:
    assert ResourceConfig(num_gpus=gpus).num_gpus == gpus
