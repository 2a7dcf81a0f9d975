"""Call parameters: defaults, overrides, refusals that name the nearest valid parameter, nothing executable."""

import copy
from typing import Any

import pytest
from transformers import GenerationConfig

from deployments.errors import InvalidParameterError
from deployments.parameters import accepted_names, generation_names, merge_parameters
from deployments.tasks import TASKS


def _merge(task: str, given: dict[str, Any], defaults: dict[str, Any] | None = None) -> dict[str, Any]:
    spec = TASKS[task]
    return merge_parameters(spec, accepted_names(spec), defaults or {}, given)


def test_given_parameters_go_over_the_defaults_for_one_call() -> None:
    defaults = {"top_k": 5, "function_to_apply": "none"}
    kept = copy.deepcopy(defaults)
    assert _merge("text-classification", {"top_k": 1}, defaults) == {"top_k": 1, "function_to_apply": "none"}
    assert defaults == kept
    assert _merge("text-classification", {}, defaults) == kept


def test_none_is_a_value_of_its_own() -> None:
    """``top_k=None`` asks for all labels; it is not the absence of ``top_k``."""
    assert _merge("text-classification", {"top_k": None}, {"top_k": 1}) == {"top_k": None}


@pytest.mark.parametrize(
    ("task", "given", "field", "nearest"),
    [
        ("text-classification", {"topk": 1}, "parameters.topk", "top_k"),
        ("text-generation", {"max_new_token": 1}, "parameters.max_new_token", "max_new_tokens"),
        ("text-generation", {"temprature": 1}, "parameters.temprature", "temperature"),
        ("object-detection", {"treshold": 1}, "parameters.treshold", "threshold"),
        (
            "text-to-audio",
            {"generate_kwargs": {"temprature": 1}},
            "parameters.generate_kwargs.temprature",
            "temperature",
        ),
    ],
)
def test_unknown_name_is_refused_with_the_nearest(task: str, given: dict[str, Any], field: str, nearest: str) -> None:
    with pytest.raises(InvalidParameterError) as caught:
        _merge(task, given)
    assert caught.value.field == field
    assert f"`{field}`" in caught.value.message
    assert f"did you mean `{nearest}`?" in caught.value.message


@pytest.mark.parametrize("task", sorted(TASKS))
@pytest.mark.parametrize("name", ["zzzzzz", "", "top k", "model", "tokenizer", "trust_remote_code", "custom_generate"])
def test_no_task_takes_an_unknown_name(task: str, name: str) -> None:
    with pytest.raises(InvalidParameterError):
        _merge(task, {name: 1})


@pytest.mark.parametrize("task", sorted(name for name, row in TASKS.items() if row.required))
def test_required_parameter_may_come_from_the_caller_or_the_configuration(task: str) -> None:
    labels = {"candidate_labels": ["a", "b"]}
    assert _merge(task, labels) == labels
    assert _merge(task, {}, labels) == labels
    assert _merge(task, {"candidate_labels": "a, b"}) == labels
    for missing in ({}, {"candidate_labels": None}):
        with pytest.raises(InvalidParameterError, match=r"`parameters.candidate_labels` is missing"):
            _merge(task, missing)
    with pytest.raises(InvalidParameterError) as caught:
        _merge(task, {"candidate_labels": []})
    assert caught.value.field == "parameters.candidate_labels"


def test_generation_settings_are_those_of_transformers() -> None:
    public = {name for name in vars(GenerationConfig()) if not name.startswith("_")}
    assert generation_names() < public
    assert {
        "max_new_tokens",
        "do_sample",
        "temperature",
        "num_beams",
        "stop_strings",
        "seed",
    } & public <= generation_names()


@pytest.mark.parametrize(
    "name",
    [
        "logits_processor",
        "stopping_criteria",
        "prefix_allowed_tokens_fn",
        "assistant_model",
        "streamer",
        "custom_generate",
        "compile_config",
        "cache_implementation",
        "return_dict_in_generate",
        "trust_remote_code",
        "synced_gpus",
        "generation_config",
    ],
)
@pytest.mark.parametrize("task", sorted(name for name, row in TASKS.items() if row.generates or row.generation_dicts))
def test_what_is_no_setting_of_one_call_never_reaches_generate(task: str, name: str) -> None:
    with pytest.raises(InvalidParameterError):
        _merge(task, {name: None})
    for inside in TASKS[task].generation_dicts:
        with pytest.raises(InvalidParameterError):
            _merge(task, {inside: {name: None}})


@pytest.mark.parametrize(
    ("task", "name"),
    [
        ("text-generation", "tokenizer_encode_kwargs"),
        ("image-text-to-text", "processor_kwargs"),
        ("any-to-any", "processor_kwargs"),
        ("feature-extraction", "tokenize_kwargs"),
        ("text-to-audio", "processor_kwargs"),
    ],
)
@pytest.mark.parametrize("key", ["chat_template", "trust_remote_code", "custom_generate"])
def test_template_or_code_of_a_caller_is_refused_inside_nested_arguments(task: str, name: str, key: str) -> None:
    with pytest.raises(InvalidParameterError, match=key):
        _merge(task, {name: {key: "{{ 1 }}"}})
    assert _merge(task, {name: {"truncation": True}}) == {name: {"truncation": True}}


@pytest.mark.parametrize("task", sorted(name for name, row in TASKS.items() if row.generation_dicts))
def test_generation_settings_are_taken_inside_their_objects(task: str) -> None:
    for inside in TASKS[task].generation_dicts:
        given = {inside: {"max_new_tokens": 3, "do_sample": False}}
        assert _merge(task, given) == given


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"pooling": "maen"}, '"none" or "auto" or "mean" or .* or null, not a string'),
        ({"normalize": "yes"}, "true or false or null, not a string"),
        ({"normalize": 1}, "true or false or null, not a number"),
        ({"dimensions": 0}, "a whole number of at least 1 or null, not a number"),
        ({"dimensions": True}, "a whole number of at least 1 or null, not a boolean"),
        ({"dimensions": 2.0}, "a whole number"),
        ({"truncation_direction": "up"}, '"left" or "right" or null'),
        ({"prompt_name": ["query"]}, "a string or null, not a list"),
        ({"encoding_format": "int8"}, '"float" or "base64" or null'),
    ],
)
def test_values_of_our_own_parameters_are_checked_here(given: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidParameterError, match=says) as caught:
        _merge("feature-extraction", given)
    assert caught.value.field == f"parameters.{next(iter(given))}"


def test_our_own_parameters_may_be_none() -> None:
    given = {"pooling": None, "normalize": None, "dimensions": None}
    assert _merge("feature-extraction", given, {"pooling": "mean"}) == given


def test_similarity_takes_no_form_of_vectors() -> None:
    for given in ({"encoding_format": "float"}, {"return_tensors": True}):
        with pytest.raises(InvalidParameterError, match="unknown to sentence-similarity"):
            _merge("sentence-similarity", given)
    with pytest.raises(InvalidParameterError, match='be "auto" or "mean"'):
        _merge("sentence-similarity", {"pooling": "none"})


@pytest.mark.parametrize("key", [1, None, 2.5, (1, 2), b"x", True])
def test_a_key_that_is_no_name_is_the_callers_fault(key: Any) -> None:
    for task, name in (("text-to-audio", "forward_params"), ("image-text-to-text", "generate_kwargs")):
        with pytest.raises(InvalidParameterError, match="is unknown to"):
            _merge(task, {name: {key: 1}})
