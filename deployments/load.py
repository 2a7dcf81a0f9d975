"""Model configuration → a loaded ``transformers`` pipeline. No Ray import.

Loading stays upstream's: this file only translates our configuration into the arguments of ``pipeline()``, and mends
what was measured to go wrong there.
"""

import logging
import os
import time
from dataclasses import dataclass
from typing import Any

from deployments.config import ModelConfig
from deployments.cpu_linear import pack_linear, packed_bytes
from deployments.device_map import placement
from deployments.errors import ModelLoadError
from deployments.fake import FakePipeline
from deployments.footprint import weights
from deployments.infer_task import TaskInferenceError, default_model
from deployments.legacy import LEGACY_TASKS
from deployments.load_errors import reason_of
from deployments.model_ref import ModelRef, ModelReferenceError, parse_model_ref
from deployments.progress import watched
from deployments.quantization import check_quantized
from deployments.ranks import distribution, load_over_ranks, ranks_of
from deployments.saved import is_quantized
from deployments.tasks import TASKS

logger = logging.getLogger("pipeline_graph.load")

_EMBEDS = ("feature-extraction", "sentence-similarity")
_DEFAULTS: dict[str, tuple[str, str | None]] = {"sentence-similarity": ("sentence-transformers/all-MiniLM-L6-v2", None)}


@dataclass(frozen=True)
class Loaded:
    """A pipeline, what it was made from, and what that took.

    Args:
        pipe: the pipeline.
        ref: its model's place, or None for the stand-in.
        seconds: spent on loading.
    """

    pipe: Any
    ref: ModelRef | None
    seconds: float = 0.0

    @property
    def weight_bytes(self) -> int:
        """Memory of the weights."""
        return int(weights(getattr(self.pipe, "model", None)).get("weight_bytes", 0))

    @property
    def memory_bytes(self) -> int:
        """Memory of the weights, and of the copies that are laid out for oneDNN."""
        return self.weight_bytes + packed_bytes(getattr(self.pipe, "model", None))


def resolve_model(config: ModelConfig) -> ModelRef:
    """Where ``config``'s model is: as given, or the default model of its task.

    Raises:
        ModelReferenceError: the reference cannot be read or leads nowhere.
    """
    if config.model is not None:
        return parse_model_ref(config.model, config.revision)
    ours = _DEFAULTS | {task: row.default for task, row in LEGACY_TASKS.items()}
    name, revision = default_model(config.canonical_task, ours)
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
        ref, started = resolve_model(config), time.perf_counter()
        logger.info("%s: loading %s", config.name, ref.source)
        several = ranks_of(config) > 1
        with watched(str(config.name)):
            pipe = load_over_ranks(config, load_pipeline) if several else _pipeline(config, ref)
        check_quantized(getattr(pipe, "model", None))
        if config.packed_linear and not several:
            pack_linear(getattr(pipe, "model", None))
        loaded = Loaded(pipe, ref, time.perf_counter() - started)
        logger.info("%s: loaded %.0f MB in %.1f s", config.name, loaded.weight_bytes / 1e6, loaded.seconds)
        return loaded
    except (ModelReferenceError, TaskInferenceError) as error:
        raise ModelLoadError(f"{config.name}: {error}") from None
    except Exception as error:
        logger.exception("loading %s failed", config.name)
        reason = reason_of(error)
        raise ModelLoadError(
            f"{config.name}: {config.model or 'the default model'} cannot be loaded for {config.task}: {reason}"
        ) from error


def load_pipeline(config: ModelConfig) -> Any:
    """The pipeline of ``config`` in this process alone, which may be one of several ranks.

    Raises:
        Exception: whatever upstream raises.
    """
    return _pipeline(config, resolve_model(config))


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
        "token": os.environ.get("HF_TOKEN"),
        "dtype": config.dtype,
        **{part: getattr(config, part) for part in _PARTS if getattr(config, part) is not None},
        **_where(config, ref),
        **config.init,
    }
    if ref.gguf_file is not None and "tokenizer" not in arguments:
        arguments["tokenizer"] = transformers.AutoTokenizer.from_pretrained(
            ref.name_or_path, revision=ref.revision, gguf_file=ref.gguf_file
        )
    if config.canonical_task == "decision":
        arguments |= _decision_model(arguments)
    if config.canonical_task in _EMBEDS:
        return _embedding(ref, arguments)
    if config.canonical_task == "automatic-speech-recognition":
        from deployments.transcription import TranscriptionPipeline

        arguments = {"pipeline_class": TranscriptionPipeline, **arguments}
    return transformers.pipeline(task=config.task, **arguments)


def _embedding(ref: ModelRef, arguments: dict[str, Any]) -> Any:
    """The pipeline of both tasks of an embedding model."""
    import transformers

    from deployments.embedding import EmbeddingPipeline
    from deployments.sentence_modules import read_modules

    pipe = transformers.pipeline(task="feature-extraction", pipeline_class=EmbeddingPipeline, **arguments)
    pipe.attach(read_modules(ref, pipe.device, arguments["token"]))
    return pipe


_PARTS = ("tokenizer", "feature_extractor", "image_processor", "processor")


def _where(config: ModelConfig, ref: ModelRef) -> dict[str, Any]:
    """Where the weights come from and go, and in how many bits: arguments of ``pipeline()``."""
    kwargs = dict(config.model_kwargs)
    if ref.gguf_file is not None:
        kwargs["gguf_file"] = ref.gguf_file
    if config.quantization is not None:
        kwargs["quantization_config"] = config.quantization.bits_and_bytes()
    if config.attn_implementation is not None:
        kwargs["attn_implementation"] = config.attn_implementation
    if ranks_of(config) > 1:
        return {"device": None, "model_kwargs": kwargs | distribution(config)}
    arguments, placed = placement(config, "quantization_config" in kwargs or is_quantized(ref))
    return {**arguments, "model_kwargs": kwargs | placed}


def _decision_model(arguments: dict[str, Any]) -> dict[str, Any]:
    """A chat model for the ``decision`` task, loaded here.

    Given only its name, ``pipeline("decision")`` first builds a decision head for chat models that have none: 7.9 B
    parameters for Qwen2 (transformers 5.23). A checkpoint that was saved with a head is left to upstream.
    """
    import transformers

    source, revision = arguments["model"], arguments["revision"]
    hub = {"revision": revision, "trust_remote_code": arguments["trust_remote_code"], "token": arguments["token"]}
    in_file = {name: value for name, value in arguments["model_kwargs"].items() if name == "gguf_file"}
    config = transformers.AutoConfig.from_pretrained(source, **hub, **in_file)
    if any(name.endswith("ForDecision") for name in config.architectures or ()):
        return {}
    with_images = type(config) in transformers.models.auto.modeling_auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING
    auto = transformers.AutoModelForImageTextToText if with_images else transformers.AutoModelForCausalLM
    kwargs = arguments["model_kwargs"] | {"dtype": arguments["dtype"]}
    loaded = {"model": auto.from_pretrained(source, **hub, **kwargs), "model_kwargs": {}}
    tokenizer = arguments.get("tokenizer", source)
    if isinstance(tokenizer, str):  # else that of a GGUF file, which is loaded by now
        tokenizer = transformers.AutoTokenizer.from_pretrained(tokenizer, **hub)
    loaded["tokenizer"] = tokenizer
    if with_images:
        loaded["processor"] = transformers.AutoProcessor.from_pretrained(source, **hub)
    return loaded
