"""The parity tests cover the whole task table, but for what no pipeline has: see ``test_embeddings.py``."""

from deployments.tasks import TASKS, canonical_task
from tests.serve.parity_cases import PARITY_CASES


def test_every_task_has_a_parity_case() -> None:
    assert {canonical_task(case.task) for case in PARITY_CASES} == set(TASKS) - {"fake", "sentence-similarity"}
