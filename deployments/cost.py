"""What a forward costs on this device: seconds = fixed + rate x padded cost, learnt from the batches that ran. Pure."""

import math
from collections.abc import Sequence

_FORGETS = 0.97  # weight of a batch at each later one: about the last 30 count
_COLD = 2  # first batches, which pay for what happens once


class ForwardCost:
    """A running least-squares line through (padded cost, seconds).

    The times are those of whole forwards, whatever else ran on the machine: the line says what to expect, no more.
    """

    def __init__(self) -> None:
        self._seen = 0
        self._weight = self._x = self._y = self._xx = self._xy = self._rows = 0.0

    def note(self, padded: float, seconds: float, rows: int = 1) -> None:
        """A batch of ``rows`` with this padded cost (>=0) took ``seconds``."""
        self._seen += 1
        if self._seen <= _COLD + 1:
            self._weight = self._x = self._y = self._xx = self._xy = self._rows = 0.0
        keep = _FORGETS
        self._weight = keep * self._weight + 1
        self._x = keep * self._x + padded
        self._y = keep * self._y + seconds
        self._xx = keep * self._xx + padded * padded
        self._xy = keep * self._xy + padded * seconds
        self._rows = keep * self._rows + rows

    @property
    def line(self) -> tuple[float, float] | None:
        """``(fixed, rate)`` in seconds and seconds per unit, both >= 0; None before the first batch."""
        if not self._weight or not self._x:
            return None
        spread = self._weight * self._xx - self._x * self._x
        through_origin = 0.0, self._y / self._x
        if spread <= 1e-9 * self._weight * self._xx:  # batches of one cost say nothing of the fixed part
            return through_origin
        rate = (self._weight * self._xy - self._x * self._y) / spread
        fixed = (self._y - rate * self._x) / self._weight
        if rate <= 0:  # the size does not show beside the fixed part
            return max(self._y / self._weight, 0.0), 0.0
        return (fixed, rate) if fixed >= 0 else through_origin

    @property
    def forward_cost(self) -> float | None:
        """Padded cost that takes as long as a forward takes beside its rows; None where it is not known."""
        line = self.line
        if line is None or self._seen <= _COLD:
            return None
        fixed, rate = line
        return fixed / rate if rate > 0 else float("inf")

    @property
    def row_s(self) -> float:
        """Seconds of a row, its share of the fixed part included, as the last batches had it; 0 before the first."""
        return self._y / self._rows if self._rows else 0.0

    def seconds_for(self, sizes: Sequence[float], max_items: int) -> float:
        """Seconds for rows of these sizes in full batches; 0 while nothing is known."""
        if self.line is None or not sizes:
            return 0.0
        fixed, rate = self.line
        return fixed * math.ceil(len(sizes) / max_items) + rate * sum(sizes)

    def padded_within(self, seconds: float) -> float | None:
        """Padded cost that runs in ``seconds`` (>0), or in twice the fixed part if that is more; None if not known."""
        line = self.line
        if line is None:
            return None
        fixed, rate = line
        return max(fixed, seconds - fixed) / rate if rate > 0 else float("inf")
