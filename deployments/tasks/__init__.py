"""The task table: one short row a task. Light: no torch, no transformers."""

import difflib
from typing import Any

from deployments.tasks import audio, multimodal, text, vision
from deployments.tasks.spec import TaskSpec

TASKS: dict[str, TaskSpec] = {row.name: row for row in (*text.ROWS, *vision.ROWS, *audio.ROWS, *multimodal.ROWS)}
ALIASES: dict[str, str] = {alias: row.name for row in TASKS.values() for alias in row.aliases}


def canonical_task(task: str) -> str:
    """The name under which ``task`` stands in `TASKS`: aliases and ``translation_xx_to_yy`` resolved.

    Raises:
        KeyError: no such task; the message names the nearest ones.
    """
    if task in TASKS:
        return task
    if task in ALIASES:
        return ALIASES[task]
    parts = task.split("_")
    if len(parts) == 4 and parts[0] == "translation" and parts[2] == "to":
        return "translation"
    near = difflib.get_close_matches(task, [*TASKS, *ALIASES], n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"known tasks: {', '.join(sorted(TASKS))}."
    raise KeyError(f"there is no task {task!r}; {hint}")


def row_for(spec: TaskSpec, inputs: Any) -> TaskSpec:
    """The row that ``inputs`` belong to, of a model configured for ``spec``'s task: an embedding model serves two."""
    if not spec.also:
        return spec
    first = inputs[0] if isinstance(inputs, list) and inputs else inputs
    compares = isinstance(first, dict) and not {"source_sentence", "sentences"}.isdisjoint(first)
    return TASKS["sentence-similarity" if compares else "feature-extraction"]


__all__ = ["ALIASES", "TASKS", "TaskSpec", "canonical_task", "row_for"]
