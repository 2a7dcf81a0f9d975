"""Where in an input of a task its files and its named parts stand; read off the task's form."""

from collections.abc import Mapping

from deployments.payload import MediaKind
from deployments.tasks.compound import Chat, Fields, ListOf, Pair
from deployments.tasks.forms import Form, MediaOf


def fields_of(form: Form) -> Fields | None:
    """The form as an object of named parts, where an input may be that."""
    if isinstance(form, Chat):
        return fields_of(form.otherwise)
    return form if isinstance(form, Fields) else None


def part_forms(form: Form) -> Mapping[str, Form]:
    """Name of each part → its form; empty where an input has no parts."""
    fields = fields_of(form)
    return {} if fields is None else {**fields.required, **fields.optional}


def media_of(form: Form) -> MediaKind | None:
    """The kind of file that ``form`` itself is, or is a list of."""
    if isinstance(form, Pair | ListOf):
        return media_of(form.form)
    return form.kind if isinstance(form, MediaOf) else None


def files_of(form: Form) -> dict[MediaKind, str]:
    """Kind of file that an input takes → the part that it is; ``inputs`` where it is the input itself."""
    whole = media_of(form)
    if whole is not None:
        return {whole: "inputs"}
    parts = {media_of(part): name for name, part in part_forms(form).items()}
    return {kind: name for kind, name in parts.items() if kind is not None}
