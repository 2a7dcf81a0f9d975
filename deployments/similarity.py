"""Sentence similarity: one sentence against others, by the cosines of their embeddings. No pipeline upstream has it.

Each sentence is a call of the embedding pipeline, so that those of different requests share batches of the model.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from deployments.tasks import TASKS, TaskSpec, row_for
from deployments.work import Combined

TASK = "sentence-similarity"


def compares(spec: TaskSpec, inputs: Any) -> bool:
    """Whether ``inputs`` of a model of ``spec``'s task are sentences to compare."""
    return row_for(spec, inputs) is TASKS[TASK]


def ask(pipe: Any, inputs: dict[str, Any], parameters: dict[str, Any]) -> Combined:
    """The calls for ``inputs``, and how their answers make the list of similarities.

    Args:
        pipe: an embedding pipeline whose calls are only noted.
        inputs: ``source_sentence``, ``sentences`` and, of a part of a long list, ``first``: the place of its first one.
        parameters: of the embeddings (default: as the model's authors make them).
    """
    sentences = [inputs["source_sentence"], *inputs["sentences"]]
    rows = {text: row for row, text in enumerate(dict.fromkeys(sentences))}
    kept = {name: value for name, value in parameters.items() if name not in ("encoding_format", "return_tensors")}
    kept["pooling"] = "auto" if kept.get("pooling") in (None, "none") else kept["pooling"]
    calls = pipe(list(rows), **kept, return_tensors=True)
    for place, text in reversed(list(enumerate(sentences))):  # the first place of a text is named if it is at fault
        at = place - 1 + inputs.get("first", 0)
        calls[rows[text]].path = f"inputs.sentences[{at}]" if place else "inputs.source_sentence"
    return Combined(calls, lambda vectors: cosines(np.stack([vectors[rows[text]] for text in sentences])))


def cosines(vectors: npt.NDArray[Any]) -> list[float]:
    """Cosine of the first of ``vectors`` with each of the others, in [-1, 1]; 0 where one of them is all zeros."""
    vectors = vectors.astype(np.float64)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    units = vectors / np.where(lengths == 0, 1, lengths)
    return [float(cosine) for cosine in np.clip(units[1:] @ units[0], -1, 1)]
