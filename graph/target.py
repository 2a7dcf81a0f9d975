"""One configured model as the router sees it."""

import dataclasses
import functools
from typing import Any

from deployments.config import ModelConfig
from deployments.tasks import TaskSpec


@dataclasses.dataclass(frozen=True)
class Target:
    """One configured model."""

    config: ModelConfig
    spec: TaskSpec
    handle: Any

    @property
    def name(self) -> str:
        """Name of the model."""
        return str(self.config.name)

    @functools.cached_property
    def streaming(self) -> Any:
        """The handle for answers that come in pieces; made once, as each new one brings its own long-polling."""
        return self.handle.options(stream=True, method_name="stream")

    @property
    def tasks(self) -> tuple[str, ...]:
        """Every task that it serves, its own first."""
        return (self.spec.name, *self.spec.also)
