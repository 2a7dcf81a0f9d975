"""Which call parameters a task takes, and refusing the others by name.

Generation settings are the fields of transformers' ``GenerationConfig``: plain data. What ``generate`` takes beyond it
(callables, other models, code from a repository) never comes from a caller.
"""

import difflib
import functools
import re
from collections.abc import Mapping
from typing import Any

from deployments.errors import InvalidInputError, InvalidParameterError
from deployments.tasks import TaskSpec
from deployments.tasks.arguments import check

# fields of GenerationConfig that are not settings of one call
_NOT_FOR_CALLERS = frozenset(
    {
        "transformers_version",
        "compile_config",
        "cache_implementation",
        "cache_config",
        "disable_compile",
        "return_dict_in_generate",
        "continuous_batching_config",
    }
)
# keys of nested tokenizer or processor arguments that would run code or a template of the caller's
_FORBIDDEN_NESTED = frozenset({"chat_template", "trust_remote_code", "custom_generate"})
# what becomes part of the command line of the program tesseract, which can write files
_COMMAND_LINE = {
    "lang": (re.compile(r"\w{1,40}(\+\w{1,40}){0,20}", re.ASCII), "languages of tesseract like 'eng' or 'eng+deu'"),
    "tesseract_config": (re.compile(r"( *--(psm|oem) +\d{1,2})* *"), "of the form '--psm N --oem N'"),
}


@functools.cache
def generation_names() -> frozenset[str]:
    """Names of the generation settings that a caller may send."""
    from transformers import GenerationConfig

    return frozenset(name for name in vars(GenerationConfig()) if not name.startswith("_")) - _NOT_FOR_CALLERS


def accepted_names(spec: TaskSpec) -> frozenset[str]:
    """Every parameter name that a call of ``spec``'s task may carry."""
    return (
        spec.parameters | spec.added | (spec.generation_extra | generation_names() if spec.generates else frozenset())
    )


def merge_parameters(
    spec: TaskSpec, accepted: frozenset[str], defaults: Mapping[str, Any], given: Mapping[str, Any]
) -> dict[str, Any]:
    """Configured ``defaults`` overridden by ``given`` for one call.

    Raises:
        InvalidParameterError: a name is unknown (the message has the nearest valid one), a required one is missing, or
            a value is none that the parameter has.
    """
    for name in given:
        if name not in accepted:
            raise _unknown(name, accepted, spec.name, f"parameters.{name}")
    merged = {**defaults, **given}
    for name, form in spec.required.items():
        if merged.get(name) is None:
            raise InvalidParameterError(f"`parameters.{name}` is missing: {spec.name} needs it.", f"parameters.{name}")
        try:
            merged[name] = form.read(merged[name], f"parameters.{name}")
        except InvalidInputError as error:
            raise InvalidParameterError(error.message, error.field) from None
    _check_nested(spec, accepted, given)
    _check_values(spec, given)
    return merged


def _check_values(spec: TaskSpec, given: Mapping[str, Any]) -> None:
    """Refuse values of a wrong type or out of range, which the pipeline would stumble over somewhere."""
    try:
        check(spec, {name: value for name, value in given.items() if name not in spec.required})
    except InvalidInputError as error:
        raise InvalidParameterError(error.message, error.field) from None


def _check_nested(spec: TaskSpec, accepted: frozenset[str], given: Mapping[str, Any]) -> None:
    """Refuse values that would run something, and names inside ``generate_kwargs`` that are no generation settings."""
    allowed = generation_names() | spec.generation_extra
    for name, value in given.items():
        path = f"parameters.{name}"
        _check_command_line(spec, name, value, path)
        _check_keys(value, path)
        for key in value if isinstance(value, dict) and name in spec.generation_dicts else ():
            if key not in allowed:
                raise _unknown(key, allowed, f"{path}", f"{path}.{key}")


def _check_keys(value: Any, path: str) -> None:
    """Refuse keys that bring code, at any depth."""
    if isinstance(value, list | tuple):
        for part in value:
            _check_keys(part, path)
    elif isinstance(value, dict):
        for key, part in value.items():
            if key in _FORBIDDEN_NESTED:
                raise InvalidParameterError(f"`{path}.{key}` cannot be set by a caller.", f"{path}.{key}")
            _check_keys(part, f"{path}.{key}")


def _check_command_line(spec: TaskSpec, name: str, value: Any, path: str) -> None:
    if spec.name != "document-question-answering" or name not in _COMMAND_LINE or value is None:
        return
    pattern, says = _COMMAND_LINE[name]
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise InvalidParameterError(f"`{path}` must be {says}.", path)


def _unknown(name: Any, known: frozenset[str], owner: str, path: str) -> InvalidParameterError:
    name, path = str(name)[:100], path[:200]  # a typed body has keys of any kind
    near = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.5)
    few = ", ".join(sorted(known)[:20])
    hint = f"did you mean `{near[0]}`?" if near else f"known: {few or 'none'}."
    return InvalidParameterError(f"`{path}` is unknown to {owner}; {hint}", path)
