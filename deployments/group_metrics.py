"""Prometheus series of a replica that models share; each of these has its own as well (`deployments.metrics`)."""

from deployments.metrics import MEMORY
from deployments.series import Series, make_all

SERIES = (
    Series("model_loads", "counter", "Times that a replica of a group loaded the model."),
    Series("model_evictions", "counter", "Times that a replica of a group let the model go."),
)
"""Every series of a group, beside its memory."""


class GroupMetrics:
    """Counts the models that come and go.

    Args:
        group: its name, which stands as ``model`` for the memory of the whole process.
    """

    def __init__(self, group: str) -> None:
        self._made = make_all(SERIES)
        self._memory = make_all([MEMORY], model=group)[MEMORY.name]

    def came(self, model: str) -> None:
        """It was loaded."""
        self._made["model_loads"].inc(tags={"model": model})

    def went(self, model: str) -> None:
        """It is no more in memory."""
        self._made["model_evictions"].inc(tags={"model": model})

    def standing(self, memory: dict[str, int]) -> None:
        """Memory of the process in bytes, by kind; said again at times, for Ray forgets a gauge once it is exported."""
        for kind, count in memory.items():
            self._memory.set(count, tags={"kind": kind})
