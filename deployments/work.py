"""What moves through a replica: a `Work` is one request; its `Chunk` objects are what the model runs.

Most requests are one chunk. Zero-shot label pairs, windows of a long text and pieces of a long sound are several, and
those of different requests may share a batch of the model.
"""

import asyncio
import itertools
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from deployments.payload import Usage

# seconds by which items of a long list stand behind single requests that arrive in the meantime
BULK_HANDICAP_S = 5.0
MANY_CHUNKS = 64
"""Of one request; one of more stands behind single requests, and comes to the model by so many."""

Outcome: TypeAlias = Any  # the pipeline's answer, or a PipelineGraphError


@dataclass(eq=False)
class Call:
    """One run of the pipeline as upstream's ``__call__`` asked for it; a request rarely has more than one.

    Args:
        inputs: what ``preprocess`` takes.
        preprocess, forward, postprocess: keyword arguments of the three stages.
        path: where in the request its input stood, for error messages.
    """

    inputs: Any
    preprocess: dict[str, Any]
    forward: dict[str, Any]
    postprocess: dict[str, Any]
    path: str = "inputs"
    outputs: list[Any] = field(default_factory=list)
    tokens: int | None = None  # that the model reads, without padding; None where it is no text
    generation: Any = None  # a `deployments.stepwise.row.Generation` where it is generated step by step
    stops: tuple[str, ...] = ()  # texts at which it ends where it is not
    streamed: Any = None  # a `deployments.stepwise.streamed.Streamed` where it is streamed all the same

    @property
    def told(self) -> Any:
        """Whichever of them tells its tokens, or None."""
        return self.streamed if self.generation is None else self.generation


@dataclass(eq=False)
class Combined:
    """One answer made from those of several calls; stands in the template of a `Work`.

    Args:
        calls: in any order.
        combine: takes their answers, in the same order.
    """

    calls: list[Call]
    combine: Callable[[list[Any]], Any]


@dataclass(frozen=True)
class Done:
    """An outcome with its figures.

    Args:
        outcome: the answer, or the error to raise.
        queue_s, preprocess_s, forward_s, postprocess_s: seconds in each stage; the forward time is that of the
            batches it was part of.
        batch_size: chunks in the largest of these batches (>=1).
        padding_waste: share of padding in these batches, in [0, 1), the largest.
        usage: tokens, where they are counted.
    """

    outcome: Outcome
    queue_s: float = 0.0
    preprocess_s: float = 0.0
    forward_s: float = 0.0
    postprocess_s: float = 0.0
    batch_size: int = 1
    padding_waste: float = 0.0
    usage: Usage | None = None

    @property
    def stages_s(self) -> tuple[float, float, float, float]:
        """Seconds in queue, preprocess, forward and postprocess."""
        return self.queue_s, self.preprocess_s, self.forward_s, self.postprocess_s


@dataclass(eq=False)
class Work:
    """One request on its way through the stages.

    Args:
        inputs: decoded, in the pipeline's call form.
        parameters: merged call parameters.
        request_id: for the log.
        bulk: an item of a list, or of very many chunks; single requests go before it for `BULK_HANDICAP_S`.
        emit: takes the events of a streamed answer (`deployments.events`) as they come; called on threads of the
            engine.
        grammar: that its answer is to fit, compiled: not on the preparing thread, for which others wait.
    """

    inputs: Any
    parameters: dict[str, Any]
    request_id: str = ""
    bulk: bool = False
    emit: Callable[[list[Any]], None] | None = None
    grammar: Any = None
    arrived_s: float = field(default_factory=time.perf_counter)
    number: int = field(default_factory=itertools.count().__next__)
    abandoned: bool = False
    future: "asyncio.Future[Done] | None" = None
    # filled by the stages
    template: Any = None
    calls: list[Call] = field(default_factory=list)
    pending: int = 0
    handed_on: bool = False
    told: str = ""  # of a streamed transcript, the text that was emitted
    heard: int = 0  # and the pieces that were through the model by then
    error: BaseException | None = None
    preprocess_s: float = 0.0
    forward_s: float = 0.0
    postprocess_s: float = 0.0
    batch_size: int = 1
    padding_waste: float = 0.0
    usage: Usage | None = None

    @property
    def order(self) -> tuple[float, int]:
        """Sorts oldest first. The handicap is bounded, so a flood of single requests cannot starve a list."""
        return self.order_since(self.arrived_s)

    def order_since(self, since_s: float) -> tuple[float, int]:
        """That of a part which waits since then."""
        return since_s + BULK_HANDICAP_S * self.bulk, self.number

    def leave(self) -> None:
        """Nobody waits for it any more; its media go now, as its turn may be long in coming.

        A stage that is at it may find them gone, and whatever it makes of that is delivered to nobody.
        """
        self.abandoned = True
        self.inputs = None
        for call in self.calls:
            call.inputs = None

    def done(self, outcome: Outcome) -> Done:
        """The outcome with this work's figures."""
        spent = time.perf_counter() - self.arrived_s
        stages = self.preprocess_s, self.forward_s, self.postprocess_s
        return Done(outcome, max(0.0, spent - sum(stages)), *stages, self.batch_size, self.padding_waste, self.usage)


@dataclass(eq=False)
class Chunk:
    """One row of a batch.

    Args:
        work: the request it belongs to.
        call: the run of the pipeline it belongs to.
        position: among the chunks of ``call``.
        inputs: of the model, batch dimension 1.
        size: what it costs, in the task's unit (tokens, pixels, seconds).
        group: chunks of equal group may share a batch; None shares with nobody.
        since_s: when it came in, where its request comes in by parts; None: with its request.
    """

    work: Work
    call: Call
    position: int
    inputs: Mapping[str, Any]
    size: float
    group: Hashable
    since_s: float | None = None

    @property
    def generation(self) -> Any:
        """That of its call: None where it is a row of an ordinary batch."""
        return self.call.generation

    @property
    def order(self) -> tuple[float, int]:
        """That of its request, or of its part of it."""
        return self.work.order if self.since_s is None else self.work.order_since(self.since_s)


def completed(batch: Sequence[Chunk]) -> list[Work]:
    """Requests of ``batch``, which ran, that have nothing left to run, in order; one that failed is done at once."""
    done: dict[int, Work] = {}
    for chunk in batch:
        work = chunk.work
        work.pending -= 1
        if (work.pending == 0 or work.error is not None) and not work.handed_on:
            done[id(work)] = work
    for work in done.values():
        work.handed_on = True
    return list(done.values())
