"""Calls of a model for a route whose fields have other names than the inputs and parameters that they become."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from deployments.errors import InvalidParameterError, PayloadTooLargeError, PipelineGraphError, RequestError
from deployments.payload import TaskResult, Usage
from graph.dispatch import Target
from graph.openai.asked import Asked

Names = Mapping[str, str]
"""Path of an input or parameter (`inputs`, `parameters.dimensions`) → what the route calls it."""


def renamed(error: PipelineGraphError, names: Names) -> PipelineGraphError:
    """``error`` about a field of this route."""
    field = error.field if isinstance(error, RequestError) else None
    if field is None:
        return error
    for ours, theirs in names.items():
        rest = field.removeprefix(ours)
        if field.startswith(ours) and rest[:1] in ("", ".", "["):
            path = (theirs + rest).lstrip(".")
            return type(error)(str(error).replace(f"`{field}`", f"`{path}`"), path)
    return error


async def call_one(asked: Asked, target: Target, item: Any, parameters: dict[str, Any], names: Names) -> TaskResult:
    """Answer one item.

    Raises:
        PipelineGraphError: about a field of this route.
    """
    try:
        return await asked.dispatcher.call(target, item, parameters, asked.request_id)
    except PipelineGraphError as error:
        raise renamed(error, names) from None


async def call_each(
    asked: Asked, target: Target, items: Sequence[Any], parameters: dict[str, Any], names: Callable[[int], Names]
) -> list[TaskResult]:
    """Answer all items, in order.

    Args:
        asked: the request.
        target: the model.
        items: at least one, in the pipeline's call form.
        parameters: for all of them.
        names: of the fields, by the index of the item.

    Raises:
        PipelineGraphError: the first item that failed, about its field.
    """
    if len(items) == 1:
        return [await call_one(asked, target, items[0], parameters, names(0))]
    outcomes = await asked.dispatcher.call_list(target, items, parameters, asked.request_id)
    results = []
    for index, outcome in enumerate(outcomes):
        if isinstance(outcome, PipelineGraphError):
            raise renamed(outcome, names(index))
        results.append(outcome)
    return results


def check_count(items: Sequence[Any], most: int, field: str) -> None:
    """Refuse no items, and more than ``most``.

    Raises:
        InvalidParameterError, PayloadTooLargeError: naming ``field``.
    """
    if not items:
        raise InvalidParameterError(f"`{field}` is an empty list.", field)
    if len(items) > most:
        raise PayloadTooLargeError(f"`{field}` has {len(items)} items; at most {most} are taken.", field)


def input_tokens(results: Sequence[TaskResult]) -> int:
    """Tokens of all inputs; those that were not counted are none."""
    return sum((result.usage or Usage(0)).input_tokens for result in results)
