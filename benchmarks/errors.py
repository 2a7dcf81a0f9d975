"""The one error of a benchmark run."""


class BenchmarkError(Exception):
    """Raised when figures would be worth nothing: a server did not start, a request failed, an answer is wrong."""
