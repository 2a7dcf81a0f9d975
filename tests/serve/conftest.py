"""One cluster for the whole folder; models are deployed group by group."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from openai import OpenAI

from tests.serve.cluster import cluster
from tests.serve.local import local_pipeline
from tests.serve.served import case_of


@pytest.fixture(scope="session")
def url() -> Iterator[str]:
    """Address of the running server."""
    torch.set_num_threads(1)
    with cluster() as address:
        yield address


@pytest.fixture(scope="module")
def local(server: str, checkpoints: Path) -> Any:
    """The local pipeline of the language model that files serve as ``write``; asked after ``server`` is up."""
    return local_pipeline(case_of("text-generation-llama"), checkpoints)


@pytest.fixture(scope="module")
def client(server: str) -> Iterator[OpenAI]:
    """OpenAI's client of what a file serves, which is that file's ``server``."""
    with OpenAI(base_url=f"{server}/v1", api_key="none", max_retries=0, timeout=60) as client:
        yield client
