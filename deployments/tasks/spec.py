"""One row of the task table: all that the server knows about a task beside what transformers knows."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from deployments.tasks.forms import Form

BatchMode = Literal["padded", "equal", "alone"]
Unit = Literal["tokens", "pixels", "seconds"]
# how graph/encode.py turns the answer into the Hugging Face wire format
Reply = Literal["as_is", "nested", "listed", "features", "zero_shot", "audio", "image", "masks", "segments", "depth"]


@dataclass(frozen=True)
class TaskSpec:
    """A task as a table row.

    Args:
        name: canonical name, as in ``pipeline(task=...)``.
        inputs: what one input is.
        parameters: names that the pipeline takes at a call, apart from generation settings.
        added: names that this server takes beyond the pipeline's own.
        example: smallest sensible input in JSON form, for warm-up and documentation; None where it must be made.
        example_parameters: parameters that a call with ``example`` needs.
        required: parameters without which no call can run, with their forms.
        generates: whether the call also takes the fields of ``GenerationConfig``, by name.
        generation_dicts: parameters that hold generation settings in an object (``generate_kwargs``).
        generation_extra: names that this task's ``generate`` takes beside ``GenerationConfig``.
        batching: how inputs may share a batch of the model: ``padded`` to the longest, ``equal`` shapes only, or each
            ``alone``. Where a model loads, a check may find that it can do less (`deployments.batch_check`).
        unit: what an input costs: its tokens, the pixels of its image, the seconds of its sound.
        trims: outputs with a dimension for tokens, from which padding is taken off before the postprocessing.
        streams: whether an answer may come token by token.
        alone_with: parameters, ``name`` or ``name=value``, under which padding or a neighbour would show.
        prepares_with_model: whether its preprocessing runs the model.
        deterministic: whether equal requests have equal answers, unless they sample.
        single_is_listed: ``pipe(x)`` gives ``[answer]`` where ``pipe([x, y])`` gives ``[answer, answer]``.
        listed_with: the parameter with which ``pipe([x, y])`` gives ``[[answer], [answer]]`` all the same.
        list_of_one_unwraps: ``pipe([x])`` gives what ``pipe(x)`` gives.
        reply: the wire format of the answer, and so the files that it can also be had as (`graph.accept`).
        aliases: other names of the task.
        also: other tasks that a model of this one serves too, told apart by their input.
        removed: whether transformers 5 removed it, so that ``deployments/legacy`` serves it.
    """

    name: str
    inputs: Form
    parameters: frozenset[str]
    example: Any
    example_parameters: Mapping[str, Any] = field(default_factory=dict)
    required: Mapping[str, Form] = field(default_factory=dict)
    generates: bool = False
    generation_dicts: frozenset[str] = frozenset()
    generation_extra: frozenset[str] = frozenset()
    batching: BatchMode = "equal"
    unit: Unit = "tokens"
    trims: frozenset[str] = frozenset()
    streams: bool = False
    alone_with: frozenset[str] = frozenset()
    added: frozenset[str] = frozenset()
    prepares_with_model: bool = False
    deterministic: bool = True
    single_is_listed: bool = False
    listed_with: str | None = None
    list_of_one_unwraps: bool = False
    reply: Reply = "as_is"
    aliases: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    removed: bool = False


def names(spaced: str) -> frozenset[str]:
    """A set of names from one string with spaces: a short row stays short."""
    return frozenset(spaced.split())
