"""Tensor parallelism over two processes on the CPU answers as one process does."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.large.models import TEXTS, loaded
from tests.large.ranks_trial import SAMPLED, SEEDS
from tests.serve.cluster import ROOT

pytestmark = [pytest.mark.pipelines, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def found(language_model: Path) -> dict[str, Any]:
    """What `tests.large.ranks_trial` saw."""
    command = [sys.executable, "-m", "tests.large.ranks_trial", str(language_model)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == 0, done.stderr[-4000:]
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def test_each_rank_has_a_share_and_the_answers_are_those_of_one(found: dict[str, Any], language_model: Path) -> None:
    assert found["share"] == [[128, 128], [256, 128]]
    whole = loaded(language_model)
    expected = [whole(text, max_new_tokens=8, do_sample=False)[0]["generated_text"] for text in TEXTS]
    assert found["answers"] == found["together"] == expected
    assert found["generation"] == "batches"
    assert found["mode"] == "padded"


def test_ranks_draw_the_same_tokens(found: dict[str, Any], language_model: Path) -> None:
    """Otherwise their sums would be of different texts, and no text that one process draws with this seed."""
    whole, texts = loaded(language_model), []
    for seed in SEEDS:
        torch.manual_seed(seed)
        texts.append(whole(TEXTS[0], **SAMPLED)[0]["generated_text"])
    assert [found[f"sampled {seed}"] for seed in SEEDS] == texts
    assert len(set(texts)) == len(SEEDS)


def test_a_bad_input_fails_alone(found: dict[str, Any]) -> None:
    assert found["bad"] in ("InvalidParameterError", "InferenceError")
    assert "max_new_tokens" in found["max_time"]
    assert found["after"] == found["answers"][0]


def test_a_lost_rank_ends_the_replica(found: dict[str, Any]) -> None:
    assert found["lost"] == ["RankLostError", True]
