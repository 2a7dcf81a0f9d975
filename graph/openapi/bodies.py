"""The bodies of a call, by task: every media type that ``graph/body.py`` reads, and the query beside it."""

from collections.abc import Sequence
from typing import Any

from deployments.tasks import TaskSpec
from deployments.tasks.compound import Chat, Fields
from deployments.tasks.forms import Form, Json, MediaOf, Schema, Text, Words
from graph.accept import JSON
from graph.openapi.build import STRING, any_of, either, listed, ref
from graph.openapi.examples import example_request
from graph.openapi.raw import RAW
from graph.openapi.requests import title
from graph.parts import files_of, part_forms

_BINARY: Schema = {"description": "The file."}


def request_content(spec: TaskSpec, also: Sequence[TaskSpec] = ()) -> Schema:
    """Media type → what a body of it holds; in JSON, of the tasks ``also`` served at the same place too."""
    example = example_request(spec)
    shown: Schema = {} if example is None else {"example": example}
    files = files_of(spec.inputs)
    content: Schema = {
        JSON: {"schema": either([f"{title(one)}Request" for one in (spec, *also)]), **shown},
        RAW: {"schema": ref("RawRequest"), **shown},
        **{f"{kind}/*": {"schema": _BINARY} for kind in files},
        **({"application/octet-stream": {"schema": _BINARY}} if files else {}),
        "multipart/form-data": {"schema": ref(f"{title(spec)}Form")},
        "application/x-www-form-urlencoded": {"schema": ref(f"{title(spec)}Form")},
    }
    return {**content, "text/plain": {"schema": STRING}} if _is_text(spec.inputs) else content


def _is_text(form: Form) -> bool:
    """Whether a string alone can be an input, or the first part of one whose others are in the query."""
    if isinstance(form, Chat):
        return _is_text(form.otherwise)
    if isinstance(form, Fields):
        return _is_text({**form.required, **form.optional}[form.bare or form.names[0]])
    return isinstance(form, Text | Words | MediaOf | Json) or type(form).__name__ == "ListOf"


def form_schema(spec: TaskSpec) -> Schema:
    """The fields of a form: parts of the input, files among them, and parameters by their names."""
    file = {"file": any_of(_BINARY, listed(_BINARY))} if files_of(spec.inputs) else {}
    return {"type": "object", "properties": {**_fields(spec), **file}, "additionalProperties": {}}


def query(spec: TaskSpec) -> Schema:
    """The same names in the query, where no form is sent."""
    return {
        "name": "fields",
        "in": "query",
        "description": "Parts of the input and parameters by their names, each value as JSON or as a string; beside a "
        "body that has no such name.",
        "style": "form",
        "explode": True,
        "schema": {"type": "object", "properties": _fields(spec), "additionalProperties": {}},
    }


def _fields(spec: TaskSpec) -> dict[str, Any]:
    names = ("inputs", *part_forms(spec.inputs), *spec.required)
    fields = {name: {"description": "A string, or JSON as text."} for name in names}
    return {**fields, "parameters": {"description": "A JSON object of more."}}
