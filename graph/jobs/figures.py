"""What answering rows took; sums of it travel from the workers to the driver."""

from dataclasses import dataclass


@dataclass
class Figures:
    """What answering took.

    Args:
        rows, failed: so many (>=0).
        cost, padded: in the task's unit, without and with padding (>=0).
        unit: ``tokens``, ``pixels``, ``seconds``; empty where it is not known.
    """

    rows: int = 0
    failed: int = 0
    cost: float = 0.0
    padded: float = 0.0
    unit: str = ""

    def add(self, other: "Figures") -> None:
        """Add those of more rows."""
        self.rows += other.rows
        self.failed += other.failed
        self.cost += other.cost
        self.padded += other.padded
        self.unit = self.unit or other.unit
