"""One Prometheus series as a row of a table: what it is called, counts, and is told apart by.

The tables are `deployments.metrics.SERIES` and `graph.metrics.SERIES`; docs/metrics.md lists both, and a test compares.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from ray.serve import metrics

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


@dataclass(frozen=True)
class Series:
    """A row.

    Args:
        name: without prefix or suffix, with its unit.
        kind: of Prometheus.
        says: one sentence.
        tags: beside those that Ray Serve adds: application, deployment and replica.
        boundaries: of a histogram's buckets.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    says: str
    tags: tuple[str, ...] = ("model",)
    boundaries: tuple[float, ...] = SECONDS

    @property
    def exported(self) -> str:
        """The name by which it is scraped; a histogram has ``_bucket``, ``_sum`` and ``_count`` behind it."""
        return f"ray_pipeline_graph_{self.name}{'_total' * (self.kind == 'counter')}"

    def make(self) -> Any:
        """The object of Ray that counts; its ``set_default_tags`` spares naming them at each call."""
        name = f"pipeline_graph_{self.name}"
        if self.kind == "histogram":
            return metrics.Histogram(name, self.says, boundaries=list(self.boundaries), tag_keys=self.tags)
        return {"counter": metrics.Counter, "gauge": metrics.Gauge}[self.kind](name, self.says, tag_keys=self.tags)


def make_all(series: Iterable[Series], **tags: str) -> dict[str, Any]:
    """Ray's objects by name, with values for ``tags``."""
    made = {each.name: each.make() for each in series}
    for each in made.values():
        each.set_default_tags(dict(tags))
    return made


def above_zero(value: float) -> float:
    """What a histogram of Ray takes: it refuses 0."""
    return max(value, 1e-9)
