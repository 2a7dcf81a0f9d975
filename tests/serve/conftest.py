"""One cluster for the whole folder; models are deployed group by group."""

from collections.abc import Iterator

import pytest
import torch

from tests.serve.cluster import cluster


@pytest.fixture(scope="session")
def url() -> Iterator[str]:
    """Address of the running server."""
    torch.set_num_threads(1)
    with cluster() as address:
        yield address
