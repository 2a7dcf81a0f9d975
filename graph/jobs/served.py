"""What answers the rows of a window where a graph runs already: that graph."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from deployments.config import ModelConfig
from deployments.errors import PipelineGraphError
from deployments.tasks import TASKS
from deployments.tensors import pack_tensors, unpack_tensors
from graph.client import pipeline
from graph.encode import element
from graph.jobs.answering import Rows
from graph.jobs.figures import Figures
from graph.passes import BrokenPass, Pass

HANDLE = "handle"


class ServedPredictor:
    """A model of a running graph; its replicas stay those of its configuration.

    Args:
        config: which model: its task, or its name or source.
        parameters: of every call.
        url: of the graph; `HANDLE` for the application in this Ray cluster.
        timeout_s: of one row (>0).

    Raises:
        UnknownModelError: the graph has no such model.
    """

    def __init__(self, config: ModelConfig, parameters: Mapping[str, Any], url: str, timeout_s: float) -> None:
        address = None if url == HANDLE else url
        self._served = pipeline(config.task, config.name or config.model, url=address, timeout_s=timeout_s)
        self.spec = TASKS[self._served.task]
        self._given = dict(parameters)
        self._ways = self._served.ways(self.spec)

    def submit(self, rows: Rows, count: int, broken: Mapping[int, str]) -> Callable[[], list[Any]]:
        """See `graph.jobs.answering.Predictor.submit`."""
        wrong: dict[int, Exception] = {row: PipelineGraphError(said) for row, said in broken.items()}

        def read() -> Iterator[tuple[int, dict[str, Any]]]:
            for row in range(count):
                parameters: dict[str, Any] = {}
                if row not in wrong:
                    try:
                        parameters = pack_tensors({**self._given, **rows.parameters(row)})
                    except Exception as error:  # a cell that cannot be read is the row's
                        wrong[row] = error
                yield row, parameters

        def prepare(row: int) -> Any:
            if row in wrong:
                raise wrong[row]
            return rows.input(row)

        run = Pass(read(), self._ways.preparing(prepare))

        def wait() -> list[Any]:
            try:
                return [self._outcome(run, row, rows.named) for row in range(count)]
            finally:
                run.close()

        return wait

    def _outcome(self, run: Pass, row: int, named: frozenset[str]) -> Any:
        outcome = run.promise(row).result()
        run.taken(row)
        if isinstance(outcome, BrokenPass):
            raise outcome.error
        if isinstance(outcome, Exception):
            return outcome
        return element(
            self.spec, unpack_tensors(outcome), {**self._served.defaults, **self._given, **dict.fromkeys(named)}
        )

    def figures(self) -> Figures:
        """See `graph.jobs.answering.Predictor.figures`: a graph does not tell what its batches cost."""
        return Figures()

    def unwell(self) -> str | None:
        """See `graph.jobs.answering.Predictor.unwell`: a graph replaces its replicas itself."""
        return None

    def close(self) -> None:
        """Nothing runs between windows."""
