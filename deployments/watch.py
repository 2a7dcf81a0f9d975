"""Since when each thread of an engine has been at one piece of work; one that hangs raises nothing. No Ray."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Watch:
    """Written by the threads, read by whoever asks for their health."""

    def __init__(self) -> None:
        self._since: dict[str, float] = {}

    @contextmanager
    def at(self, name: str) -> Iterator[None]:
        """Held by the thread ``name`` for one piece of work."""
        self._since[name] = time.perf_counter()
        try:
            yield
        finally:
            self._since.pop(name, None)

    def moved(self, name: str) -> None:
        """The thread ``name`` has something to show for its piece of work, as the next token of a text."""
        if name in self._since:
            self._since[name] = time.perf_counter()

    def stuck(self, most_s: float) -> str | None:
        """The thread that has been at one piece of work for longer, in words, or None."""
        now = time.perf_counter()
        for name, since in self._since.copy().items():
            if now - since > most_s:
                return f"the {name} thread has been at one piece of work for {now - since:.0f} s"
        return None
