"""Filling in what the configuration leaves out: tasks inferred from models, names from tasks."""

from collections import Counter
from typing import Any

from pydantic import ValidationError

from deployments.config import ModelConfig
from deployments.errors import ConfigError, InvalidParameterError
from deployments.parameters import accepted_names, merge_parameters
from deployments.tasks import TASKS
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


def _wrong_parameters(model: ModelConfig, path: str) -> list[str]:
    """Mistakes in the default parameters."""
    spec = TASKS[model.canonical_task]
    optional = {name: spec.example_parameters.get(name) for name in spec.required}
    mistakes = []
    for name, value in model.parameters.items():
        try:
            merge_parameters(spec, accepted_names(spec), optional, {name: value})
        except InvalidParameterError as error:
            mistakes.append(f"{path}.{error.field}: {error.message.rstrip('.')}.")
    return mistakes
