"""Holds the model of a fake deployment for as long as a test needs it busy."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.serve.cluster import until


class Gate:
    """A file that a fake model waits for: see `deployments.fake.FakePipeline`.

    Args:
        folder: where the file lies.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "gate"

    @property
    def init(self) -> dict[str, Any]:
        """The model's ``init``."""
        return {"gate": str(self._path)}

    @contextmanager
    def closed(self) -> Iterator[None]:
        """No batch that begins in this block ends before it does."""
        self._path.touch()
        try:
            yield
        finally:
            self._path.unlink()

    def busy(self, batches: int = 1) -> None:
        """Wait until so many batches have begun since the gate was closed."""
        until(lambda: len(self._path.read_text().splitlines()) >= batches)
