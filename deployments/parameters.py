"""Which call parameters a task takes, and refusing the others by name.

Generation settings are the fields of transformers' ``GenerationConfig``: plain data. What ``generate`` takes beyond it
(callables, other models, code from a repository) never comes from a caller.
"""

import difflib
import functools
from collections.abc import Mapping
from typing import Any

from deployments.errors import InvalidInputError, InvalidParameterError
from deployments.tasks import TaskSpec

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
# keys of nested tokenizer or processor arguments that would run a template of the caller's
_FORBIDDEN_NESTED = frozenset({"chat_template", "trust_remote_code", "custom_generate"})


@functools.cache
def generation_names() -> frozenset[str]:
    """Names of the generation settings that a caller may send."""
    from transformers import GenerationConfig

    return frozenset(name for name in vars(GenerationConfig()) if not name.startswith("_")) - _NOT_FOR_CALLERS


def accepted_names(spec: TaskSpec) -> frozenset[str]:
    """Every parameter name that a call of ``spec``'s task may carry."""
    return spec.parameters | (spec.generation_extra | generation_names() if spec.generates else frozenset())


def merge_parameters(
    spec: TaskSpec, accepted: frozenset[str], defaults: Mapping[str, Any], given: Mapping[str, Any]
) -> dict[str, Any]:
    """Configured ``defaults`` overridden by ``given`` for one call.

    Raises:
        InvalidParameterError: a name is unknown (the message has the nearest valid one) or a required one is missing.
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
    return merged


def _check_nested(spec: TaskSpec, accepted: frozenset[str], given: Mapping[str, Any]) -> None:
    """Refuse names inside ``generate_kwargs`` and its kin that are no generation settings."""
    allowed = generation_names() | spec.generation_extra
    for name, value in given.items():
        if not isinstance(value, dict):
            continue
        path = f"parameters.{name}"
        for key in value:
            if key in _FORBIDDEN_NESTED:
                raise InvalidParameterError(f"`{path}.{key}` cannot be set by a caller.", f"{path}.{key}")
            if name in spec.generation_dicts and key not in allowed:
                raise _unknown(key, allowed, f"{path}", f"{path}.{key}")


def _unknown(name: str, known: frozenset[str], owner: str, path: str) -> InvalidParameterError:
    near = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.5)
    few = ", ".join(sorted(known)[:20])
    hint = f"did you mean `{near[0]}`?" if near else f"known: {few or 'none'}."
    return InvalidParameterError(f"`{path}` is unknown to {owner}; {hint}", path)
