"""What a run found → Markdown."""

from collections import Counter
from collections.abc import Sequence

from tests.chaos import processes
from tests.chaos.run import Outcome


def tables(outcome: Outcome) -> str:
    """Two tables: of the requests, and of the processes."""
    killed = ", ".join(f"{model} {count}" for model, count in sorted(Counter(outcome.killed).items())) or "none"
    total = outcome.ledger.sent.total()
    return "\n".join(
        [
            f"{total} requests in {outcome.seconds:.0f} s; replicas killed: {killed}.",
            "",
            *_table(("requests", "sent", "ended"), outcome.ledger.rows()),
            "",
            *_table(
                ("process", "count", "memory, MiB", "descriptors", "threads"),
                processes.rows(outcome.before, outcome.after),
            ),
        ]
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *rows)]
