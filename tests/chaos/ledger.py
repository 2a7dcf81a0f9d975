"""What became of each request: every one that is sent has to end somewhere."""

from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Ledger:
    """The account of a run.

    Args:
        sent: requests, by kind.
        ended: how each ended, by kind: its status, with ``+`` where a Retry-After came with it, or a word.
        wrong: what should not have happened, a sentence each.
    """

    sent: Counter[str] = field(default_factory=Counter)
    ended: dict[str, Counter[str]] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    def begin(self, kind: str) -> None:
        """A request goes out."""
        self.sent[kind] += 1

    def end(self, kind: str, outcome: str, wrong: str = "") -> None:
        """The same request has ended; ``wrong`` says why it should not have ended so."""
        self.ended.setdefault(kind, Counter())[outcome] += 1
        if wrong:
            self.wrong.append(f"{kind}: {wrong}")

    def missing(self) -> dict[str, int]:
        """Requests that never ended, by kind."""
        left = {kind: count - self.ended.get(kind, Counter()).total() for kind, count in self.sent.items()}
        return {kind: count for kind, count in left.items() if count}

    def rows(self) -> list[list[str]]:
        """Of each kind: how many, and how they ended."""
        return [
            [kind, str(self.sent[kind]), ", ".join(f"{outcome}: {count}" for outcome, count in sorted(ended.items()))]
            for kind, ended in sorted(self.ended.items())
        ]


def outcome(status: int, retry_after: object) -> str:
    """A status as the ledger has it."""
    return f"{status}{'+' * bool(retry_after)}"


def may_be_retried(ended: str) -> bool:
    """Whether an outcome asks the caller to come again."""
    return ended in ("429+", "503+", BROKEN_OFF)


BROKEN_OFF = "broken off, retryable"
"""A stream whose replica went away: its last event says so."""
