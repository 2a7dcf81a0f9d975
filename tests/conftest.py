"""One folder of tiny models for all; and some tests register the removed tasks, others ask what upstream knows."""

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest
from transformers import pipelines


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test of a cluster that fails is run once more, and named (RERUN) in the summary.

    It takes two dozen processes on whatever machine there is, and what it finds broken is broken twice. All that needs
    no cluster has one try.
    """
    for item in items:
        if item.get_closest_marker("ray"):
            item.add_marker(pytest.mark.flaky(reruns=1))


def pytest_collection_finish() -> None:
    """What is imported by now stays: collections of garbage, which running out of memory brings, pass it by."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the tiny models are built, each by the first who needs it; nobody changes them."""
    return tmp_path_factory.mktemp("checkpoints")


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
