"""What the command line chose."""

from dataclasses import dataclass
from pathlib import Path

PARTS = ("text", "image", "audio", "chat", "bodies", "dataset", "weights")


@dataclass(frozen=True)
class Settings:
    """Settings of a run.

    Args:
        scale: times the number of inputs (>0, default 1).
        repeats: repetitions of everything, interleaved (>=1, default 3).
        seed: of data and weights (default 0).
        replicas: replicas of the served model (>=1, default 1).
        num_cpus: CPUs of each replica (default 1); torch runs that many threads there, at least one.
        max_items: the project's ``batch.max_items``; None leaves its default.
        output: folder of the results.
    """

    output: Path
    scale: float = 1.0
    repeats: int = 3
    seed: int = 0
    replicas: int = 1
    num_cpus: float = 1
    max_items: int | None = None

    def count(self, usual: int, clients: int = 0) -> int:
        """``usual`` inputs at scale 1; at least 8, and more than there are ``clients`` at a time."""
        return max(8, clients + 1, round(usual * self.scale))
