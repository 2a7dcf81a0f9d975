"""Root object of a body → task requests, as in the JSON of the Hugging Face inference wire format.

``{"inputs": ..., "parameters": {...}}``, where ``inputs`` is one input or a list of them. What the Hugging Face client
puts elsewhere is moved to where the pipeline wants it: parts of an input that stand at the root or among the
parameters (the question of visual question answering, the candidate labels of zero-shot object detection), and
parameters at the root (feature extraction).
"""

from dataclasses import dataclass
from typing import Any

from deployments.codec import MEDIA_TYPE
from deployments.errors import (
    InvalidInputError,
    InvalidParameterError,
    MalformedRequestError,
    PayloadTooLargeError,
)
from deployments.tasks import TaskSpec
from deployments.tasks.compound import Fields
from deployments.tasks.forms import Form
from graph.json_body import parse_json, parse_typed
from graph.parts import part_forms

# names at the root that are not about the pipeline
ROOT = frozenset({"inputs", "parameters", "options", "model", "stream"})
# summarization(generate_parameters=...), and the field of the same meaning for speech recognition
_GENERATION = frozenset({"generate_parameters", "generation_parameters"})


@dataclass(frozen=True)
class Call:
    """One HTTP request, read.

    Args:
        items: one entry for each input, in the pipeline's call form, media not yet fetched.
        many: whether the caller sent a list, and so gets one.
        parameters: call parameters, for all items.
    """

    items: list[Any]
    many: bool
    parameters: dict[str, Any]


def read_body(body: bytes, content_type: str) -> dict[str, Any]:
    """The root object of a JSON body, types kept if ``content_type`` says so.

    Raises:
        MalformedRequestError: not a JSON object.
    """
    kind = content_type.partition(";")[0].strip().lower()
    root = parse_typed(body) if kind == MEDIA_TYPE else parse_json(body)
    if not isinstance(root, dict) or not all(isinstance(name, str) for name in root):
        raise MalformedRequestError('The body must be a JSON object like {"inputs": ..., "parameters": {...}}.')
    return root


def read_model(root: dict[str, Any]) -> str | None:
    """Which model ``root`` asks for.

    Raises:
        InvalidInputError: by something else than a name.
    """
    model = root.get("model")
    if model is not None and not isinstance(model, str):
        raise InvalidInputError("`model` must be a string.", "model")
    return model


def read_call(spec: TaskSpec, root: dict[str, Any], max_items: int) -> Call:
    """The inputs and parameters of ``root`` for one task.

    Raises:
        InvalidInputError: ``inputs`` is missing or wrong; names the field.
        InvalidParameterError: ``parameters`` is not an object, or a key at the root is unknown.
        PayloadTooLargeError: more than ``max_items`` inputs.
    """
    parameters = {} if root.get("parameters") is None else root["parameters"]
    if not isinstance(parameters, dict) or not all(isinstance(name, str) for name in parameters):
        raise InvalidParameterError("`parameters` must be an object.", "parameters")
    parts, moved = _strays(spec, root, parameters)
    inputs = root.get("inputs")
    if inputs is None and not parts:
        raise InvalidInputError("`inputs` is missing.", "inputs")
    if spec.inputs.is_one(inputs) or not isinstance(inputs, list):
        item = read_item(spec.inputs, inputs, parts, "inputs")
        _check_sentences([item], max_items)
        return Call([item], False, moved)
    if not inputs:
        raise InvalidInputError("`inputs` is an empty list.", "inputs")
    if len(inputs) > max_items:
        raise PayloadTooLargeError(f"`inputs` has {len(inputs)} items; at most {max_items} are taken.", "inputs")
    items = [read_item(spec.inputs, item, parts, f"inputs[{index}]") for index, item in enumerate(inputs)]
    _check_sentences(items, max_items)
    return Call(items, True, moved)


def _check_sentences(items: list[Any], max_items: int) -> None:
    """Sentences to compare count as items of a list do."""
    count = sum(len(item.get("sentences", ())) for item in items if isinstance(item, dict))
    if count > max_items:
        raise PayloadTooLargeError(
            f"`inputs.sentences` has {count} items; at most {max_items} are taken.", "inputs.sentences"
        )


def _strays(spec: TaskSpec, root: dict[str, Any], parameters: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Parts of the input found outside ``inputs``, and the parameters without them but with those at the root."""
    part_names = part_forms(spec.inputs)
    at_root = {name: value for name, value in root.items() if name not in ROOT}
    parts = {name: value for name, value in (at_root | parameters).items() if name in part_names}
    moved = {name: value for name, value in (at_root | parameters).items() if name not in parts}
    moved.pop("model", None)  # InferenceClient repeats its URL here
    return parts, _with_generation(spec, moved)


def _with_generation(spec: TaskSpec, parameters: dict[str, Any]) -> dict[str, Any]:
    """``parameters`` with the generation settings that InferenceClient sends under names of its own.

    Raises:
        InvalidParameterError: they are no object.
    """
    if not (spec.generates or spec.generation_dicts):
        return parameters
    rest = {name: value for name, value in parameters.items() if name not in _GENERATION}
    for name in set(parameters) - set(rest):
        given = {} if parameters[name] is None else parameters[name]
        if not isinstance(given, dict):
            raise InvalidParameterError(f"`parameters.{name}` must be an object.", f"parameters.{name}")
        if "generate_kwargs" in spec.generation_dicts:
            given = {"generate_kwargs": {**(rest.get("generate_kwargs") or {}), **given}} if given else {}
        rest = {**rest, **given}
    return rest


def read_item(form: Form, value: Any, parts: dict[str, Any], path: str) -> Any:
    """One input in the pipeline's call form, completed by the ``parts`` of it that were found elsewhere.

    Raises:
        InvalidInputError: it is not what ``form`` says; names ``path``.
    """
    names = tuple(part_forms(form))
    if parts and names:
        if value is not None and not isinstance(value, dict):
            # a bare value stands for the first part that is not given apart
            absent = [name for name in names if name not in parts] or [names[0]]
            value = {absent[0]: value}
        value = {**parts, **(value or {})}
    read = form.read(value, path)
    if isinstance(form, Fields) and form.bare is not None and set(read) == {form.bare}:
        return read[form.bare]
    return read
