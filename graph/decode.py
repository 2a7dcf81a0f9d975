"""HTTP body → task requests: the JSON form of the Hugging Face inference wire format.

``{"inputs": ..., "parameters": {...}}``, where ``inputs`` is one input or a list of them. What the Hugging Face client
puts elsewhere is moved to where the pipeline wants it: parts of an input that stand at the root or among the
parameters (the question of visual question answering, the candidate labels of zero-shot object detection), and
parameters at the root (feature extraction).
"""

import json
import math
from dataclasses import dataclass
from typing import Any, NoReturn

from deployments.codec import MEDIA_TYPE, from_json
from deployments.errors import (
    InvalidInputError,
    InvalidParameterError,
    MalformedRequestError,
    PayloadTooLargeError,
    UnsupportedMediaError,
)
from deployments.tasks import TaskSpec
from deployments.tasks.compound import Fields
from deployments.tasks.forms import Form

# keys at the root that are not about the pipeline
_ROOT = frozenset({"inputs", "parameters", "options", "model", "stream"})


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


def parse_json(body: bytes) -> Any:
    """``body`` as JSON, numbers finite.

    Raises:
        MalformedRequestError: it is not JSON, or too deeply nested.
    """

    def refuse(name: str) -> NoReturn:
        raise MalformedRequestError(f"{name} is not a JSON number.")

    def finite(text: str) -> float:
        value = float(text)
        if not math.isfinite(value):
            refuse(text)
        return value

    try:
        value = json.loads(body, parse_constant=refuse, parse_float=finite)
        json.dumps(value, ensure_ascii=False).encode()  # a lone surrogate is no text, and no answer could hold it
        return value
    except UnicodeDecodeError:
        raise MalformedRequestError("The body is not UTF-8 text; this endpoint reads JSON.") from None
    except json.JSONDecodeError as error:
        raise MalformedRequestError(
            f"The body is not valid JSON: {error.msg} at line {error.lineno}, column {error.colno}."
        ) from None
    except UnicodeEncodeError:
        raise MalformedRequestError("The body has half of a UTF-16 surrogate pair, which is no character.") from None
    except ValueError:  # an integer of thousands of digits
        raise MalformedRequestError("The body has a number with too many digits.") from None
    except RecursionError:
        raise MalformedRequestError("The body is nested too deeply.") from None


def read_body(body: bytes, content_type: str) -> dict[str, Any]:
    """The root object of a request body.

    Raises:
        UnsupportedMediaError: the content type says that it is not JSON.
        MalformedRequestError: not a JSON object.
    """
    kind = content_type.partition(";")[0].strip().lower()
    if kind not in ("", "application/json", "text/json", "application/x-www-form-urlencoded", MEDIA_TYPE):
        # curl -d without a header says "form-urlencoded" of whatever it sends
        raise UnsupportedMediaError(f"Content-Type {kind!r} is not read here; send application/json.")
    root = parse_json(body)
    if kind == MEDIA_TYPE:
        try:
            root = from_json(root)
        except RecursionError:
            raise MalformedRequestError("The body is nested too deeply.") from None
    if not isinstance(root, dict) or not all(isinstance(name, str) for name in root):
        raise MalformedRequestError('The body must be a JSON object like {"inputs": ..., "parameters": {...}}.')
    return root


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
        return Call([read_item(spec.inputs, inputs, parts, "inputs")], False, moved)
    if not inputs:
        raise InvalidInputError("`inputs` is an empty list.", "inputs")
    if len(inputs) > max_items:
        raise PayloadTooLargeError(f"`inputs` has {len(inputs)} items; at most {max_items} are taken.", "inputs")
    items = [read_item(spec.inputs, item, parts, f"inputs[{index}]") for index, item in enumerate(inputs)]
    return Call(items, True, moved)


def _strays(spec: TaskSpec, root: dict[str, Any], parameters: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Parts of the input found outside ``inputs``, and the parameters without them but with those at the root."""
    part_names = spec.inputs.names if isinstance(spec.inputs, Fields) else ()
    at_root = {name: value for name, value in root.items() if name not in _ROOT}
    parts = {name: value for name, value in (at_root | parameters).items() if name in part_names}
    moved = {name: value for name, value in (at_root | parameters).items() if name not in parts}
    moved.pop("model", None)  # InferenceClient repeats its URL here
    return parts, moved


def read_item(form: Form, value: Any, parts: dict[str, Any], path: str) -> Any:
    """One input in the pipeline's call form, completed by the ``parts`` of it that were found elsewhere.

    Raises:
        InvalidInputError: it is not what ``form`` says; names ``path``.
    """
    if parts and isinstance(form, Fields):
        if value is not None and not isinstance(value, dict):
            # a bare value stands for the first part that is not given apart
            absent = [name for name in form.names if name not in parts] or [form.names[0]]
            value = {absent[0]: value}
        value = {**parts, **(value or {})}
    read = form.read(value, path)
    if isinstance(form, Fields) and form.bare is not None and set(read) == {form.bare}:
        return read[form.bare]
    return read
