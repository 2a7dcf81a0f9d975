"""Command line: which parts to measure, how much, and how many replicas serve them."""

import argparse
import os
import signal
import sys
from importlib import import_module
from pathlib import Path

from benchmarks.settings import PARTS, Settings


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Local pipeline against this project.")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)} (default: all)")
    parser.add_argument("--scale", type=float, default=1.0, help="times the number of inputs (0.05: a smoke run)")
    parser.add_argument("--repeats", type=int, default=3, help="repetitions, interleaved (default 3)")
    parser.add_argument("--seed", type=int, default=0, help="of data and weights (default 0)")
    parser.add_argument("--replicas", type=int, default=1, help="replicas of the served model (default 1)")
    parser.add_argument("--num-cpus", type=float, default=1, help="CPUs, and so torch threads, of each (default 1)")
    parser.add_argument("--max-items", type=int, help="the project's batch.max_items (default: its own default)")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results", help="folder of the results")
    chosen = parser.parse_args()
    for part in chosen.parts:
        if part not in PARTS:
            parser.error(f"unknown part {part!r}: choose from {', '.join(PARTS)}")
    if chosen.scale <= 0 or chosen.repeats < 1:
        parser.error("--scale must be above 0 and --repeats at least 1")
    return chosen


def main() -> int:
    """Measure the chosen parts, write and show each one's results; the exit status is 1 if a request failed."""
    # a shell that starts this in the background has it ignore SIGINT, which the servers would inherit
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # every model is on this machine
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    options = vars(_arguments())
    parts = options.pop("parts") or PARTS
    settings = Settings(**options)

    from benchmarks import report
    from benchmarks.errors import BenchmarkError

    for name in parts:
        try:
            outcome = import_module(f"benchmarks.{name}").make(settings).run()
        except BenchmarkError as error:
            print(f"{name}: {error}", file=sys.stderr)  # noqa: T201
            return 1
        print(report.save(outcome, settings.output))  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
