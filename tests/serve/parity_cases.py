"""Every case of the parity tests, in groups that are deployed together."""

from tests import legacy
from tests.tiny import CASES, Case

_GROUP_SIZE = 8  # replicas at a time: each is a process with torch and transformers

PARITY_CASES: tuple[Case, ...] = (*CASES, *legacy.CASES)
GROUPS: tuple[tuple[Case, ...], ...] = tuple(
    PARITY_CASES[start : start + _GROUP_SIZE] for start in range(0, len(PARITY_CASES), _GROUP_SIZE)
)
