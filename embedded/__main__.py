"""``python -m embedded [NAME ...]``: prepare the named models, or all; prints one line per model."""

import argparse
import sys
from collections.abc import Sequence

from embedded import MODELS, MissingPackageError, prepare


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: model names; ``None`` reads the command line, none given means every model.

    Returns:
        0, or 1 with a sentence on standard error when a package is missing.
    """
    parser = argparse.ArgumentParser(prog="python -m embedded", description="Prepare the models shipped in packages.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(MODELS)}; default: all")
    names = parser.parse_args(arguments).names
    if unknown := [name for name in names if name not in MODELS]:
        parser.error(f"unknown model {unknown[0]!r}: choose from {', '.join(MODELS)}")
    try:
        prepare(names or None, report=lambda line: print(line, flush=True))
    except MissingPackageError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
