"""JSON objects → pydantic models, mistakes as one sentence that names the field.

Fields of OpenAI that no model here honours are declared by no request model, and so are refused by name; those whose
value asks for nothing (null, or what `Body.idle` has) may be there, as clients send them.
"""

from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler, ValidationError, model_validator

from deployments.errors import InvalidParameterError

LABELS = frozenset({"user", "metadata", "safety_identifier", "prompt_cache_key", "prompt_cache_retention"})
"""Of the caller's own, which change no answer anywhere."""


Idle = dict[str, tuple[Any, ...]]
"""Fields that are not offered → their values that ask for nothing."""


class Body(BaseModel):
    """The body of a request, or an object in it."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, protected_namespaces=())

    idle: ClassVar[Idle] = {}

    @model_validator(mode="before")
    @classmethod
    def _without_idle(cls, value: Any) -> Any:
        """``value`` without what asks for nothing."""
        if not isinstance(value, dict):
            return value
        return {name: one for name, one in value.items() if one is not None and not _asks_nothing(cls, name, one)}

    @classmethod
    def __get_pydantic_json_schema__(cls, core: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Its JSON schema, with what is not offered as ``x-idle``."""
        found = handler(core)
        if cls.idle:
            handler.resolve_ref_schema(found)["x-idle"] = {name: list(values) for name, values in cls.idle.items()}
        return found


Read = TypeVar("Read", bound=Body)


def read(kind: type[Read], root: dict[str, Any]) -> Read:
    """``root`` as a ``kind``.

    Raises:
        InvalidParameterError: a field is missing, unknown, not offered, or has a wrong value; names it.
    """
    given = {name: value for name, value in root.items() if name not in LABELS}
    for name, value in given.items():
        if name in kind.idle and value is not None and not _asks_nothing(kind, name, value):
            raise InvalidParameterError(f"`{name}` is not offered here: leave it out.", name)
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        raise _refusal(error, kind, given) from None


def _asks_nothing(kind: type[Body], name: str, value: Any) -> bool:
    return any(type(value) is type(one) and value == one for one in kind.idle.get(name, ()))


def _refusal(error: ValidationError, kind: type[Body], root: dict[str, Any]) -> InvalidParameterError:
    """The mistake that lies deepest, as a sentence: of a value with several forms, that of the form that it means.

    Of those that lie as deep, what is wrong or too much tells more than what is missing.

    Nothing of the value that was sent is in it.
    """
    every = error.errors(include_url=False, include_context=False, include_input=False)
    first = max(every, key=lambda one: (len(one["loc"]), one["type"] != "missing", not one["type"].endswith("_type")))
    absent = first["type"] in ("missing", "extra_forbidden")
    path = _path(first["loc"], root, absent)
    said = first["msg"].removeprefix("Value error, ").rstrip(".")
    if first["type"] == "missing":
        return InvalidParameterError(f"`{path}` is missing.", path)
    if first["type"] == "extra_forbidden":
        known = f"; known: {', '.join(kind.model_fields)}" if len(first["loc"]) == 1 else ""
        return InvalidParameterError(f"`{path}` is unknown{known}.", path)
    return InvalidParameterError(f"`{path}` is wrong: {said[0].lower()}{said[1:]}.", path)


def _path(location: tuple[int | str, ...], value: Any, absent: bool) -> str:
    """Where in the body ``value``; pydantic puts names of the forms that a value may have between the keys.

    Args:
        location: as pydantic has it.
        value: the body.
        absent: whether the last key may not be there.
    """
    path = ""
    for place, part in enumerate(location):
        if isinstance(part, int):
            path += f"[{part}]"
            value = value[part] if isinstance(value, list) and part < len(value) else None
        elif isinstance(value, dict) and (part in value or (absent and place == len(location) - 1)):
            path += f".{part}"
            value = value.get(part)
    return path.lstrip(".")
