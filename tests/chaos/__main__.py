"""Command line: how long, and with which seed; the exit status is 1 if anything is not as it should be."""

import argparse
import os
import signal
import sys
import time

_SHOWN = 20


def main() -> int:
    """Run, and show what became of it as tables."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=3.0, help="of chaos (default 3)")
    parser.add_argument("--kill-every", type=float, default=10.0, help="seconds between two kills (default 10)")
    parser.add_argument("--seed", type=int, default=0, help="default 0")
    chosen = parser.parse_args()
    # a shell that starts this in the background has it ignore SIGINT, which the server would inherit
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")

    from tests.chaos.report import tables
    from tests.chaos.run import run

    began_s = time.monotonic()
    outcome = run(
        60 * chosen.minutes,
        chosen.kill_every,
        chosen.seed,
        lambda line: print(f"[{time.monotonic() - began_s:5.1f} s] {line}", flush=True),
    )
    print(f"\n{tables(outcome)}\n")
    faults = outcome.faults()
    for fault in faults[:_SHOWN]:
        print(f"FAULT {fault}")
    print(f"{len(faults)} faults" if faults else "nothing lost, nothing leaked, nothing wrong")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
