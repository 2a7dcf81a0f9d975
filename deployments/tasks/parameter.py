"""One parameter of a call: which values it has, what it means, and what holds where nobody sets it."""

from dataclasses import dataclass
from typing import Any

from deployments.tasks.forms import Form, Schema
from deployments.tasks.values import nullable


@dataclass(frozen=True)
class Parameter:
    """A row of the parameter tables.

    Args:
        values: what it may be, apart from null.
        meaning: a sentence, without its full stop.
        default: what the pipeline takes where neither the call nor the configuration sets it; None where the model
            decides, or where it is as if there were no such parameter.
        null: whether null is the same as leaving it out (default), or refused.
    """

    values: Form
    meaning: str
    default: Any = None
    null: bool = True

    @property
    def form(self) -> Form:
        """What a caller may send."""
        return nullable(self.values) if self.null else self.values

    def schema(self) -> Schema:
        """`form` with the meaning and the default."""
        default = {} if self.default is None else {"default": self.default}
        return {**_flat(self.form.schema()), "description": f"{self.meaning}.", **default}


def _flat(schema: Schema) -> Schema:
    """``{"type": ["integer", "null"], ...}`` for an integer or null, as long as nothing else is said of it."""
    parts = schema.get("anyOf", [])
    if len(parts) == 2 and parts[1] == {"type": "null"} and "type" in parts[0] and "enum" not in parts[0]:
        return {**parts[0], "type": [parts[0]["type"], "null"]}
    if len(parts) == 2 and parts[1] == {"type": "null"} and "anyOf" in parts[0]:
        return {"anyOf": [*parts[0]["anyOf"], parts[1]]}
    return schema
