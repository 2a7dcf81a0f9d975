"""Builders of JSON Schema (draft 2020-12), so that a schema reads like the value that it describes."""

from collections.abc import Sequence

from deployments.tasks.forms import Schema

STRING: Schema = {"type": "string"}
INTEGER: Schema = {"type": "integer"}
POSITION: Schema = {"type": "integer", "minimum": 0}
ANY: Schema = {}


def ref(name: str) -> Schema:
    """A schema that stands among the components."""
    return {"$ref": f"#/components/schemas/{name}"}


def closed(optional: dict[str, Schema] | None = None, /, **required: Schema) -> Schema:
    """An object with these keys, of which those in ``optional`` may be absent, and no others."""
    return {
        "type": "object",
        "properties": {**required, **(optional or {})},
        "required": [*required],
        "additionalProperties": False,
    }


def listed(items: Schema, **bounds: int) -> Schema:
    """A list of ``items``."""
    return {"type": "array", "items": items, **bounds}


def any_of(*schemas: Schema) -> Schema:
    """One of these."""
    return {"anyOf": [*schemas]}


def either(names: Sequence[str]) -> Schema:
    """One of the components of these names."""
    return ref(names[0]) if len(names) == 1 else any_of(*map(ref, names))


def file(media_type: str) -> Schema:
    """A whole file in base64."""
    return {"type": "string", "contentEncoding": "base64", "contentMediaType": media_type}
