"""One target under libFuzzer: ``python -m tests.fuzz.one NAME [libFuzzer's options] [FOLDER]``."""

import sys

import atheris

with atheris.instrument_imports(include=["PIL", "starlette", "python_multipart", "deployments", "graph"]):
    from tests.fuzz.targets import check


def main() -> None:
    """Run until the time is over or something is found."""
    name = sys.argv.pop(1)
    atheris.Setup(sys.argv, lambda data: check(name, bytes(data)))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
