"""The tasks that transformers 5 removed and people still serve, as transformers 4 had them.

Pipelines of our own over the Auto classes, registered with ``PIPELINE_REGISTRY`` as transformers documents for custom
tasks. After ``register()``, ``transformers.pipeline("question-answering", model=...)`` works again, loading and all;
``legacy_pipeline`` is both in one call. The module itself is light: no torch until ``register()``.
"""

import importlib
import re
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class LegacyTask:
    """One removed task.

    Args:
        implementation: ``module:class`` in this package.
        auto_classes: names of the Auto classes that load its models, tried in order.
        default: hub id and revision of its default model, as in transformers 4.57.
        type: kind of its input, as the registry wants it.
    """

    implementation: str
    auto_classes: tuple[str, ...]
    default: tuple[str, str]
    type: str = "text"


_T5 = ("google-t5/t5-base", "a9723ea")
LEGACY_TASKS: dict[str, LegacyTask] = {
    "question-answering": LegacyTask(
        "question_answering:QuestionAnsweringPipeline",
        ("AutoModelForQuestionAnswering",),
        ("distilbert/distilbert-base-cased-distilled-squad", "564e9b5"),
    ),
    "summarization": LegacyTask(
        "text2text:SummarizationPipeline", ("AutoModelForSeq2SeqLM",), ("sshleifer/distilbart-cnn-12-6", "a4f8f3e")
    ),
    "translation": LegacyTask("text2text:TranslationPipeline", ("AutoModelForSeq2SeqLM",), _T5),
    "text2text-generation": LegacyTask("text2text:Text2TextGenerationPipeline", ("AutoModelForSeq2SeqLM",), _T5),
    "visual-question-answering": LegacyTask(
        "visual_question_answering:VisualQuestionAnsweringPipeline",
        ("AutoModelForVisualQuestionAnswering", "AutoModelForImageTextToText"),
        ("dandelin/vilt-b32-finetuned-vqa", "d0a1f6a"),
        "multimodal",
    ),
    "image-to-text": LegacyTask(
        "image_to_text:ImageToTextPipeline",
        ("AutoModelForImageTextToText",),
        ("ydshieh/vit-gpt2-coco-en", "5bebf1e"),
        "multimodal",
    ),
    "image-to-image": LegacyTask(
        "image_to_image:ImageToImagePipeline",
        ("AutoModelForImageToImage",),
        ("caidas/swin2SR-classical-sr-x2-64", "cee1c92"),
        "image",
    ),
}
_ALIASES = {"vqa": "visual-question-answering"}
_LANGUAGES = re.compile(r"translation_[^_]+_to_[^_]+")


def legacy_pipeline(task: str, model: Any = None, **kwargs: Any) -> Any:
    """``transformers.pipeline(task, model, **kwargs)`` for a removed task.

    Args:
        task: a key of `LEGACY_TASKS`, ``vqa``, or ``translation_xx_to_yy``; stays the pipeline's ``task``.
        model: hub id, directory or loaded model (default: the one transformers 4.57 took).
        kwargs: those of ``transformers.pipeline``.

    Raises:
        KeyError: transformers knows no such task.
    """
    import transformers

    register()
    return transformers.pipeline(task, model=model, **kwargs)


def register() -> None:
    """Make ``transformers.pipeline`` know the removed tasks; doing it again changes nothing."""
    import transformers
    from transformers.pipelines import PIPELINE_REGISTRY

    for name, row in LEGACY_TASKS.items():
        if name in PIPELINE_REGISTRY.supported_tasks:
            continue
        module, _, class_name = row.implementation.partition(":")
        pipeline_class = getattr(importlib.import_module(f"{__name__}.{module}"), class_name)
        PIPELINE_REGISTRY.register_pipeline(
            name,
            pipeline_class=pipeline_class,
            pt_model=tuple(getattr(transformers, auto) for auto in row.auto_classes),
            default={"model": row.default},
            type=row.type,
        )
        # With this mark `save_pretrained` copies our code beside the model, and loading that asks for trust_remote_code
        del pipeline_class._registered_impl
    PIPELINE_REGISTRY.task_aliases.update(_ALIASES)
    _let_through(PIPELINE_REGISTRY.task_aliases)


def _let_through(aliases: dict[str, str]) -> None:
    """Stop transformers from refusing our tasks before it looks into its registry.

    ``pipeline()`` and ``check_task()`` first pass the name through ``_resolve_deprecated_task``, which raises for a
    removed task even when it is registered, and turns ``image-to-text`` into ``image-text-to-text`` (5.23). Replacing
    that one function, for our names only, leaves ``REMOVED_TASKS`` and all else of upstream as they are.

    Args:
        aliases: of the registry; a ``translation_xx_to_yy`` that is asked for is added, as no list can hold them all.
    """
    from transformers import pipelines

    upstream = pipelines._resolve_deprecated_task
    if getattr(upstream, "lets_legacy_through", False):
        return

    def resolve(task: str) -> str:
        """The task as it is if it is ours, else whatever upstream makes of it."""
        if isinstance(task, str) and _LANGUAGES.fullmatch(task):
            aliases.setdefault(task, "translation")
        resolved: str = task if aliases.get(task, task) in LEGACY_TASKS else upstream(task)
        return resolved

    resolve.lets_legacy_through = True  # type: ignore[attr-defined]
    pipelines._resolve_deprecated_task = resolve
