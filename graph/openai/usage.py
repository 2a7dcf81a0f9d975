"""Tokens and ends of answers in OpenAI's words."""

from collections.abc import Sequence
from typing import Any

from deployments.payload import TaskResult

_REASONS = {"length": "length", "eos_token": "stop", "stop_sequence": "stop"}


def finish_reason(reason: str | None, calls: int, stopped: bool) -> str:
    """How an answer ended.

    Args:
        reason: as the model has it; None where it does not say.
        calls: of tools, in the answer.
        stopped: whether a stop text was found.
    """
    if calls:
        return "tool_calls"
    return "stop" if stopped or reason is None else _REASONS[reason]


def usage(prompt: int, completion: int) -> dict[str, Any]:
    """The object ``usage``."""
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def response_usage(prompt: int, answer: int, reasoning: int) -> dict[str, Any]:
    """The object ``usage`` of a response.

    Args:
        prompt: tokens of the input; how many are known from earlier ones is not counted by request.
        answer: tokens that were written.
        reasoning: how many of them are reasoning.
    """
    return {
        "input_tokens": prompt,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": answer,
        "output_tokens_details": {"reasoning_tokens": reasoning},
        "total_tokens": prompt + answer,
    }


def usage_of(results: Sequence[TaskResult], answers: int) -> dict[str, Any] | None:
    """Of answers to one prompt or several; None where tokens are not counted.

    Args:
        results: prompt by prompt.
        answers: to each prompt, whose tokens count once.
    """
    counted = [result.usage for result in results if result.usage is not None]
    if len(counted) < len(results):
        return None
    prompts = counted[::answers]
    return usage(sum(one.input_tokens for one in prompts), sum(one.output_tokens for one in counted))


def reason_of(result: TaskResult) -> str | None:
    """How the only answer in ``result`` ended, as the model has it."""
    return result.usage.finish[0] if result.usage is not None and result.usage.finish else None
