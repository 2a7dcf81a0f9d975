"""What a call of each task takes: its inputs from the task's form, its parameters from the tables."""

from collections.abc import Iterable

from deployments.tasks import TaskSpec
from deployments.tasks.arguments import parameters_of, settings_of
from deployments.tasks.compound import Fields
from deployments.tasks.forms import Schema
from graph.openapi.build import STRING, any_of, listed, ref
from graph.parts import part_forms

_STREAM: Schema = {"description": "Answer with a stream of tokens; for one input.", "type": "boolean", "default": False}


def request_schema(spec: TaskSpec, required: frozenset[str], max_items: int) -> Schema:
    """The JSON body of a call.

    Args:
        spec: the task.
        required: parameters that the call itself must have.
        max_items: inputs that a list may have.
    """
    one = spec.inputs.schema()
    schema: Schema = {
        "type": "object",
        "properties": {
            "inputs": {"description": "One input, or a list of them.", **any_of(one, _list_of(one, max_items))},
            "parameters": ref(f"{title(spec)}Parameters"),
            **({"stream": _STREAM} if spec.streams else {}),
            "model": {"description": "On the task's route: which of several models.", **STRING},
        },
        "required": ["inputs", *(["parameters"] if required else [])],
        "additionalProperties": False,
    }
    return _with_parts(schema, spec.inputs, max_items) if isinstance(spec.inputs, Fields) else schema


def _list_of(one: Schema, max_items: int) -> Schema:
    return listed(one, minItems=1, maxItems=max_items)


def _with_parts(schema: Schema, form: Fields, max_items: int) -> Schema:
    """Parts of the input may stand beside ``inputs``, which is then the first part that is missing, or nothing."""
    parts = {name: part.schema() for name, part in {**form.required, **form.optional}.items()}
    first, *others = form.names
    inputs = schema["properties"]["inputs"]
    beside = {**inputs, "anyOf": [*inputs["anyOf"], parts[first], _list_of(parts[first], max_items)]}
    return {
        **schema,
        "properties": {**parts, **schema["properties"], "inputs": beside},
        "required": schema["required"][1:],
        "anyOf": [
            {"properties": {"inputs": inputs}, "required": ["inputs"]},
            {"required": ["inputs"], **_beside(name for name in others if name in form.required)},
            _beside(form.required),
        ],
    }


def _beside(parts: Iterable[str]) -> Schema:
    """Each of ``parts`` stands beside ``inputs`` or among the parameters."""
    each: list[Schema] = []
    for part in parts:
        among = {"properties": {"parameters": {"required": [part]}}, "required": ["parameters"]}
        each.append({"anyOf": [{"required": [part]}, among]})
    return {"allOf": each} if each else {}


def parameters_schema(spec: TaskSpec, required: frozenset[str]) -> Schema:
    """The parameters of a call; the named parts of an input may stand among them."""
    properties = {name: parameter.schema() for name, parameter in parameters_of(spec).items()}
    settings = {name: parameter.schema() for name, parameter in settings_of(spec).items()}
    for name in spec.generation_dicts & properties.keys():
        described = {"description": properties[name]["description"]}
        nested = {"type": ["object", "null"], "properties": settings, "additionalProperties": False}
        properties[name] = {**described, **nested}
    parts = {name: part.schema() for name, part in part_forms(spec.inputs).items()}
    return {
        "type": "object",
        "properties": parts | properties,
        "additionalProperties": False,
        **({"required": sorted(required)} if required else {}),
    }


def title(spec: TaskSpec) -> str:
    """The task in the names of components: ``fill-mask`` → ``FillMask``."""
    return "".join(word.capitalize() for word in spec.name.split("-"))
