"""One checkpoint for the folder."""

from pathlib import Path

import pytest
import torch

from tests.large.models import llama


@pytest.fixture(scope="session")
def language_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of `tests.large.models.llama`."""
    return llama(tmp_path_factory.mktemp("large-llama"))


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)
