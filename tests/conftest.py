"""Some tests register the removed tasks in this process; others ask what transformers itself knows."""

from collections.abc import Iterator

import pytest
from transformers import pipelines


@pytest.fixture(scope="module", autouse=True)
def _upstream_tasks_restored() -> Iterator[None]:
    """Undo the registrations after the last test of the file."""
    tables = pipelines.PIPELINE_REGISTRY.supported_tasks, pipelines.PIPELINE_REGISTRY.task_aliases
    before, resolve = [dict(table) for table in tables], pipelines._resolve_deprecated_task
    yield
    for table, entries in zip(tables, before, strict=True):
        table.clear()
        table.update(entries)
    pipelines._resolve_deprecated_task = resolve
