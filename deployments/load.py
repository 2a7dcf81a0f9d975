"""Model configuration → a loaded ``transformers`` pipeline. No Ray import.

Loading stays upstream's: this file only translates our configuration into the arguments of ``pipeline()``, and mends
what was measured to go wrong there.
"""

import logging
import os
from dataclasses import dataclass
from typing import Any

from deployments.config import ModelConfig
from deployments.errors import ModelLoadError
from deployments.fake import FakePipeline
from deployments.infer_task import TaskInferenceError, default_model
from deployments.legacy import LEGACY_TASKS
from deployments.model_ref import ModelRef, ModelReferenceError, parse_model_ref
from deployments.tasks import TASKS

logger = logging.getLogger("pipeline_graph.load")

_BITS = {"8bit": "load_in_8bit", "4bit": "load_in_4bit"}


@dataclass(frozen=True)
class Loaded:
    """A pipeline and what it was made from."""

    pipe: Any
    ref: ModelRef | None


def resolve_model(config: ModelConfig) -> ModelRef:
    """Where ``config``'s model is: as given, or the default model of its task.

    Raises:
        ModelReferenceError: the reference cannot be read or leads nowhere.
    """
    if config.model is not None:
        return parse_model_ref(config.model, config.revision)
    name, revision = default_model(config.canonical_task, {task: row.default for task, row in LEGACY_TASKS.items()})
    logger.warning("no model given for %s: the default %s at %s is used", config.task, name, revision)
    return parse_model_ref(name, config.revision or revision)


def load(config: ModelConfig) -> Loaded:
    """Load the pipeline of ``config``.

    Raises:
        ModelLoadError: with the reason in one sentence; the log has the traceback.
    """
    try:
        if config.task == "fake":
            return Loaded(FakePipeline(**config.init), None)
        ref = resolve_model(config)
        return Loaded(_pipeline(config, ref), ref)
    except (ModelReferenceError, TaskInferenceError) as error:
        raise ModelLoadError(f"{config.name}: {error}") from None
    except Exception as error:
        logger.exception("loading %s failed", config.name)
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise ModelLoadError(
            f"{config.name}: {config.model or 'the default model'} cannot be loaded for {config.task}: {reason[0]}"
        ) from error


def _pipeline(config: ModelConfig, ref: ModelRef) -> Any:
    """Call ``transformers.pipeline``."""
    import transformers

    from deployments import legacy

    if TASKS[config.canonical_task].removed:
        legacy.register()
    arguments: dict[str, Any] = {
        "model": ref.name_or_path,
        "revision": ref.revision,
        "trust_remote_code": config.trust_remote_code,
        "model_kwargs": _model_kwargs(config, ref),
        "token": os.environ.get("HF_TOKEN"),
        "dtype": config.dtype,
        **{part: getattr(config, part) for part in _PARTS if getattr(config, part) is not None},
        **_placement(config),
        **config.init,
    }
    if ref.gguf_file is not None and "tokenizer" not in arguments:
        arguments["tokenizer"] = transformers.AutoTokenizer.from_pretrained(
            ref.name_or_path, revision=ref.revision, gguf_file=ref.gguf_file
        )
    if config.canonical_task == "decision":
        arguments |= _decision_model(arguments)
    return transformers.pipeline(task=config.task, **arguments)


_PARTS = ("tokenizer", "feature_extractor", "image_processor", "processor")


def _placement(config: ModelConfig) -> dict[str, Any]:
    """``device`` or ``device_map``; on its own, a GPU is taken only by a replica that reserved one."""
    if config.device_map is not None:
        return {"device_map": config.device_map}
    if config.quantization != "none":  # bitsandbytes places the model itself
        return {"device_map": {"": 0} if config.resources.num_gpus else "cpu"}
    if config.device not in (None, "auto"):
        return {"device": config.device}
    return {"device": None if config.resources.num_gpus else "cpu"}


def _model_kwargs(config: ModelConfig, ref: ModelRef) -> dict[str, Any]:
    """Keyword arguments of ``from_pretrained``."""
    kwargs = dict(config.model_kwargs)
    if ref.gguf_file is not None:
        kwargs["gguf_file"] = ref.gguf_file
    # transformers 5 no longer takes `load_in_8bit=True` itself
    bits = {key: kwargs.pop(key) for key in _BITS.values() if key in kwargs}
    if config.quantization != "none":
        bits[_BITS[config.quantization]] = True
    if any(bits.values()):
        from transformers import BitsAndBytesConfig

        kwargs["quantization_config"] = BitsAndBytesConfig(**bits)
    return kwargs


def _decision_model(arguments: dict[str, Any]) -> dict[str, Any]:
    """A chat model for the ``decision`` task, loaded here.

    Given only its name, ``pipeline("decision")`` first builds a decision head for chat models that have none: 7.9 B
    parameters for Qwen2 (transformers 5.23). A checkpoint that was saved with a head is left to upstream.
    """
    import transformers

    source, revision = arguments["model"], arguments["revision"]
    hub = {"revision": revision, "trust_remote_code": arguments["trust_remote_code"], "token": arguments["token"]}
    config = transformers.AutoConfig.from_pretrained(source, **hub)
    if any(name.endswith("ForDecision") for name in config.architectures or ()):
        return {}
    with_images = type(config) in transformers.models.auto.modeling_auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING
    auto = transformers.AutoModelForImageTextToText if with_images else transformers.AutoModelForCausalLM
    kwargs = arguments["model_kwargs"] | {"dtype": arguments["dtype"]}
    if "device_map" in arguments:
        kwargs["device_map"] = arguments.pop("device_map")
    loaded = {"model": auto.from_pretrained(source, **hub, **kwargs), "model_kwargs": {}}
    loaded["tokenizer"] = transformers.AutoTokenizer.from_pretrained(arguments.get("tokenizer", source), **hub)
    if with_images:
        loaded["processor"] = transformers.AutoProcessor.from_pretrained(source, **hub)
    return loaded
