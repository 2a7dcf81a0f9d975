"""Tiny models of the tasks that transformers 5 removed, and what transformers 4.57 answered with them."""

from tests.legacy.models import CASES

__all__ = ["CASES"]
