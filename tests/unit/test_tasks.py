"""The task table against what transformers itself has: tasks, aliases, parameters."""

import ast
import importlib
import inspect
import textwrap
from typing import Any

import pytest

from deployments.parameters import accepted_names, generation_names, merge_parameters
from deployments.tasks import ALIASES, TASKS, TaskSpec, canonical_task, row_for
from graph.decode import read_call

REMOVED = {
    "question-answering",
    "summarization",
    "translation",
    "text2text-generation",
    "visual-question-answering",
    "image-to-text",
    "image-to-image",
}
EMBEDDINGS = {"feature-extraction", "sentence-similarity"}
OURS = {"sentence-similarity"}  # upstream has no such pipeline
UPSTREAM = sorted(set(TASKS) - REMOVED - OURS - {"fake"})


def _pipeline_class(task: str) -> Any:
    """Upstream's class, or ours for embeddings, for transcripts and for a task that upstream removed."""
    if task in EMBEDDINGS:
        from deployments.embedding import EmbeddingPipeline

        return EmbeddingPipeline
    if task == "automatic-speech-recognition":
        from deployments.transcription import TranscriptionPipeline

        return TranscriptionPipeline
    if task in REMOVED:
        from deployments.legacy import LEGACY_TASKS

        module, _, name = LEGACY_TASKS[task].implementation.partition(":")
        return getattr(importlib.import_module(f"deployments.legacy.{module}"), name)
    from transformers.pipelines import SUPPORTED_TASKS

    found = SUPPORTED_TASKS[task]["impl"]
    if isinstance(found, str):
        module, _, name = found.rpartition(".")
        return getattr(importlib.import_module(module), name)
    return found


def _named(function: Any) -> set[str]:
    parameters = inspect.signature(function).parameters.values()
    return {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)} - {"self"}


def _sanitizers(cls: Any) -> list[Any]:
    """``_sanitize_parameters`` of the class, and of its bases where it hands its ``**kwargs`` up to them."""
    own = [base.__dict__["_sanitize_parameters"] for base in cls.__mro__ if "_sanitize_parameters" in base.__dict__]
    return own if "super()._sanitize_parameters" in inspect.getsource(own[0]) else own[:1]


def _takes_any(function: Any) -> bool:
    return any(p.kind is p.VAR_KEYWORD for p in inspect.signature(function).parameters.values())


def _strings_in(function: Any) -> set[str]:
    """String constants in the code of ``function``."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    return {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}


def _of_tokenizer_or_processor() -> set[str]:
    """What ``**tokenizer_kwargs`` and ``**kwargs: Unpack[ProcessingKwargs]`` reach."""
    from transformers import PreTrainedTokenizerBase
    from transformers.processing_utils import ProcessingKwargs, TextKwargs

    chat: set[str] = set()
    for name in ("ProcessorMixin", "PreTrainedTokenizerBase"):
        cls = getattr(importlib.import_module("transformers"), name)
        chat |= _named(cls.apply_chat_template)
    processing = importlib.import_module("transformers.processing_utils")
    for name in (
        "ChatTemplateKwargs",
        "TokenizerChatTemplateKwargs",
        "ChatTemplateLoadKwargs",
        "AllKwargsForChatTemplate",
    ):
        chat |= set(getattr(getattr(processing, name, object), "__annotations__", {}))
    named = _named(PreTrainedTokenizerBase.__call__) | set(TextKwargs.__annotations__)
    return named | chat | set(ProcessingKwargs.__annotations__)


def test_tasks_are_those_of_transformers_and_the_removed_ones() -> None:
    from transformers.pipelines import SUPPORTED_TASKS

    assert set(TASKS) == set(SUPPORTED_TASKS) | REMOVED | OURS | {"fake"}


def test_removed_rows_are_the_ones_that_transformers_removed() -> None:
    """image-to-text is redirected rather than listed as removed, and vqa is an alias."""
    from transformers.pipelines import REMOVED_TASKS, SUPPORTED_TASKS

    assert {row.name for row in TASKS.values() if row.removed} == REMOVED
    assert set(REMOVED_TASKS) - {"vqa"} == REMOVED - {"image-to-text"}
    assert not REMOVED & set(SUPPORTED_TASKS)


def test_aliases_are_those_of_transformers_and_vqa() -> None:
    from transformers.pipelines import TASK_ALIASES

    assert {**TASK_ALIASES, "vqa": "visual-question-answering"} == ALIASES


@pytest.mark.parametrize("task", sorted(set(TASKS) - {"fake"}))
def test_row_has_every_named_parameter_of_the_pipeline(task: str) -> None:
    missing = _named(_pipeline_class(task)._sanitize_parameters) - accepted_names(TASKS[task])
    parts = getattr(TASKS[task].inputs, "names", ())
    if task == "sentence-similarity":  # its answer is not a vector
        parts = (*parts, "return_tensors", "encoding_format")
    assert missing - set(parts) == set()


@pytest.mark.parametrize("task", sorted(set(TASKS) - {"fake"}))
def test_pipeline_takes_every_parameter_of_the_row(task: str) -> None:
    """Named upstream, or swallowed by ``**kwargs`` there and spoken of in its code or handed to a known function."""
    cls = _pipeline_class(task)
    known = _named(cls.__call__).union(*map(_named, _sanitizers(cls)))
    if _takes_any(cls._sanitize_parameters):
        known = known.union(TASKS[task].generation_extra, *map(_strings_in, _sanitizers(cls)))
        known |= generation_names() if TASKS[task].generates else frozenset()
        annotation = str(inspect.signature(cls._sanitize_parameters).parameters)
        if "tokenizer_kwargs" in annotation or "ProcessingKwargs" in annotation:
            known |= _of_tokenizer_or_processor()
    assert accepted_names(TASKS[task]) - TASKS[task].added - known == set()


@pytest.mark.parametrize(
    ("given", "row"),
    [
        ("text", "feature-extraction"),
        (["a", "b"], "feature-extraction"),
        ({"source_sentence": "a", "sentences": ["b"]}, "sentence-similarity"),
        ([{"source_sentence": "a", "sentences": ["b"]}], "sentence-similarity"),
        ({"sentences": ["b"]}, "sentence-similarity"),
        ({"text": "a"}, "feature-extraction"),
        ([], "feature-extraction"),
        (None, "feature-extraction"),
    ],
)
@pytest.mark.parametrize("configured", sorted(EMBEDDINGS))
def test_an_embedding_model_tells_its_two_tasks_by_the_input(configured: str, given: Any, row: str) -> None:
    assert row_for(TASKS[configured], given).name == row
    assert row_for(TASKS["fill-mask"], given).name == "fill-mask"


@pytest.mark.parametrize("row", [row for row in TASKS.values() if row.example is not None], ids=lambda row: row.name)
def test_example_is_a_request_that_the_server_takes(row: TaskSpec) -> None:
    root = {"inputs": row.example, "parameters": dict(row.example_parameters)}
    call = read_call(row, root, 1)
    merge_parameters(row, accepted_names(row), {}, call.parameters)
    assert (len(call.items), call.many) == (1, False)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("fill-mask", "fill-mask"),
        ("sentiment-analysis", "text-classification"),
        ("ner", "token-classification"),
        ("text-to-speech", "text-to-audio"),
        ("vqa", "visual-question-answering"),
        ("translation_en_to_fr", "translation"),
        ("translation", "translation"),
    ],
)
def test_canonical_task_resolves_other_names(given: str, expected: str) -> None:
    assert canonical_task(given) == expected


@pytest.mark.parametrize(
    ("given", "nearest"),
    [
        ("text-clasification", "text-classification"),
        ("speech-recognition", "automatic-speech-recognition"),
        ("sentiment_analysis", "sentiment-analysis"),
    ],
)
def test_unknown_task_names_the_nearest(given: str, nearest: str) -> None:
    with pytest.raises(KeyError) as caught:
        canonical_task(given)
    assert repr(given) in caught.value.args[0]
    assert nearest in caught.value.args[0]


@pytest.mark.parametrize("given", ["zzzz", "", "translation_en", "translation_en_fr_de", "xlation_en_to_fr"])
def test_unknown_task_is_refused(given: str) -> None:
    with pytest.raises(KeyError, match="there is no task"):
        canonical_task(given)
