"""Task ↔ model, when the configuration names only one of them.

The default model of a task comes from the table inside transformers. The task of a model comes from its
``pipeline_tag`` on the hub; without a hub, from the ``architectures`` of its config, looked up in transformers' own
tables of model classes. Where that leaves several tasks, the error names them: a guess would serve the wrong thing.
No torch, no transformers until a function is called.

    TaskInferenceError
    ├── AmbiguousTaskError      the model could serve several tasks
    └── UnknownTaskError        nothing tells the task, or none here serves the model
"""

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, cast

from deployments.legacy import LEGACY_TASKS
from deployments.model_ref import ModelRef, gguf_architecture, read_config
from deployments.tasks import canonical_task

_SEQ2SEQ = frozenset({"text2text-generation", "summarization", "translation"})
_BASE = frozenset({"feature-extraction", "image-feature-extraction", "zero-shot-audio-classification"})
_ALSO_TEXT = _SEQ2SEQ | {"text-generation", "decision", "fill-mask"}
# A model of the task on the left also stands in the tables of those on the right, and is hardly meant for them.
# Chat models that take images are any-to-any models too: the narrower name. Those that take or give sound keep the
# wider one, as the pipelines of speech pass them no prompt.
_SHADOWS: dict[str, frozenset[str]] = {
    "image-text-to-text": frozenset({"any-to-any", "image-to-text", "visual-question-answering"}),
    "any-to-any": _ALSO_TEXT | {"automatic-speech-recognition", "text-to-audio"},
    "text-generation": _SEQ2SEQ | {"decision"},
    "text2text-generation": frozenset({"fill-mask"}),
    "text-to-audio": frozenset({"automatic-speech-recognition"}),
    "document-question-answering": frozenset({"question-answering"}),
}
# class names that upstream's tables lump together with others, and the task that the hub has for them
_BY_NAME = {
    "translation": r"MarianMT|(M2M100|FSMT|NllbMoe)For|SeamlessM4T(v2)?ForTextToText",
    "summarization": "(Pegasus|PegasusX|BigBirdPegasus)ForConditionalGeneration",
    "image-to-text": "VisionEncoderDecoder|GitFor|(Blip|Pix2Struct)ForConditionalGeneration",
    "fill-mask": "(Albert|Bert|BigBird|Ernie|FNet|MegatronBert|MobileBert|RoCBert)ForPreTraining",
    "": "(Dia|Pop2Piano)For",  # in the table of speech recognition, and neither writes text
}
# tags of the hub that mean a task under another name here
_TAGS = {
    "sentence-similarity": "feature-extraction",
    "text-ranking": "text-classification",
    "audio-text-to-text": "any-to-any",
    "video-text-to-text": "any-to-any",
}
# upstream's get_task takes the first two; sentence-transformers models are transformers models with a pooling step
_LIBRARIES = ("transformers", "timm", "sentence-transformers")


class TaskInferenceError(ValueError):
    """Raised when the task of a model, or the model of a task, cannot be told; the message says what to do."""


class AmbiguousTaskError(TaskInferenceError):
    """Raised when a model could serve several tasks; the message names them."""


class UnknownTaskError(TaskInferenceError):
    """Raised when nothing tells the task of a model, or when no task here serves it."""


def default_model(task: str, extra: Mapping[str, tuple[str, str | None]] | None = None) -> tuple[str, str | None]:
    """Hub id and revision of a task's default model, from ``transformers.pipelines.SUPPORTED_TASKS``.

    Args:
        task: canonical name.
        extra: defaults of tasks that are not in that table; they come first.

    Raises:
        UnknownTaskError: it has none.
    """
    from transformers.pipelines import SUPPORTED_TASKS

    if extra and task in extra:
        return extra[task]
    found: Any = SUPPORTED_TASKS.get(task, {}).get("default", {}).get("model")
    if isinstance(found, dict):  # any-to-any, alone, has {"pt": (id, revision)}
        found = found.get("pt")
    if not found:
        raise UnknownTaskError(f"{task} has no default model: give one with `model:`")
    name, revision = found
    return str(name), revision


def infer_task(ref: ModelRef, token: str | None = None) -> str:
    """The task of a model; may ask the hub.

    Args:
        ref: the model; not loaded.
        token: for the hub (default: ``HF_TOKEN`` or the one of ``hf auth login``).

    Raises:
        AmbiguousTaskError: its architecture serves several.
        UnknownTaskError: nothing tells it, or no task here serves it.
        ModelReferenceError: its config or GGUF file cannot be read.
    """
    if ref.gguf_file is not None:
        return _task_of_gguf(ref)
    if ref.is_local:
        return _task_of_folder(Path(ref.name_or_path), ref.source)
    return _task_on_hub(ref, token)


def _task_of_gguf(ref: ModelRef) -> str:
    """Text generation, unless the file is here and holds an encoder-decoder; transformers reads no other kinds."""
    from transformers.models.auto import modeling_auto as auto

    kind = gguf_architecture(Path(ref.name_or_path, ref.gguf_file or "")) if ref.is_local else ""
    seq2seq = auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES.get(kind)
    return task_of_config({"architectures": [seq2seq]}, ref.source) if seq2seq else "text-generation"


def _task_of_folder(folder: Path, source: str) -> str:
    """The task of the model in ``folder``; sentence-transformers models are known by the files beside the config."""
    config = read_config(folder, source)
    embeds = any((folder / mark).is_file() for mark in ("modules.json", "config_sentence_transformers.json"))
    ranks = any(str(name).endswith("ForSequenceClassification") for name in config.get("architectures") or ())
    return "feature-extraction" if embeds and not ranks else task_of_config(config, source)


def _task_on_hub(ref: ModelRef, token: str | None) -> str:
    """What the hub says; if it does not answer, what the config in the local cache says."""
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError

    # OSError, as which offline mode counts, and the root of the errors of whichever HTTP client the hub's library uses
    no_answer = cast("tuple[type[Exception], ...]", HfHubHTTPError.__bases__)
    try:
        info = huggingface_hub.model_info(ref.name_or_path, revision=ref.revision, token=token)
    except (RepositoryNotFoundError, RevisionNotFoundError):
        raise UnknownTaskError(f"the hub shows no {ref.source}: check its name, or set HF_TOKEN") from None
    except no_answer as error:
        cached = huggingface_hub.try_to_load_from_cache(ref.name_or_path, "config.json", revision=ref.revision)
        if isinstance(cached, str):
            return _task_of_folder(Path(cached).parent, ref.source)
        raise UnknownTaskError(
            f"the task of {ref.source} cannot be told: the hub does not answer ({type(error).__name__}), and its "
            "config.json is not in the local cache"
        ) from None
    library = getattr(info, "library_name", None) or "transformers"
    if library not in _LIBRARIES:
        raise UnknownTaskError(f"{ref.source} is a model for {library}, not for transformers")
    if not info.pipeline_tag:
        return task_of_config(getattr(info, "config", None) or {}, f"{ref.source}, without a pipeline_tag on the hub,")
    try:
        return canonical_task(_TAGS.get(info.pipeline_tag, info.pipeline_tag))
    except KeyError:
        raise UnknownTaskError(f"the hub has {ref.source} for {info.pipeline_tag}, which is no pipeline task") from None


def task_of_config(config: Mapping[str, Any], source: str) -> str:
    """The task of a model with this ``config.json``.

    Args:
        config: the parsed file; the first of its ``architectures`` counts.
        source: what to call the model in errors.

    Raises:
        AmbiguousTaskError, UnknownTaskError: see `infer_task`.
    """
    architecture = str(next(iter(config.get("architectures") or ()), ""))
    if "pretrained_cfg" in config:  # timm
        return "image-classification" if config.get("num_classes", 1) else "image-feature-extraction"
    if not architecture:
        raise UnknownTaskError(f"the config of {source} names no architecture to tell its task by")
    *others, last = sorted(_candidates(architecture, config)) or [""]
    if not last:
        raise UnknownTaskError(f"{architecture}, the architecture of {source}, belongs to no pipeline task")
    if others:
        raise AmbiguousTaskError(
            f"{source} ({architecture}) could serve {', '.join(others)} or {last}: name one with `task:`"
        )
    return last


def _candidates(architecture: str, config: Mapping[str, Any]) -> set[str]:
    """Tasks that a model class serves, without those it merely could."""
    for task, pattern in _BY_NAME.items():
        if re.match(pattern, architecture):
            return {task} - {""}
    if architecture == "XLMWithLMHeadModel":
        return {"text-generation" if config.get("causal") else "fill-mask"}
    tables = auto_classes_by_task().items()
    found = {task for task, autos in tables if any(_loads(auto, architecture) for auto in autos)}
    found = found or _of_remote_code(architecture, config)
    found -= {shadowed for task in found for shadowed in _SHADOWS.get(task, ())}
    if "audio_config" in config:
        found -= _SEQ2SEQ
    if not _has_entailment(config):
        found.discard("zero-shot-classification")
    trained_for = {key.split("_")[0] for key in config.get("task_specific_params") or ()} & _SEQ2SEQ
    if found == _SEQ2SEQ and len(trained_for) == 1:  # BART for summaries; T5 names two
        return trained_for
    return (found - _BASE) or (_of_what_it_reads(architecture, config) if found else set())


def _has_entailment(config: Mapping[str, Any]) -> bool:
    """Whether one label is an entailment, as upstream's zero-shot pipeline needs (``entailment_id`` there)."""
    labels = [*(config.get("label2id") or ()), *(config.get("id2label") or {}).values()]
    return any(str(label).lower().startswith("entail") for label in labels)


def _of_remote_code(architecture: str, config: Mapping[str, Any]) -> set[str]:
    """Tasks of the Auto classes that load a model class which is not in transformers, by its ``auto_map``."""
    auto_map = config.get("auto_map") or {}
    names = {auto for auto, where in auto_map.items() if str(where).endswith(f".{architecture}")} or {*auto_map}
    return {task for task, autos in auto_classes_by_task().items() if names & {auto.__name__ for auto in autos}}


def _of_what_it_reads(architecture: str, config: Mapping[str, Any]) -> set[str]:
    """What a model without a head gives: features of text or of images; both are named for one that reads both."""
    from transformers.models.auto import feature_extraction_auto, image_processing_auto, tokenization_auto
    from transformers.models.auto import modeling_auto as auto

    if architecture == "ClapModel":  # the one kind that upstream's pipeline takes; no table has it
        return {"zero-shot-audio-classification"}
    if architecture in auto.MODEL_FOR_IMAGE_MAPPING_NAMES.values():
        return {"image-feature-extraction"}
    kinds = {name for name, found in auto.MODEL_MAPPING_NAMES.items() if found == architecture}
    if kinds & {*feature_extraction_auto.FEATURE_EXTRACTOR_MAPPING_NAMES}:  # sound: no pipeline gives its features
        return set()
    text = kinds & {*tokenization_auto.TOKENIZER_MAPPING_NAMES} or {"vocab_size", "text_config"} & {*config}
    images = kinds & {*image_processing_auto.IMAGE_PROCESSOR_MAPPING_NAMES} or {"image_size", "patch_size"} & {*config}
    return {task for task, read in (("feature-extraction", text), ("image-feature-extraction", images)) if read}


@cache
def auto_classes_by_task() -> dict[str, tuple[Any, ...]]:
    """The Auto classes that load the models of each task: upstream's ``pt`` entries, and those of the removed tasks."""
    import transformers
    from transformers.pipelines import SUPPORTED_TASKS

    autos = {task: tuple(getattr(transformers, a) for a in row.auto_classes) for task, row in LEGACY_TASKS.items()}
    autos |= {task: tuple(row["pt"]) for task, row in SUPPORTED_TASKS.items()}
    # upstream's pipeline takes these too, and loads them by their architecture
    for segmentation in ("AutoModelForInstanceSegmentation", "AutoModelForUniversalSegmentation"):
        autos["image-segmentation"] += (getattr(transformers, segmentation),)
    return autos


def _loads(auto: Any, architecture: str) -> bool:
    """Whether the table of an Auto class has this model class, alone or among others of its kind."""
    entries = auto._model_mapping._model_mapping.values()
    return any(architecture in ([entry] if isinstance(entry, str) else entry) for entry in entries)
