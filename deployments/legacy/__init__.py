"""The tasks that transformers 5 removed and people still serve, as transformers 4 had them.

Pipelines of our own over the Auto classes, registered with ``PIPELINE_REGISTRY`` as transformers documents for custom
tasks. After ``register()``, ``transformers.pipeline("question-answering", model=...)`` works again, loading and all.
The module itself is light: no torch until ``register()``.
"""

import importlib
from dataclasses import dataclass


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


def register(task: str | None = None) -> None:
    """Make ``transformers.pipeline`` know the removed tasks; doing it again changes nothing.

    Args:
        task: a ``translation_xx_to_yy`` that is meant, which the registry must know by its full name.
    """
    import transformers
    from transformers.pipelines import PIPELINE_REGISTRY

    names = {name: name for name in LEGACY_TASKS}
    if task is not None and task.startswith("translation_"):
        names[task] = "translation"
    for name, canonical in names.items():
        row = LEGACY_TASKS[canonical]
        module, _, class_name = row.implementation.partition(":")
        if name not in PIPELINE_REGISTRY.supported_tasks:
            PIPELINE_REGISTRY.register_pipeline(
                name,
                pipeline_class=getattr(importlib.import_module(f"{__name__}.{module}"), class_name),
                pt_model=tuple(getattr(transformers, auto) for auto in row.auto_classes),
                default={"model": row.default},
                type=row.type,
            )
    PIPELINE_REGISTRY.task_aliases.update(_ALIASES)
    _let_through(frozenset(names) | set(_ALIASES))


def _let_through(names: frozenset[str]) -> None:
    """Stop transformers from refusing ``names`` before it looks into its registry.

    ``pipeline()`` and ``check_task()`` first pass the name through ``_resolve_deprecated_task``, which raises for a
    removed task even when it is registered, and turns ``image-to-text`` into ``image-text-to-text`` (5.23).
    """
    from transformers import pipelines

    upstream = pipelines._resolve_deprecated_task
    known = getattr(upstream, "let_through", None)
    if known is not None:
        known.update(names)
        return
    through = set(names)

    def resolve(task: str) -> str:
        """The task as it is if registered here, else whatever upstream makes of it."""
        resolved: str = task if task in through else upstream(task)
        return resolved

    resolve.let_through = through  # type: ignore[attr-defined]
    pipelines._resolve_deprecated_task = resolve
