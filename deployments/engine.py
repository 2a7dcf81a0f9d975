"""The three stages of a replica, each on a thread of its own: prepare → forward → finish. No Ray.

While the model runs a batch, the next requests are preprocessed and the last ones postprocessed. Each time the model is
free, the planner (`deployments.plan`) cuts its next batch out of all that is prepared: there is no timer, so a request
alone waits for nothing, and under load batches fill up by themselves. Texts that are generated token by token run
beside these batches, in turns (`deployments.stepwise.turns`).
"""

import logging
import queue
import threading
import time
from collections.abc import Callable

from deployments.errors import InferenceError
from deployments.events import Started
from deployments.finish import Finisher
from deployments.forward import Forwarder
from deployments.hearing import Unfinished, unfinished
from deployments.observe import Observer
from deployments.plan import Limits, cut
from deployments.prepare import MOST_PIECE_BYTES, Preparer
from deployments.ready import Ready
from deployments.stepwise.turns import Turn, Turns
from deployments.work import MANY_CHUNKS, Chunk, Done, Work, completed

logger = logging.getLogger("pipeline_graph.engine")

# prepared and waiting, in budgets of a batch: enough to choose neighbours from, and a bound on memory
_AHEAD = 4
_BESIDE_LIST_S = 0.1
_STREAMED_S = 1.0
_FAILED = "The model failed; the server's log has the cause."
Deliver = Callable[[list[tuple[Work, Done]]], None]


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
        self._preparer, self._forwarder, self._finisher = stages
        self._observer, self._deliver, self._turns = observer, deliver, turns
        self._arrived: queue.PriorityQueue[tuple[tuple[float, int], Work | None]] = queue.PriorityQueue()
        self._ready = Ready()
        self._changed = threading.Condition()
        self._finished: queue.SimpleQueue[list[Work] | Turn | Unfinished | None] = queue.SimpleQueue()
        self._stopping = False
        self._forwarder.news = lambda chunk, index: self._finished.put(Turn(news=[(chunk, index)]))
        targets = {"prepare": self._prepare_loop, "model": self._model_loop, "finish": self._finish_loop}
        self._threads = [threading.Thread(target=run, name=name, daemon=True) for name, run in targets.items()]
        for thread in self._threads:
            thread.start()

    def submit(self, work: Work) -> None:
        """Take ``work``; its outcome comes through ``deliver``, unless it is abandoned before."""
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
        lost = self._forwarder.lost or (self._turns.lost if self._turns is not None else None)
        if lost is not None:
            return f"the device failed ({lost})"
        dead = [thread.name for thread in self._threads if not thread.is_alive()]
        return f"the {dead[0]} thread ended" if dead else None

    def close(self) -> None:
        """End the threads; what still waits is forgotten."""
        self._stopping = True
        self._arrived.put(((-1.0, 0), None))
        with self._changed:
            self._changed.notify_all()
        self._finished.put(None)
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
                chunks = self._preparer.prepare(work)
                if chunks:
                    _announce(work)
            except BaseException as error:  # whatever it is, it must not end the thread: every caller would hang
                work.error, chunks = error, []
            work.preprocess_s = time.perf_counter() - started
            if not chunks:
                self._finished.put([work])
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
                self._turn(self._turns)
            if not batch:
                continue
            try:
                self._forwarder.run(batch)
            except BaseException as error:
                logger.exception("a batch of %d failed as a whole", len(batch))
                for chunk in batch:
                    chunk.work.error = error
            done = completed(batch)
            if (heard := unfinished(batch)).works:
                self._finished.put(heard)
            self._finished.put(done)

    def _turn(self, turns: Turns) -> None:
        """One token more for the running batch."""
        try:
            turn = turns.turn()
        except BaseException as error:
            logger.exception("the running batch failed as a whole")
            turn = Turn(turns.fail(error if isinstance(error, Exception) else InferenceError(_FAILED)))
        if turn.news:
            self._finished.put(turn)
        if turn.finished:
            self._finished.put(completed(turn.finished))

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
            stepwise = [chunk for chunk in self._ready.chunks if chunk.generation is not None]
            others = [chunk for chunk in self._ready.chunks if chunk.generation is None]
            batch = self._cut(others) if others else []
            admitted = self._turns.admit(stepwise, self.limits) if self._turns is not None else []
            self._ready.take([*batch, *admitted])
            self._changed.notify_all()
        return batch

    def _generates(self) -> bool:
        return self._turns is not None and self._turns.busy

    def _cut(self, ready: list[Chunk]) -> list[Chunk]:
        try:
            # beside a long list, batches are short, so that single requests wait for a short one only; and for a
            # caller who reads along, so that there is something to read
            streamed = _STREAMED_S if any(chunk.work.emit is not None for chunk in ready) else None
            seconds = _BESIDE_LIST_S if any(chunk.work.bulk for chunk in ready) else streamed
            return cut(ready, self._forwarder.limits(self.limits, seconds))
        except BaseException:
            logger.exception("the planner failed; the oldest chunk runs alone")
            return [min(ready, key=lambda chunk: chunk.order)]

    def _finish_loop(self) -> None:
        while True:
            works = self._finished.get()
            if works is None:
                return
            try:
                if isinstance(works, Turn):
                    self._finisher.tell(works.news)
                elif isinstance(works, Unfinished):
                    self._finisher.hear(works)
                else:
                    self._deliver([(work, self._finish(work)) for work in works if not work.abandoned])
            except BaseException:
                logger.exception("answers could not be delivered")

    def _finish(self, work: Work) -> Done:
        started = time.perf_counter()
        try:
            outcome = self._finisher.finish(work)
        except BaseException as error:
            work.error = error
            outcome = InferenceError(_FAILED)
        work.postprocess_s = time.perf_counter() - started
        done = work.done(outcome)
        if work.error is not None:
            self._observer.failure()
            if isinstance(outcome, InferenceError):
                told = {"request_id": work.request_id}  # a field of its own where logs are JSON
                logger.error("request %s failed", work.request_id, exc_info=work.error, extra=told)
        self._observer.request(done.queue_s, done.preprocess_s, done.postprocess_s)
        return done


def _announce(work: Work) -> None:
    """Tell a caller who wants a stream that the request is good."""
    if work.emit is not None:
        told = work.calls[0].told
        work.emit([Started(told.input_length if told is not None else 0)])
