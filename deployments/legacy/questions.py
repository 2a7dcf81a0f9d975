"""The arguments of a call of question answering → each question with its context."""

from collections.abc import Mapping
from typing import Any


def found(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """The ``{"question", "context"}`` of a call, one or many."""
    if len(args) == 2 and all(isinstance(arg, str) for arg in args):
        return {"question": args[0], "context": args[1]}
    if args:
        return args[0] if len(args) == 1 else args
    if "question" not in kwargs or "context" not in kwargs:
        raise ValueError("give `question` and `context`")
    return _paired(kwargs["question"], kwargs["context"])


def _paired(question: Any, context: Any) -> list[dict[str, str]]:
    questions = question if isinstance(question, list) else [question]
    contexts = context if isinstance(context, list) else [context] * len(questions)
    if len(questions) != len(contexts):
        raise ValueError("Questions and contexts don't have the same lengths")
    return [{"question": q, "context": c} for q, c in zip(questions, contexts, strict=True)]


def checked(example: Any) -> dict[str, str]:
    """The example, or an error: one without question or context, or with an empty one."""
    if not isinstance(example, dict):
        raise ValueError(f"expected a dictionary with question and context, not {type(example).__name__}")
    for key in ("question", "context"):
        if key not in example:
            raise KeyError("You need to provide a dictionary with keys {question:..., context:...}")
        if not example[key]:
            raise ValueError(f"`{key}` cannot be empty")
    return {"question": example["question"], "context": example["context"]}
