"""Whose fault a pipeline's exception is, and the sentence for the caller.

transformers raises plain ``ValueError``/``TypeError`` both for bad arguments and for its own troubles. What was raised
while an input was read or prepared is the caller's to mend; what was raised while the model ran is ours, except for
an input longer than the model can take.
"""

import re
import traceback
from typing import Any

import av
from jinja2 import TemplateError

from deployments.errors import (
    InferenceError,
    InvalidInputError,
    InvalidParameterError,
    MissingDependencyError,
    PipelineGraphError,
)

_MODULE_CALL = "_call_impl"  # torch.nn.Module.__call__
_PANIC = "PanicException"  # of Rust, no `Exception` and of no module: tokenizers refuse a wrong `stride` with it
_ENCODES = re.compile(r"_?(?:batch_)?encode\w*")  # functions of transformers that call a tokenizer
_CALLER_ERRORS = (ValueError, TypeError, KeyError, IndexError, AttributeError, AssertionError, TemplateError)
# of this machine: the file of a film, a module, a place in memory
_PATH = re.compile(r"(?<![\w./-])/(?:[\w.+~@-]+/)+[\w.+~@-]*")
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
_INSTALL = {
    "pytesseract": "pip install pytesseract, and the program tesseract (Debian: apt-get install tesseract-ocr); "
    "or send `word_boxes` with the input",
    "tesseract": "install the program tesseract (Debian: apt-get install tesseract-ocr); or send `word_boxes`",
    "torchvision": "pip install torchvision",
    "pandas": "pip install 'pipeline-graph[tables]'",
    "gguf": "pip install 'pipeline-graph[gguf]'",
    "phonemizer": "pip install phonemizer, and the program espeak-ng",
    "timm": "pip install timm",
    "scipy": "pip install scipy",
    "pyctcdecode": "pip install pyctcdecode kenlm",
}


def explain(error: BaseException, tokens: int | None = None, most_tokens: int | None = None) -> PipelineGraphError:
    """The error to give to the caller in place of ``error``.

    Args:
        error: what the pipeline raised.
        tokens: length of the input in tokens, where known.
        most_tokens: positions that the model has, where known.
    """
    if isinstance(error, PipelineGraphError):
        return error
    missing = _missing_package(error)
    if missing is not None:
        return MissingDependencyError(f"This server lacks {missing} for this request: {_INSTALL[missing]}.")
    if tokens is not None and most_tokens is not None and tokens > most_tokens:
        return InvalidInputError(
            f"`inputs` has {tokens} tokens and this model takes at most {most_tokens}: shorten it, or send the "
            "parameter `truncation` where the task has it.",
            "inputs",
        )
    trace = traceback.extract_tb(error.__traceback__)
    frames = {frame.name for frame in trace}
    if _of_tokenizer(error, trace) and _MODULE_CALL not in frames:
        return InvalidInputError(
            f"The tokenizer cannot take this input with these parameters: {_first_line(error)}", "inputs"
        )
    # what the system refuses (no such file, no memory) is no fault of a film
    system = isinstance(error, OSError | MemoryError)
    if isinstance(error, av.error.FFmpegError) and not system and _MODULE_CALL not in frames:
        return InvalidInputError(
            "`inputs` cannot be decoded: the file is damaged, or coded in an unusual way.", "inputs"
        )
    caller = isinstance(error, _CALLER_ERRORS) or type(error).__name__ == "PipelineException"
    if caller and _MODULE_CALL not in frames:  # the model itself was not running
        if "generate" in frames:
            return InvalidParameterError(f"The model refuses these parameters: {_first_line(error)}", "parameters")
        return InvalidInputError(f"The pipeline refuses this input: {_first_line(error)}", "inputs")
    return InferenceError("The model failed on this input; the server's log has the cause under this request id.")


def explain_parameters(error: BaseException) -> PipelineGraphError:
    """The error for what ``_sanitize_parameters`` raised."""
    if isinstance(error, PipelineGraphError):
        return error
    return InvalidParameterError(f"The pipeline refuses these parameters: {_first_line(error)}", "parameters")


def _missing_package(error: BaseException) -> str | None:
    """Name of the optional package whose absence ``error`` is about."""
    text = str(error).lower()
    named = type(error).__name__ == "TesseractNotFoundError" or "without word_boxes" in text
    if not isinstance(error, ImportError) and not named:
        return None
    return next((name for name in _INSTALL if name in text), None)


def _of_tokenizer(error: BaseException, trace: traceback.StackSummary) -> bool:
    """Whether a tokenizer refused a text; fast ones raise a bare `Exception` where they cannot cut it."""
    if type(error).__name__ == _PANIC:
        return True
    return type(error) is Exception and bool(trace) and _ENCODES.fullmatch(trace[-1].name) is not None


def _first_line(error: BaseException) -> str:
    """What ``error`` says, without what it tells of this machine."""
    lines: list[Any] = str(error).strip().splitlines()
    line = (lines[0] if lines else type(error).__name__)[:500]
    return _ADDRESS.sub("", _PATH.sub("(a file)", line))
