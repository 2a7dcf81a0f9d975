"""What transformers 4 pipelines did around ``generate`` and transformers 5 no longer does, for the picture tasks.

Behaviour of transformers 4.57, ``transformers/pipelines/base.py``. In: a pipeline whose upstream constructor has run.
"""

import copy
from typing import Any

from transformers import GenerationMixin
from transformers.pipelines.base import Pipeline


def honour_task_settings(pipe: Pipeline) -> None:
    """Take the settings that the model has for this task (``config.task_specific_params``).

    As in transformers 4 they stand above those given to ``pipeline()`` and below those of a call; the prefix is for
    text only.

    Args:
        pipe: changed in place if its model generates.
    """
    if pipe.model.can_generate():
        every_task = getattr(pipe.model.config, "task_specific_params", None) or {}
        settings = every_task.get(pipe.task) or {}
        pipe._generate_kwargs.update({name: value for name, value in settings.items() if name != "prefix"})


def generate_arguments(pipe: Pipeline, call: dict[str, Any]) -> dict[str, Any]:
    """Arguments of ``generate`` for one call: the call's, over those of ``pipeline()``, over the pipeline's defaults.

    A ``generate`` of the model's own (BLIP's) runs that of its text decoder, which knows nothing of the settings of the
    whole model: it gets them all in one configuration, as from transformers 4.

    Args:
        pipe: whose model generates.
        call: generation settings of the call.
    """
    arguments: dict[str, Any] = pipe._prepare_generate_kwargs(call)
    if type(pipe.model).generate is GenerationMixin.generate or "generation_config" in arguments:
        return arguments
    config = copy.deepcopy(pipe.model.generation_config)
    others = config.update(**arguments)
    return {**others, "generation_config": config}


def assistant(pipe: Pipeline) -> dict[str, Any]:
    """Arguments of ``generate`` for the model that drafts (``pipeline(assistant_model=...)``); empty without one."""
    found: dict[str, Any] = {}
    if getattr(pipe, "assistant_model", None) is not None:
        found["assistant_model"] = pipe.assistant_model
    if getattr(pipe, "assistant_tokenizer", None) is not None:
        found |= {"tokenizer": pipe.tokenizer, "assistant_tokenizer": pipe.assistant_tokenizer}
    return found
