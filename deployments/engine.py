"""The three stages of a replica, each on a thread of its own: prepare → forward → finish. No Ray.

While the model runs a batch, the next requests are preprocessed and the last ones postprocessed. Each time the model is
free, the planner (`deployments.plan`) cuts its next batch out of all that is prepared: there is no timer, so a request
alone waits for nothing, and under load batches fill up by themselves. Texts that are generated token by token run
beside these batches, in turns (`deployments.stepwise.turns`).
"""

import logging
import math
import queue
import threading
import time
from collections.abc import Callable

from deployments.delivery import FAILED, Deliver, Delivery
from deployments.errors import InferenceError, ReplicaLostError
from deployments.events import Started
from deployments.finish import Finisher
from deployments.forward import Forwarder
from deployments.hearing import unfinished
from deployments.observe import Observer
from deployments.plan import Limits, cut
from deployments.prepare import MOST_PIECE_BYTES, Preparer
from deployments.ready import Ready
from deployments.stepwise.turns import Turn, Turns
from deployments.watch import Watch
from deployments.work import MANY_CHUNKS, Chunk, Work, completed

logger = logging.getLogger("pipeline_graph.engine")

# prepared and waiting, in budgets of a batch: enough to choose neighbours from, and a bound on memory
_AHEAD = 4
# that a batch may take beside a list: while single requests come, and while none has come for as long as the last says
_BESIDE_LIST_S, _LIST_ALONE_S, _SINGLES_S = 0.1, 0.5, 10.0
_STREAMED_S = 1.0
_PATIENCES = 2  # that one batch may take: all who waited for it are gone by then


class Engine:
    """Runs the stages of one pipeline.

    Args:
        preparer, forwarder, finisher: the stages.
        limits: of a batch; may be replaced at any time.
        observer: is told of every request.
        deliver: takes finished requests with their outcomes; called on a thread of the engine.
        turns: the running batch of text generation, where the model has one.
    """

    def __init__(
        self,
        stages: tuple[Preparer, Forwarder, Finisher],
        limits: Limits,
        observer: Observer,
        deliver: Deliver,
        turns: Turns | None = None,
    ) -> None:
        self.limits = limits
        self._preparer, self._forwarder, finisher = stages
        self._turns = turns
        self._arrived: queue.PriorityQueue[tuple[tuple[float, int], Work | None]] = queue.PriorityQueue()
        self._ready = Ready()
        self._changed = threading.Condition()
        self._stopping = False
        self._single_s = -math.inf  # when the last single request came
        self._watch = Watch()
        self._delivery = Delivery(finisher, observer, deliver, self._watch)
        self.patience_s: Callable[[], float | None] = lambda: None  # seconds that callers wait at most, where known
        self._forwarder.news = self._tell
        targets = {"prepare": self._prepare_loop, "model": self._model_loop, "finish": self._delivery.loop}
        self._threads = [threading.Thread(target=run, name=name, daemon=True) for name, run in targets.items()]
        for thread in self._threads:
            thread.start()

    def submit(self, work: Work) -> None:
        """Take ``work``; its outcome comes through ``deliver``, unless it is abandoned before."""
        if not work.bulk:
            self._single_s = time.perf_counter()
        self._arrived.put((work.order, work))

    @property
    def waiting(self) -> int:
        """Requests not yet prepared, and chunks not yet in the model, without those whose callers left."""
        return self._unprepared() + len(self._ready.waiting())

    def _unprepared(self) -> int:
        return sum(work is not None and not work.abandoned for _, work in list(self._arrived.queue))

    def work(self) -> dict[str, float]:
        """Seconds of the model for what waits, texts that are generated token by token left out, and for one row."""
        cost = self._forwarder.cost
        sizes = [one.size for one in self._ready.waiting() if one.generation is None]
        waiting_s = cost.seconds_for(sizes, self.limits.max_items) + self._unprepared() * cost.row_s
        return {"waiting_s": waiting_s, "request_s": cost.row_s}

    @property
    def generating(self) -> int:
        """Texts in the running batch."""
        return self._turns.rows if self._turns is not None else 0

    def unwell(self) -> str | None:
        """Why this engine can answer no more, or None."""
        if self._lost is not None:
            return f"the device failed ({self._lost})"
        dead = [thread.name for thread in self._threads if not thread.is_alive()]
        if dead:
            return f"the {dead[0]} thread ended"
        patience_s = self.patience_s()
        return None if patience_s is None else self._watch.stuck(_PATIENCES * patience_s)

    @property
    def _lost(self) -> str | None:
        return self._forwarder.lost or (self._turns.lost if self._turns is not None else None)

    def close(self) -> None:
        """End the threads; what still waits is forgotten."""
        self._stopping = True
        self._arrived.put(((-1.0, 0), None))
        with self._changed:
            self._changed.notify_all()
        self._delivery.put(None)
        for thread in self._threads:
            thread.join()

    def _prepare_loop(self) -> None:
        while not self._stopping:
            with self._changed:
                self._changed.wait_for(lambda: self._stopping or not self._enough_ready())
            _, work = self._arrived.get()
            if work is None or work.abandoned:
                continue
            started = time.perf_counter()
            try:
                with self._watch.at("prepare"):
                    chunks = self._preparer.prepare(work)
                if chunks:
                    _announce(work)
            except BaseException as error:  # whatever it is, it must not end the thread: every caller would hang
                work.error, chunks = error, []
            work.preprocess_s = time.perf_counter() - started
            if not chunks:
                self._delivery.put([work])
                continue
            with self._changed:
                self._ready.part = max(MANY_CHUNKS, self.limits.max_items)
                self._ready.add(chunks)
                self._changed.notify_all()

    def _enough_ready(self) -> bool:
        limits = self.limits
        chunks = self._ready.alone()  # whoever asks for little need not wait for the rest of a long request
        if len(chunks) >= _AHEAD * limits.max_items or self._ready.held >= MOST_PIECE_BYTES:
            return True
        return sum(chunk.size for chunk in chunks) >= _AHEAD * limits.max_padded_cost

    def _model_loop(self) -> None:
        while True:
            batch = self._next_batch()
            if batch is None:
                return
            if self._turns is not None and self._turns.busy:
                with self._watch.at("model"):
                    self._turn(self._turns)
            if not batch:
                continue
            try:
                self._run(batch)
            except BaseException as error:
                logger.exception("a batch of %d failed as a whole", len(batch))
                for chunk in batch:
                    chunk.work.error = error
            done = completed(batch)
            if (heard := unfinished(batch)).works:
                self._delivery.put(heard)
            self._delivery.put(done)

    def _run(self, batch: list[Chunk]) -> None:
        if self._lost is not None:
            for chunk in batch:
                chunk.work.error = ReplicaLostError("The device of the replica that had the request failed; try again.")
            return
        with self._watch.at("model"):
            self._forwarder.run(batch)

    def _tell(self, chunk: Chunk, index: int) -> None:
        self._watch.moved("model")
        self._delivery.put(Turn(news=[(chunk, index)]))

    def _turn(self, turns: Turns) -> None:
        """One token more for the running batch."""
        try:
            turn = turns.turn()
        except BaseException as error:
            logger.exception("the running batch failed as a whole")
            turn = Turn(turns.fail(error if isinstance(error, Exception) else InferenceError(FAILED)))
        if turn.news:
            self._delivery.put(turn)
        if turn.finished:
            self._delivery.put(completed(turn.finished))

    def _next_batch(self) -> list[Chunk] | None:
        """The next batch, once there is one or the running batch has a turn to take; None at the end."""
        with self._changed:
            while True:
                self._changed.wait_for(lambda: self._stopping or self._ready or self._generates())
                if self._stopping:
                    return None
                self._ready.sweep()
                if self._ready or self._generates():
                    break
                self._changed.notify_all()
            ready = list(self._ready.chunks)
        batch, admitted = self._chosen(ready)  # others may be prepared meanwhile; only this thread takes any out
        with self._changed:
            self._ready.take([*batch, *admitted])
            self._changed.notify_all()
        return batch

    def _chosen(self, ready: list[Chunk]) -> tuple[list[Chunk], list[Chunk]]:
        """Of ``ready``, the next batch, and those that join the running batch; all, where nothing can run."""
        if self._lost is not None:
            return ready, []
        stepwise = [chunk for chunk in ready if chunk.generation is not None]
        others = [chunk for chunk in ready if chunk.generation is None]
        batch = self._cut(others) if others else []
        return batch, self._turns.admit(stepwise, self.limits) if self._turns is not None else []

    def _generates(self) -> bool:
        return self._turns is not None and self._turns.busy

    def _cut(self, ready: list[Chunk]) -> list[Chunk]:
        try:
            # beside a long list, batches are short, so that single requests wait for a short one only; and for a
            # caller who reads along, so that there is something to read
            streamed = _STREAMED_S if any(chunk.work.emit is not None for chunk in ready) else None
            singles = time.perf_counter() - self._single_s < _SINGLES_S
            listed = _BESIDE_LIST_S if singles else _LIST_ALONE_S
            seconds = listed if any(chunk.work.bulk for chunk in ready) else streamed
            return cut(ready, self._forwarder.limits(self.limits, seconds))
        except BaseException:
            logger.exception("the planner failed; the oldest chunk runs alone")
            return [min(ready, key=lambda chunk: chunk.order)]


def _announce(work: Work) -> None:
    """Tell a caller who wants a stream that the request is good."""
    if work.emit is not None:
        told = work.calls[0].told
        work.emit([Started(told.input_length if told is not None else 0)])
