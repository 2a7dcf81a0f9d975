"""Filling in what the configuration leaves out: tasks inferred from models, names from tasks."""

from collections import Counter
from typing import Any

from pydantic import ValidationError

from deployments.config import GroupConfig, ModelConfig
from deployments.errors import ConfigError, InvalidParameterError
from deployments.parameters import accepted_names, merge_parameters
from deployments.tasks import TASKS, TaskSpec
from graph.config import GraphConfig, read_config


def configure(args: dict[str, Any]) -> GraphConfig:
    """Read ``args`` of the application and fill in what they leave out.

    Raises:
        ConfigError: every mistake at its path: keys, values and default parameters alike.
    """
    try:
        config = read_config(args)
    except ConfigError as error:
        raise ConfigError(error.message, (*error.mistakes, *_parameters_of_sound_models(args))) from None
    return resolve(config)


def _parameters_of_sound_models(args: dict[str, Any]) -> list[str]:
    """Mistakes in the default parameters of those models that have no others."""
    mistakes = []
    models = args.get("models")
    for index, item in enumerate(models if isinstance(models, list) else []):
        try:
            model = ModelConfig.model_validate(item)
        except ValidationError:
            continue
        if model.task is not None:
            mistakes += _wrong_parameters(model, f"args.models[{index}]")
    return mistakes


def resolve(config: GraphConfig) -> GraphConfig:
    """``config`` with the task and name of every model set, and the default parameters checked.

    Raises:
        ConfigError: a task cannot be inferred, a default parameter is unknown, or two models end up with one name.
    """
    mistakes: list[str] = []
    models: list[ModelConfig] = []
    for index, model in enumerate(config.models):
        path = f"args.models[{index}]"
        try:
            models.append(_with_name(_with_task(model)))
        except ValueError as error:
            mistakes.append(f"{path}.model: {str(error).rstrip('.')}; or name the task with `task:`.")
            continue
        mistakes += _wrong_parameters(models[-1], path)
        if model.group is not None:
            mistakes += _wrong_in_group(model, path)
            models[-1] = _in_group(models[-1], config.groups[model.group])
    twice = [name for name, count in Counter(model.name for model in models).items() if count > 1]
    mistakes += [f"args.models: two models are called {name}: give each its own `name`." for name in twice]
    if mistakes:
        raise ConfigError("The configuration has mistakes:", tuple(mistakes))
    return config.model_copy(update={"models": models})


def _with_task(model: ModelConfig) -> ModelConfig:
    if model.task is not None:
        return model
    # imported late: transformers takes seconds, and most configurations name their tasks
    from deployments.infer_task import infer_task
    from deployments.model_ref import parse_model_ref

    assert model.model is not None
    return model.model_copy(update={"task": infer_task(parse_model_ref(model.model, model.revision))})


def _with_name(model: ModelConfig) -> ModelConfig:
    return model if model.name is not None else model.model_copy(update={"name": model.task})


def _wrong_in_group(model: ModelConfig, path: str) -> list[str]:
    """Mistakes of a model that shares replicas."""
    kept = [key for key in ("scale", "resources") if key in model.model_fields_set]
    mistakes = [f"{path}.{key}: is that of its replicas: give `groups.{model.group}.{key}`." for key in kept]
    if model.tp_plan is not None:
        mistakes.append(f"{path}.tp_plan: takes the GPUs of a replica for itself: leave out `group`.")
    return mistakes


def _in_group(model: ModelConfig, group: GroupConfig) -> ModelConfig:
    """``model`` with what its replicas have; GPUs only where the group says so."""
    resources = group.resources.model_copy(update={"num_gpus": group.resources.num_gpus or 0.0})
    return model.model_copy(update={"scale": group.scale, "resources": resources})


def _wrong_parameters(model: ModelConfig, path: str) -> list[str]:
    """Mistakes in the default parameters."""
    spec = TASKS[model.canonical_task]
    optional = {name: spec.example_parameters.get(name) for name in spec.required}
    mistakes = []
    for name, value in model.parameters.items():
        mistakes += _wrong_values(spec, optional, {name: value}, path)
    for voice, values in model.voices.items():
        mistakes += _wrong_values(spec, optional, values, f"{path}.voices.{voice}")
    if model.voices and spec.name != "text-to-audio":
        mistakes.append(f"{path}.voices: a model of {spec.name} has no voices.")
    return mistakes


def _wrong_values(spec: TaskSpec, optional: dict[str, Any], given: dict[str, Any], path: str) -> list[str]:
    """What is wrong with parameters that stand in the configuration."""
    try:
        merge_parameters(spec, accepted_names(spec), optional, given)
    except InvalidParameterError as error:
        return [f"{path}.{error.field}: {error.message.rstrip('.')}."]
    return []
