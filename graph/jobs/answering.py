"""What the workers of a job need of whatever answers their rows: a model of their own, or a running graph."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from deployments.tasks import TaskSpec
from graph.jobs.figures import Figures


class Rows(Protocol):
    """Rows that are read when they are asked for; see `graph.jobs.inputs.RowReader`."""

    named: frozenset[str]
    """Parameters that rows may bring."""

    def input(self, row: int) -> Any:
        """In the call form of the task; its errors are the row's."""

    def parameters(self, row: int) -> dict[str, Any]:
        """Those of the row."""


class Predictor(Protocol):
    """Answers windows of rows; from several threads."""

    spec: TaskSpec

    def submit(self, rows: Rows, count: int, broken: Mapping[int, str]) -> Callable[[], list[Any]]:
        """Begin to answer ``count`` rows but for ``broken`` ones.

        Returns:
            What waits for the outcomes: for each row an answer, as for an item of a dataset, or an error.
        """

    def figures(self) -> Figures:
        """Costs since they were last asked for."""

    def unwell(self) -> str | None:
        """Why it can answer no more, or None."""

    def close(self) -> None:
        """End its threads."""
