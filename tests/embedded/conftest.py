"""One prepared cache for the whole folder, and torch on one thread. Without the packages these tests are skipped."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from embedded import MissingPackageError, prepare


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Keep torch to one thread: the machine has few cores, and its idle threads spin."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def models() -> dict[str, Path]:
    """Folder of each model, made in the ordinary cache when it is not there yet (about 20 s)."""
    try:
        return prepare()
    except MissingPackageError as error:
        pytest.skip(str(error))
