"""How far a job is: an actor that workers tell of each window, a bar in the terminal, and the summary at the end."""

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import ray
from tqdm import tqdm  # type: ignore[import-untyped]

from graph.jobs.figures import Figures

_EVERY_S = 0.5


@ray.remote(num_cpus=0)
class Progress:
    """Sums up the figures of all workers."""

    def __init__(self) -> None:
        self._figures = Figures()
        self._began_s = self._last_s = 0.0

    def ready(self) -> None:
        """A worker can begin; time counts from the first one."""
        self._began_s = self._began_s or time.perf_counter()

    def add(self, figures: Figures) -> None:
        """Those of a window that was written."""
        self._figures.add(figures)
        self._last_s = time.perf_counter()

    def get(self) -> tuple[Figures, float]:
        """Those of all windows by now, and the seconds that they took."""
        return self._figures, max(0.0, self._last_s - self._began_s)


@dataclass(frozen=True)
class Summary:
    """What a job did.

    Args:
        rows, failed: of the output, those included that an earlier run had written.
        answered: rows of this run.
        seconds: from when the first worker was ready until the last window was written (>=0).
        cost, padded, unit: of this run's batches, see `graph.jobs.figures.Figures`.
        peak_bytes: memory of the largest worker at its most, 0 if none ran.
    """

    rows: int
    failed: int
    answered: int
    seconds: float
    cost: float
    padded: float
    unit: str
    peak_bytes: int = 0

    def __str__(self) -> str:
        """One line for a person."""
        spent = max(self.seconds, 1e-9)
        parts = [f"{self.rows} rows", f"{self.failed} failed"]
        if self.answered < self.rows:
            parts.append(f"{self.rows - self.answered} of them written before")
        parts += [f"{self.seconds:.1f} s", f"{self.answered / spent:.1f} rows/s"]
        if self.cost:
            parts.append(f"{self.cost / spent:.0f} {self.unit}/s")
        if self.padded:
            parts.append(f"{1 - self.cost / self.padded:.1%} padding")
        return ", ".join(parts)


class Watch:
    """Follows the progress of a run.

    Args:
        actor: that the workers tell.
        shown: whether a bar is drawn.
    """

    def __init__(self, actor: Any, shown: bool) -> None:
        self.actor = actor
        self._bar = tqdm(unit="row", disable=not shown, smoothing=0.1)
        self.figures, self.seconds = Figures(), 0.0

    def expect(self, rows: float) -> None:
        """About so many rows there will be, from which the time that is left is told."""
        self._bar.total = max(round(rows), self.figures.rows)

    def look(self) -> None:
        """Ask how far it is."""
        figures, self.seconds = ray.get(self.actor.get.remote())
        self._bar.update(figures.rows - self.figures.rows)
        if figures.failed:
            self._bar.set_postfix(failed=figures.failed)
        self.figures = replace(figures)

    @contextlib.contextmanager
    def following(self) -> Iterator[None]:
        """Look again and again while the body runs."""
        over = threading.Event()

        def follow() -> None:
            while not over.wait(_EVERY_S):
                self.look()

        thread = threading.Thread(target=follow, name="progress", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            self.look()
            self._bar.close()
