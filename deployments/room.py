"""Memory for the decoded media of all requests in a process. No Ray."""

import threading
from collections.abc import Callable


class Room:
    """What is decoded and not answered yet; while it is full, nothing more is begun.

    A file tells its size for certain only when it is decoded, so what is being decoded at that moment comes on top, and
    one file larger than the room is decoded as well: the next ones wait for it.

    Args:
        most: bytes from which on it is full (>=1).
    """

    def __init__(self, most: int) -> None:
        self._most, self._held = most, 0
        self._changed = threading.Condition()
        self._listeners: list[Callable[[], None]] = []

    @property
    def full(self) -> bool:
        """Whether nothing more may be begun now."""
        return self._held >= self._most

    def take(self, size: int) -> None:
        """So many bytes more are held."""
        with self._changed:
            self._held += size

    def give_back(self, size: int) -> None:
        """So many bytes fewer are held; whoever waits is told."""
        with self._changed:
            self._held -= size
            self._changed.notify_all()
            listeners = list(self._listeners)
        for tell in listeners:
            tell()

    def wait(self) -> None:
        """Return when it is not full; not for an event loop, which has `listen`."""
        with self._changed:
            self._changed.wait_for(lambda: not self.full)

    def listen(self, tell: Callable[[], None]) -> None:
        """Call ``tell``, on whatever thread, each time something was given back."""
        with self._changed:
            self._listeners.append(tell)

    def forget(self, tell: Callable[[], None]) -> None:
        """Call it no more."""
        with self._changed:
            self._listeners.remove(tell)
