"""Limits of requests a minute count by the clock's own minutes."""

import time

from tests.serve.cluster import until


def early_in_a_minute() -> None:
    """Wait until no new minute begins for a while: then requests of a few seconds are of one."""
    until(lambda: time.time() % 60 < 40)
