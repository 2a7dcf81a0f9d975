"""The tables of parameters: complete, and of the types that transformers itself takes and refuses."""

import inspect
import re
from typing import Any

import jsonschema
import numpy as np
import pytest
from transformers import GenerationConfig

from deployments.errors import InvalidInputError, InvalidParameterError
from deployments.parameters import accepted_names, generation_names, merge_parameters
from deployments.payload import Tensor
from deployments.tasks import TASKS
from deployments.tasks.arguments import COMMON, OWN, parameters_of
from deployments.tasks.forms import Any_, Form
from deployments.tasks.generation import GENERATION, SPEECH
from deployments.tasks.nested import Group, Numbers
from deployments.tasks.parameter import Parameter
from deployments.tasks.values import Choice, Flag, Items, Null, Number, Object, OneOf, String, Template, whole
from tests.unit.test_tasks import _pipeline_class

ROWS = [(task, name) for task in sorted(TASKS) for name in parameters_of(TASKS[task])]


@pytest.mark.parametrize("task", sorted(TASKS))
def test_every_accepted_name_has_a_row_and_every_row_is_accepted(task: str) -> None:
    assert set(parameters_of(TASKS[task])) == accepted_names(TASKS[task])


def test_no_row_is_of_no_task() -> None:
    assert set(COMMON) <= set().union(*(row.parameters for row in TASKS.values()))
    assert {task for task in OWN if not set(OWN[task]) <= TASKS[task].parameters} == set()
    assert set(GENERATION) == generation_names()
    assert set(SPEECH) == set().union(*(row.generation_extra for row in TASKS.values()))


@pytest.mark.parametrize(("task", "name"), ROWS)
def test_default_is_a_value_that_the_parameter_has(task: str, name: str) -> None:
    parameter = parameters_of(TASKS[task])[name]
    if parameter.default is not None:
        parameter.form.read(parameter.default, name)


@pytest.mark.parametrize("task", sorted(set(TASKS) - {"fake"}))
def test_default_is_the_one_that_the_pipeline_has(task: str) -> None:
    """Where upstream writes it down in a signature; the tokenizers' and the models' own are not there."""
    cls = _pipeline_class(task)
    written: dict[str, set[Any]] = {}
    for stage in ("_sanitize_parameters", "preprocess", "_forward", "postprocess", "aggregate"):
        for name, found in inspect.signature(getattr(cls, stage, lambda: None)).parameters.items():
            if found.default not in (inspect.Parameter.empty, None, ""):
                written.setdefault(name, set()).add(str(getattr(found.default, "value", found.default)))
    rows = parameters_of(TASKS[task])
    said = {name: row.default for name, row in rows.items() if row.default is not None and name in written}
    wrong = {
        name: (default, written[name])
        for name, default in said.items()
        if not any(_same(default, value) for value in written[name])
    }
    assert wrong == {}


def _same(default: Any, written: str) -> bool:
    try:
        return float(default) == float(written) if not isinstance(default, bool) else str(default) == written
    except (TypeError, ValueError):
        return str(default) == written


def values_of(form: Form) -> tuple[list[Any], list[Any]]:
    """Some values that ``form`` has, and some that it has not."""
    wrong_for_all: list[Any] = [{"a": 1}, "nonsense", [[{}]], 1.5, -3, True]
    if isinstance(form, OneOf):
        right = [value for part in form.forms for value in values_of(part)[0]]
    elif isinstance(form, Items):
        count = 2 if form.count is None else form.count
        right = [[value] * count for value in values_of(form.form)[0][:1]]
    else:
        right = _plain_values(form)
    return right, [
        value for value in wrong_for_all if not jsonschema.Draft202012Validator(form.schema()).is_valid(value)
    ]


def _plain_values(form: Form) -> list[Any]:
    if isinstance(form, Number):
        floor = form.least if form.least is not None and form.least > -1e9 else form.above if form.above else 0
        ceiling = min(form.most or 2, 2) if form.most != 0 else 0
        values = [floor, max(floor, ceiling)] if form.above is None else [form.above + 0.5]
        return [int(value) if form.whole else float(value) for value in values]
    if isinstance(form, Choice):
        return [*form.values]
    if isinstance(form, Null):
        return [None]
    if isinstance(form, Group):
        return [{}, {name: _plain_values(part)[0] for name, part in form.forms.items() if isinstance(part, Numbers)}]
    kinds: dict[type[Form], list[Any]] = {
        Numbers: [1, [0.5, True], {"height": 3}],
        Flag: [True, False],
        String: ["a"],
        Template: ["a{}", "{{{}}} b"],
        Object: [{}, {"a": 1}],
        Any_: [1, "a", None],
    }
    return kinds.get(type(form), [["a"], "a, b"])


@pytest.mark.parametrize(("task", "name"), ROWS)
def test_schema_and_reader_agree(task: str, name: str) -> None:
    parameter: Parameter = parameters_of(TASKS[task])[name]
    right, wrong = values_of(parameter.form)
    validator = jsonschema.Draft202012Validator(parameter.schema())
    assert right
    for value in right:
        parameter.form.read(value, name)
        validator.validate(value)
    for value in wrong:
        assert not validator.is_valid(value)
        with pytest.raises(InvalidInputError):
            parameter.form.read(value, name)


@pytest.mark.parametrize("name", sorted(GENERATION))
def test_transformers_takes_each_value_of_a_generation_setting(name: str) -> None:
    for value in values_of(GENERATION[name].values)[0]:
        if name != "watermarking_config":
            config = GenerationConfig(**{"do_sample": True, name: value})  # which several answers need
            assert getattr(config, name) == value
    assert getattr(GenerationConfig(**{name: None}), name) is None


@pytest.mark.parametrize(
    ("task", "given", "says"),
    [
        ("text-classification", {"top_k": "3"}, "a whole number of at least 1 or null, not a string"),
        ("text-classification", {"top_k": 0}, "of at least 1"),
        ("text-classification", {"function_to_apply": "softmaxx"}, '"sigmoid" or "softmax" or "none"'),
        ("text-generation", {"max_new_tokens": 2.5}, "a whole number"),
        ("text-generation", {"max_new_tokens": 2_000_000}, "of at least 1 and of at most 1048576"),
        ("text-generation", {"stop_sequence": "a" * 257}, "a string of at most 256 characters"),
        ("text-generation", {"stop_strings": ["a"] * 17}, "a list of at most 16"),
        ("text2text-generation", {"stop_sequence": "a" * 257}, "a string of at most 256 characters"),
        ("text-generation", {"top_p": 1.5}, "a number of at least 0 and of at most 1"),
        ("object-detection", {"threshold": None}, "a number, not missing"),
        ("object-detection", {"threshold": True}, "a number, not a boolean"),
        ("automatic-speech-recognition", {"return_timestamps": "words"}, '"word" or "char"'),
        ("zero-shot-classification", {"hypothesis_template": "no gap"}, "'{}' in it"),
        ("token-classification", {"ignore_labels": "O"}, "a list"),
    ],
)
def test_a_value_that_the_parameter_has_not_is_refused_with_what_it_must_be(
    task: str, given: dict[str, Any], says: str
) -> None:
    spec = TASKS[task]
    with pytest.raises(InvalidParameterError) as caught:
        merge_parameters(spec, accepted_names(spec), {"candidate_labels": ["a"]}, given)
    assert says in caught.value.message
    assert caught.value.field == f"parameters.{next(iter(given))}"


@pytest.mark.parametrize(
    "template",
    ["{{}}{:9999999}", "{}{:9999999}", "{:>99999}", "{!r}", "{0}", "{a.b}", "{} {}", "{{}}", "{", "}{}", "{} {", "", 3],
)
@pytest.mark.parametrize(
    "task", ["zero-shot-classification", "zero-shot-image-classification", "zero-shot-audio-classification"]
)
def test_a_template_has_one_plain_gap(task: str, template: Any) -> None:
    form = parameters_of(TASKS[task])["hypothesis_template"]
    assert not jsonschema.Draft202012Validator(form.schema()).is_valid(template)
    given = {"candidate_labels": ["a"], "hypothesis_template": template}
    with pytest.raises(InvalidParameterError, match=re.escape("one '{}' in it")):
        merge_parameters(TASKS[task], accepted_names(TASKS[task]), {}, given)


def test_a_wrong_value_inside_generate_kwargs_is_named() -> None:
    spec = TASKS["automatic-speech-recognition"]
    with pytest.raises(InvalidParameterError) as caught:
        merge_parameters(spec, accepted_names(spec), {}, {"generate_kwargs": {"max_new_tokens": "8"}})
    assert caught.value.field == "parameters.generate_kwargs.max_new_tokens"


@pytest.mark.parametrize(
    ("task", "given"),
    [
        ("text-classification", {"top_k": np.int64(2)}),
        ("object-detection", {"threshold": np.float32(0.5)}),
        ("automatic-speech-recognition", {"stride_length_s": (1, 1.5), "prompt_ids": Tensor(np.arange(3), "int64")}),
        ("text-to-audio", {"forward_params": {"speaker_embeddings": np.zeros(4, np.float32)}}),
        ("text-generation", {"eos_token_id": np.array([1, 2])}),
    ],
)
def test_python_values_of_the_same_meaning_pass_unchanged(task: str, given: dict[str, Any]) -> None:
    merged = merge_parameters(TASKS[task], accepted_names(TASKS[task]), {}, given)
    assert all(merged[name] is value for name, value in given.items())


def test_whole_numbers_stay_within_32_bits() -> None:
    with pytest.raises(InvalidInputError):
        whole().read(2**40, "x")
