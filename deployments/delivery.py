"""The third thread of an engine: what is through the model → answers, and the events of streams. No Ray."""

import logging
import queue
import time
from collections.abc import Callable

from deployments.errors import InferenceError
from deployments.finish import Finisher
from deployments.hearing import Unfinished
from deployments.observe import Observer
from deployments.stepwise.turns import Turn
from deployments.watch import Watch
from deployments.work import Done, Work

logger = logging.getLogger("pipeline_graph.engine")

FAILED = "The model failed; the server's log has the cause."
Deliver = Callable[[list[tuple[Work, Done]]], None]


class Delivery:
    """Finishes requests in the order in which they come, and hands their outcomes on.

    Args:
        finisher: the stage.
        observer: is told of every request.
        deliver: takes finished requests with their outcomes.
        watch: is told what the thread is at.
    """

    def __init__(self, finisher: Finisher, observer: Observer, deliver: Deliver, watch: Watch) -> None:
        self._finisher, self._observer, self._deliver, self._watch = finisher, observer, deliver, watch
        self._through: queue.SimpleQueue[list[Work] | Turn | Unfinished | None] = queue.SimpleQueue()

    def put(self, done: list[Work] | Turn | Unfinished | None) -> None:
        """Requests that have nothing left to run, or what there is to tell of others; None ends the loop."""
        self._through.put(done)

    def loop(self) -> None:
        """Run on the thread."""
        while (done := self._through.get()) is not None:
            try:
                with self._watch.at("finish"):
                    self._settle(done)
            except BaseException:
                logger.exception("answers could not be delivered")

    def _settle(self, done: list[Work] | Turn | Unfinished) -> None:
        if isinstance(done, Turn):
            self._finisher.tell(done.news)
        elif isinstance(done, Unfinished):
            self._finisher.hear(done)
        else:
            self._deliver([(work, self._finish(work)) for work in done if not work.abandoned])

    def _finish(self, work: Work) -> Done:
        started = time.perf_counter()
        try:
            outcome = self._finisher.finish(work)
        except BaseException as error:
            work.error = error
            outcome = InferenceError(FAILED)
        work.postprocess_s = time.perf_counter() - started
        done = work.done(outcome)
        if work.error is not None:
            self._observer.failure()
            if isinstance(outcome, InferenceError):
                told = {"request_id": work.request_id}  # a field of its own where logs are JSON
                logger.error("request %s failed", work.request_id, exc_info=work.error, extra=told)
        self._observer.request(done.queue_s, done.preprocess_s, done.postprocess_s)
        return done
