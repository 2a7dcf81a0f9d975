"""Stop texts are no part of the answer: they are cut out, and in a stream what may become one is held back."""

from collections.abc import Sequence


class Stops:
    """One answer's text up to the first of some texts.

    Args:
        stops: none of them empty.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._held = ""
        self.cut = False

    @property
    def holds(self) -> bool:
        """Whether some text is not told yet."""
        return bool(self._held)

    def push(self, text: str) -> str:
        """What is sure to be part of the answer by now."""
        if self.cut:
            return ""
        text = self._held + text
        at = min((place for place in map(text.find, self._stops) if place >= 0), default=None)
        if at is not None:
            self.cut, self._held = True, ""
            return text[:at]
        kept = len(text) - max((_overlap(text, stop) for stop in self._stops), default=0)
        self._held = text[kept:]
        return text[:kept]

    def end(self) -> str:
        """What was held back and is no stop after all."""
        text, self._held = self._held, ""
        return text


def _overlap(text: str, stop: str) -> int:
    """Characters at the end of ``text`` with which ``stop`` may begin."""
    longest = min(len(text), len(stop) - 1)
    return next((size for size in range(longest, 0, -1) if text.endswith(stop[:size])), 0)
