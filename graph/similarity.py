"""Long lists of sentences to compare, in parts: none holds up other callers, and several replicas share them."""

from collections.abc import Sequence
from typing import Any

from deployments.errors import PipelineGraphError
from deployments.payload import TaskResult, total

_PART = 256


def parts(item: Any) -> list[Any]:
    """``item``, or its parts of at most 256 sentences, each with the same source sentence."""
    sentences = item.get("sentences") if isinstance(item, dict) and "source_sentence" in item else None
    if not isinstance(sentences, list) or len(sentences) <= _PART:
        return [item]
    starts = range(0, len(sentences), _PART)
    return [{**item, "sentences": sentences[start : start + _PART], "first": start} for start in starts]


def joined(outcomes: Sequence[TaskResult | PipelineGraphError]) -> TaskResult:
    """The answer to an item from those to its parts, with the times of the slowest.

    Raises:
        PipelineGraphError: the first of the parts that failed.
    """
    results: list[TaskResult] = []
    for outcome in outcomes:
        if isinstance(outcome, PipelineGraphError):
            raise outcome
        results.append(outcome)
    slowest = max(results, key=lambda result: result.times.total_s)
    return TaskResult(
        [similarity for result in results for similarity in result.output],
        slowest.times,
        max(result.batch_size for result in results),
        max(result.padding_waste for result in results),
        slowest.source,
        total(result.usage for result in results),
    )


def regrouped(outputs: Sequence[Any], counts: Sequence[int]) -> list[Any]:
    """The answers to items from those to their parts, of which each item has one or more."""
    answers = iter(outputs)
    groups = ([next(answers) for _ in range(count)] for count in counts)
    return [group[0] if len(group) == 1 else [one for part in group for one in part] for group in groups]
