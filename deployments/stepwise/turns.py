"""Who is in the running batch: in each turn callers who left go, new prompts run, and every row gets one token.

The oldest request comes first. A row counts with the length that it may reach, so that whoever is in can stay until the
end. When memory runs out all the same, or a step fails, all go back to the queue and lose nothing but time; fewer come
in together then.
"""

import gc
import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from deployments.device_map import input_device
from deployments.errors import PayloadTooLargeError
from deployments.forward import device_lost, is_out_of_memory
from deployments.observe import Observer
from deployments.plan import Limits, waste
from deployments.stepwise.room import admitted, cost, prompt_group
from deployments.stepwise.row import Generation, Row
from deployments.stepwise.seq2seq import stepper_for
from deployments.stepwise.stepper import Prefill, to_run
from deployments.work import Chunk

logger = logging.getLogger("pipeline_graph.turns")

# tokens of prompts in one turn, for which the running rows wait
_PROMPT_TOKENS = {"cpu": 512}
_PROMPT_TOKENS_GPU = 4096
_TOO_LARGE = (
    "This input alone needs more memory than the model's device has: send a smaller one, or ask for fewer tokens."
)


@dataclass
class Turn:
    """What came of a turn.

    Args:
        finished: chunks that are through, with their outputs or their error.
        news: streamed chunks that have a token more, with its index.
    """

    finished: list[Chunk] = field(default_factory=list)
    news: list[tuple[Chunk, int]] = field(default_factory=list)


class Turns:
    """The running batch of one model; only the model's thread calls it.

    Args:
        model: a model that `Admission` found fit.
        observer: is told of every step.
    """

    def __init__(self, model: Any, observer: Observer) -> None:
        self._stepper = stepper_for(model)
        self._model = model
        self._observer = observer
        self._prompt_tokens = _PROMPT_TOKENS.get(input_device(model).type, _PROMPT_TOKENS_GPU)
        self._live: list[Chunk] = []  # with rows in the stepper
        self._joining: list[Chunk] = []  # admitted, prompts not yet run
        self._prefill: tuple[Prefill, list[Chunk]] | None = None
        self._back: list[Chunk] = []  # put out again
        self._stepping = False  # whether the next turn is the rows'
        self.ceiling: float | None = None  # rows x longest that memory allows
        self.lost: str | None = None

    @property
    def rows(self) -> int:
        """Rows in the batch."""
        return len(self._stepper.rows)

    @property
    def busy(self) -> bool:
        """Whether there is anything to do."""
        return bool(self._live or self._joining or self._prefill or self._back)

    def admit(self, ready: Sequence[Chunk], limits: Limits) -> list[Chunk]:
        """Take in what fits, oldest first; those of ``ready`` that came in."""
        self._stepper.prefixes.bound(limits.max_prefix_tokens)
        bound = min(limits.max_padded_cost, self.ceiling or limits.max_padded_cost)
        waiting = [chunk for chunk in (*self._back, *ready) if not chunk.work.abandoned]
        taken = admitted(self._inside(), waiting, limits.max_items, bound)
        self._joining += taken
        ids = set(map(id, taken))
        self._back = [chunk for chunk in self._back if id(chunk) not in ids and not chunk.work.abandoned]
        return taken

    def turn(self) -> Turn:
        """Run some prompts, or one step: in turn, so that first tokens need not wait for a step to be told."""
        done = Turn()
        prompts = bool(self._prefill or self._joining) and not (self._stepping and self.rows)
        self._stepping = prompts
        failure: Exception | None = None
        try:
            self._drop_abandoned()
            (self._run_prompts if prompts else self._run_step)(done)
        except Exception as error:
            failure = error
        if failure is not None:  # outside of the handler, whose traceback holds the tensors of the failed try
            failure.__traceback__ = None
            self._recover(failure, done)
        return done

    def fail(self, error: Exception) -> list[Chunk]:
        """Give up all that is inside; the chunks, each with ``error``."""
        inside = [*self._inside(), *self._back]
        for chunk in inside:
            chunk.work.error = error
        self._live, self._joining, self._back, self._prefill = [], [], [], None
        self._stepper = stepper_for(self._model)
        return inside

    def _inside(self) -> list[Chunk]:
        return [*self._live, *(self._prefill[1] if self._prefill else []), *self._joining]

    def _drop_abandoned(self) -> None:
        for chunk in [chunk for chunk in self._inside() if chunk.work.abandoned]:
            self._remove(chunk)
        self._back = [chunk for chunk in self._back if not chunk.work.abandoned]

    def _remove(self, chunk: Chunk) -> None:
        """Take a chunk out, wherever it is."""
        self._live = [other for other in self._live if other is not chunk]
        self._joining = [other for other in self._joining if other is not chunk]
        if self._prefill is not None and any(other is chunk for other in self._prefill[1]):
            rest = [other for other in self._prefill[1] if other is not chunk]
            self._joining = rest + self._joining  # their prompts begin anew
            self._prefill = None
        self._stepper.drop({id(row) for row in chunk.generation.rows})

    def _run_prompts(self, done: Turn) -> None:
        """Prompts, until this turn's share of tokens is spent."""
        budget = self._prompt_tokens
        while budget > 0 and (self._prefill or self._joining):
            if self._prefill is None:
                self._prefill = self._next_prompts()
                self._observer.reused(self._prefill[0].reused)
            prefill, group = self._prefill
            started, before = time.perf_counter(), prefill.left
            through = self._stepper.prefill(prefill, budget)
            budget -= (before - prefill.left) * len(prefill.rows) + group[0].generation.read
            self._note(group, prefill.rows, time.perf_counter() - started, prefill.width)
            if through:
                self._prefill = None
                self._live += group
                gone = self._settle(group, done)  # before what may fail: these tokens are not chosen again
                self._stepper.join(prefill)
                self._stepper.drop(gone)

    def _next_prompts(self) -> tuple[Prefill, list[Chunk]]:
        """Of the oldest that joins, and of those of similar length."""
        group = prompt_group(self._joining, self._prompt_tokens, self._to_run)
        for chunk in group:
            if not chunk.generation.started:
                chunk.generation.started = True
                for row in chunk.generation.rows:
                    row.begin()
        rows = [row for chunk in group for row in chunk.generation.rows if not row.over]
        prefill = self._stepper.begin(rows, group[0].generation.media)
        ids = set(map(id, group))
        self._joining = [chunk for chunk in self._joining if id(chunk) not in ids]
        return prefill, group

    def _to_run(self, chunk: Chunk) -> int:
        return max(to_run(row, self._stepper.prefixes) for row in chunk.generation.rows)

    def _run_step(self, done: Turn) -> None:
        if not self._stepper.rows:
            return
        started, rows = time.perf_counter(), list(self._stepper.rows)
        self._stepper.step()
        self._note(self._live, rows, time.perf_counter() - started, max(row.length for row in rows))
        for chunk in self._live:
            chunk.generation.company = None
        self._stepper.drop(self._settle(self._live, done))

    def _note(self, chunks: Sequence[Chunk], rows: Sequence[Row], spent: float, width: int) -> None:
        wasted = max(0.0, waste(sum(min(row.length, width) for row in rows), width * len(rows)))
        self._observer.batch(len(rows), wasted, spent)
        for chunk in chunks:
            work = chunk.work
            work.forward_s += spent
            work.batch_size = max(work.batch_size, len(rows))
            work.padding_waste = max(work.padding_waste, wasted)

    def _settle(self, chunks: Sequence[Chunk], done: Turn) -> set[int]:
        """Let go of chunks that are through, and tell the news of the others; ``id()`` of the rows that are to go."""
        over = []
        for chunk in chunks:
            generation: Generation = chunk.generation
            if generation.error is not None or generation.over:
                chunk.work.error = generation.error
                if chunk.work.error is None:
                    chunk.call.outputs[chunk.position] = generation.answer()
                over.append(chunk)
            elif chunk.work.emit is not None:
                done.news.append((chunk, len(generation.rows[0].tokens) - 1))
        rows = {id(row) for chunk in chunks for row in chunk.generation.rows if row.over}
        rows |= {id(row) for chunk in over for row in chunk.generation.rows}
        ids = set(map(id, over))
        self._live = [chunk for chunk in self._live if id(chunk) not in ids]
        done.finished += over
        return rows

    def _recover(self, failure: Exception, done: Turn) -> None:
        """After a forward that failed: fewer rows, or the error to whom it belongs."""
        if device_lost(failure):
            self.lost = type(failure).__name__
            done.finished += self.fail(failure)
            return
        involved = sorted(self._inside(), key=lambda chunk: chunk.order)
        self._live, self._joining, self._prefill = [], [], None
        self._stepper.empty()
        out_of_memory = is_out_of_memory(failure)
        if out_of_memory and len(self._stepper.prefixes):
            logger.warning("memory ran out: beginnings of prompts are not kept any more")
            self._stepper.prefixes.stop()
        elif len(involved) == 1:
            (chunk,) = involved
            chunk.work.error = PayloadTooLargeError(_TOO_LARGE, "inputs") if out_of_memory else failure
            done.finished.append(chunk)
            involved = []
        elif involved and out_of_memory:
            self.ceiling = min(self.ceiling or math.inf, cost(involved) / 2)
            self._observer.ceiling(self.ceiling)
        elif involved:
            logger.info("a step of %d requests failed (%s); half as many run", len(involved), type(failure).__name__)
            self._observer.split(len(involved))
            for chunk in involved:
                chunk.generation.company = (len(involved) + 1) // 2
        self._back += involved  # where they were, they go on
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
