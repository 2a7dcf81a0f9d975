"""The documents name what there is: every task, every configuration key, every route."""

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from deployments.config import (
    BatchConfig,
    CacheConfig,
    GroupConfig,
    MediaLimits,
    ModelConfig,
    ResourceConfig,
    ScaleConfig,
)
from deployments.stepwise.options import OPTION_NAMES
from deployments.tasks import ALIASES, TASKS
from graph.accept import JSON, answer_types
from graph.access.config import AccessConfig
from graph.config import FetchConfig, FilesConfig, LimitsConfig, RouterConfig

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
        ("groups.NAME.", GroupConfig),
        ("media.", MediaLimits),
        ("limits.", LimitsConfig),
        ("fetch.", FetchConfig),
        ("files.", FilesConfig),
        ("router.", RouterConfig),
        ("access.", AccessConfig),
    ],
)
def test_every_configuration_key_is_documented(prefix: str, model: type[BaseModel]) -> None:
    text = (ROOT / "docs/configuration.md").read_text()
    nested = {"batch", "cache", "scale", "resources"}
    missing = [name for name in model.model_fields if name not in nested and f"`{prefix}{name}`" not in text]
    assert not missing


@pytest.mark.parametrize("name", sorted(OPTION_NAMES))
def test_every_parameter_that_is_ours_is_documented(name: str) -> None:
    assert f"`{name}`" in (ROOT / "docs/generation.md").read_text()


@pytest.mark.parametrize("task", sorted(set(TASKS) - {"fake"}))
def test_every_kind_of_answer_is_documented(task: str) -> None:
    rows = [line for line in (ROOT / "docs/http.md").read_text().splitlines() if line.startswith("|")]
    mine = "".join(row for row in rows if f"`{task}`" in row or row.startswith("| all |"))
    first, *others = answer_types(TASKS[task])
    assert all(f"`{media_type}`" in mine for media_type in (first, *others))
    assert (f"**`{first}`**" in mine) == (first != JSON)


def test_the_readme_names_the_make_targets_that_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:^|`)make ([a-z-]+)", (ROOT / "README.md").read_text(), re.MULTILINE)) <= targets
