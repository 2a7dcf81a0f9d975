"""Named values that are text (a query, a form) → the root object that the same call has in JSON."""

from collections.abc import Iterable
from typing import Any

from deployments.errors import InvalidParameterError, MalformedRequestError
from deployments.tasks import TaskSpec
from deployments.tasks.arguments import parameters_of
from deployments.tasks.compound import Chat, Fields, ListOf, Texts
from deployments.tasks.forms import Form, Labels, MediaOf, Text, Words
from deployments.tasks.values import String
from graph.decode import ROOT
from graph.json_body import parse_json
from graph.parts import part_forms


def read_fields(spec: TaskSpec, fields: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """The root object of ``fields``: parts of the input by their names, ``inputs``, and everything else as parameters.

    A value is read as JSON where it is JSON, else it is a string; where the task wants a string, it always is one.
    Several values of one name are a list. ``parameters`` may hold an object of more.

    Args:
        spec: the task.
        fields: names with text, `Media`, or a value that is read already.

    Raises:
        InvalidParameterError: ``parameters`` is not an object, or a name stands in it and beside it.
    """
    values: dict[str, list[Any]] = {}
    for name, value in fields:
        values.setdefault(name, []).append(value)
    forms, known = part_forms(spec.inputs), parameters_of(spec)
    root: dict[str, Any] = {}
    parameters: dict[str, Any] = {}
    for name, given in values.items():
        form = spec.inputs if name == "inputs" else forms.get(name, known[name].values if name in known else None)
        read = [_value(form, value) for value in given]
        if isinstance(forms.get(name), MediaOf) and len(read) > 1:  # an input each, which the other parts are common to
            root = merge(root, {"inputs": [{name: value} for value in read]})
        elif name in forms or name in ROOT:
            root = merge(root, {name: read[0] if len(read) == 1 else read})
        else:
            parameters[name] = read[0] if len(read) == 1 else read
    return merge(root, {"parameters": parameters}) if parameters else root


def merge(root: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """Both in one; ``parameters`` too.

    Raises:
        InvalidParameterError: ``parameters`` is not an object, or a parameter is given twice.
        MalformedRequestError: anything else is given twice.
    """
    twice = sorted((root.keys() & more.keys()) - {"parameters"})
    if twice:
        raise MalformedRequestError(f"`{twice[0]}` is given twice.", twice[0])
    both = [one.get("parameters") or {} for one in (root, more)]
    if not all(isinstance(parameters, dict) for parameters in both):
        raise InvalidParameterError("`parameters` must be an object.", "parameters")
    again = sorted((root.keys() | both[0].keys()) & both[1].keys())
    if again:
        raise InvalidParameterError(f"`parameters.{again[0]}` is given twice.", f"parameters.{again[0]}")
    return {**root, **more, "parameters": {**both[0], **both[1]}}


def _value(form: Form | None, value: Any) -> Any:
    """``value`` as JSON, if it is text and ``form`` lets it be more than a string."""
    if not isinstance(value, str) or isinstance(form, Text | String | MediaOf):
        return value
    try:
        read = parse_json(value.encode())
    except (MalformedRequestError, UnicodeEncodeError):
        return value
    # what may be a string is one, unless it is written as a list or an object
    string = isinstance(form, Labels | Words | Texts | ListOf | Chat | Fields) and not isinstance(read, list | dict)
    return value if string else read
