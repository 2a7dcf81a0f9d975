"""Task ↔ model, when the configuration names only one of them.

The default model of a task comes from the table inside transformers. The task of a model comes from its
``pipeline_tag`` on the hub; without a hub, from the ``architectures`` of its config, looked up in transformers' own
tables of model classes. Where that leaves several tasks, the error names them: a guess would serve the wrong thing.
"""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from deployments.model_ref import ModelRef
from deployments.tasks import ALIASES, TASKS

_SEQ2SEQ = frozenset({"text2text-generation", "summarization", "translation"})
_BASE = frozenset({"feature-extraction", "image-feature-extraction", "zero-shot-audio-classification"})
_TRANSLATES = ("MarianMTModel", "M2M100ForConditionalGeneration", "FSMTForConditionalGeneration")
_CAPTIONS = ("VisionEncoderDecoderModel", "BlipForConditionalGeneration", "GitForCausalLM")
# A model of the task on the left also stands in the tables of those on the right, and is hardly meant for them.
_SHADOWS: dict[str, frozenset[str]] = {
    "image-text-to-text": _SEQ2SEQ | {"any-to-any", "text-generation", "decision", "zero-shot-image-classification"},
    "any-to-any": _SEQ2SEQ | {"text-generation", "decision", "automatic-speech-recognition"},
    "text-generation": frozenset({"decision", "fill-mask"}),
    "document-question-answering": frozenset({"question-answering"}),
    "table-question-answering": frozenset({"question-answering"}) | _SEQ2SEQ,
    "text2text-generation": frozenset({"fill-mask", "text-generation", "decision"}),
    "automatic-speech-recognition": _SEQ2SEQ | {"text-generation", "decision", "fill-mask"},
    "text-to-audio": _SEQ2SEQ | {"text-generation", "decision", "automatic-speech-recognition", "any-to-any"},
}
# tags of the hub that mean a task under another name here
_TAGS = {"sentence-similarity": "feature-extraction", "audio-text-to-text": "any-to-any"}


class TaskInferenceError(ValueError):
    """Raised when the task of a model cannot be told; the message says what to do."""


class AmbiguousTaskError(TaskInferenceError):
    """Raised when a model could serve several tasks; the message names them."""


def default_model(task: str, extra: Mapping[str, tuple[str, str]] | None = None) -> tuple[str, str | None]:
    """Hub id and revision of a task's default model, from ``transformers.pipelines.SUPPORTED_TASKS``.

    Args:
        task: canonical name.
        extra: defaults of tasks that are not in that table.

    Raises:
        TaskInferenceError: the task has none.
    """
    from transformers.pipelines import SUPPORTED_TASKS

    if extra and task in extra:
        return extra[task]
    found: Any = SUPPORTED_TASKS.get(task, {}).get("default", {}).get("model")
    if isinstance(found, dict):  # any-to-any, alone, has {"pt": (id, revision)}
        found = found.get("pt")
    if not found:
        raise TaskInferenceError(f"{task} has no default model: give one with `model:`")
    name, revision = found
    return str(name), revision


def infer_task(ref: ModelRef, token: str | None = None) -> str:
    """The task of a model.

    Raises:
        AmbiguousTaskError: its architecture serves several.
        TaskInferenceError: nothing tells it.
    """
    if ref.gguf_file is not None:
        return "text-generation"
    if ref.is_local:
        folder = Path(ref.name_or_path)
        if (folder / "modules.json").is_file():  # a sentence-transformers model
            return "feature-extraction"
        return task_of_config(json.loads((folder / "config.json").read_text()), ref.source)
    return _task_on_hub(ref, token)


def _task_on_hub(ref: ModelRef, token: str | None) -> str:
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    try:
        info = huggingface_hub.model_info(ref.name_or_path, revision=ref.revision, token=token)
    except (HfHubHTTPError, OfflineModeIsEnabled, OSError) as error:
        cached = huggingface_hub.try_to_load_from_cache(ref.name_or_path, "config.json", revision=ref.revision)
        if isinstance(cached, str):
            return task_of_config(json.loads(Path(cached).read_text()), ref.source)
        raise TaskInferenceError(
            f"the task of {ref.source} cannot be told: the hub does not answer ({type(error).__name__}) and its "
            "config is not in the local cache"
        ) from None
    library = getattr(info, "library_name", None) or "transformers"
    if library not in ("transformers", "timm", "sentence-transformers"):
        raise TaskInferenceError(f"{ref.source} is a model for {library}, not for transformers")
    tag = info.pipeline_tag
    if not tag:
        raise TaskInferenceError(f"the hub does not say the task of {ref.source}")
    task = ALIASES.get(tag, _TAGS.get(tag, tag))
    if task not in TASKS:
        raise TaskInferenceError(f"the hub says that {ref.source} is for {tag}, which is not a pipeline task")
    return str(task)


def task_of_config(config: Mapping[str, Any], source: str) -> str:
    """The task of a model with this ``config.json``.

    Raises:
        AmbiguousTaskError, TaskInferenceError: see `infer_task`.
    """
    architecture = next(iter(config.get("architectures") or ()), None)
    if architecture is None:
        raise TaskInferenceError(f"the config of {source} names no architecture to tell its task by")
    candidates = _candidates(str(architecture), config)
    if not candidates:
        raise TaskInferenceError(f"{architecture}, the architecture of {source}, belongs to no pipeline task")
    if len(candidates) > 1:
        raise AmbiguousTaskError(f"{source} ({architecture}) could serve {', '.join(sorted(candidates))}")
    return next(iter(candidates))


def _candidates(architecture: str, config: Mapping[str, Any]) -> set[str]:
    """Tasks that a model class serves, without those it merely could."""
    if architecture in _TRANSLATES:
        return {"translation"}
    if architecture.startswith("Pegasus"):
        return {"summarization"}
    if architecture in _CAPTIONS or architecture.startswith("Pix2Struct"):
        return {"image-to-text"}
    if architecture.endswith("ForDecision"):
        return {"decision"}
    found = {task for task, classes in _classes_by_task().items() if architecture in classes}
    found -= {shadowed for task in found for shadowed in _SHADOWS.get(task, ())}
    if "zero-shot-classification" in found and not _has_entailment(config):
        found.discard("zero-shot-classification")
    specific = found - _BASE
    return specific or _by_modality(architecture, config, found)


def _has_entailment(config: Mapping[str, Any]) -> bool:
    """Whether the model was trained on entailment, as zero-shot classification needs."""
    return any(str(label).lower().startswith("entail") for label in (config.get("label2id") or ()))


def _by_modality(architecture: str, config: Mapping[str, Any], found: set[str]) -> set[str]:
    """What a model without a head gives: features of text or of images."""
    if not found:
        return set()
    if architecture.startswith("Clap"):
        return {"zero-shot-audio-classification"}
    if "vocab_size" in config:
        return {"feature-extraction"}
    return {"image-feature-extraction"} if {"image_size", "num_channels", "patch_size"} & set(config) else set()


@cache
def _classes_by_task() -> dict[str, frozenset[str]]:
    """Names of the model classes of each task: upstream's ``pt`` entries, and those of the removed tasks."""
    from transformers.models.auto import modeling_auto as auto
    from transformers.pipelines import SUPPORTED_TASKS

    mappings = {task: [cls._model_mapping._model_mapping for cls in row["pt"]] for task, row in SUPPORTED_TASKS.items()}
    mappings["question-answering"] = [auto.MODEL_FOR_QUESTION_ANSWERING_MAPPING_NAMES]
    mappings["visual-question-answering"] = [auto.MODEL_FOR_VISUAL_QUESTION_ANSWERING_MAPPING_NAMES]
    mappings["image-to-image"] = [auto.MODEL_FOR_IMAGE_TO_IMAGE_MAPPING_NAMES]
    mappings["image-segmentation"] += [  # upstream's AutoModelForImageSegmentation falls back to these
        auto.MODEL_FOR_INSTANCE_SEGMENTATION_MAPPING_NAMES,
        auto.MODEL_FOR_UNIVERSAL_SEGMENTATION_MAPPING_NAMES,
    ]
    for task in _SEQ2SEQ:
        mappings[task] = [auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES]
    return {task: frozenset(_flat(tables)) for task, tables in mappings.items()}


def _flat(tables: list[Mapping[str, Any]]) -> list[str]:
    return [
        name
        for table in tables
        for entry in table.values()
        for name in (entry if isinstance(entry, tuple | list) else (entry,))
    ]
