"""The documents name what there is: every task, every configuration key, every route."""

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from deployments.config import BatchConfig, CacheConfig, MediaLimits, ModelConfig, ResourceConfig, ScaleConfig
from deployments.tasks import ALIASES, TASKS
from graph.config import FetchConfig, LimitsConfig, RouterConfig

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("document", ["README.md", "docs/tasks.md"])
@pytest.mark.parametrize("task", sorted({*TASKS, *ALIASES} - {"fake"}))
def test_every_task_is_in_the_documents(document: str, task: str) -> None:
    assert f"`{task}`" in (ROOT / document).read_text()


@pytest.mark.parametrize(
    ("prefix", "model"),
    [
        ("", ModelConfig),
        ("batch.", BatchConfig),
        ("cache.", CacheConfig),
        ("scale.", ScaleConfig),
        ("resources.", ResourceConfig),
        ("media.", MediaLimits),
        ("limits.", LimitsConfig),
        ("fetch.", FetchConfig),
        ("router.", RouterConfig),
    ],
)
def test_every_configuration_key_is_documented(prefix: str, model: type[BaseModel]) -> None:
    text = (ROOT / "docs/configuration.md").read_text()
    nested = {"batch", "cache", "scale", "resources"}
    missing = [name for name in model.model_fields if name not in nested and f"`{prefix}{name}`" not in text]
    assert not missing


def test_the_readme_names_the_make_targets_that_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:^|`)make ([a-z-]+)", (ROOT / "README.md").read_text(), re.MULTILINE)) <= targets
