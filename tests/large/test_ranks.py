"""Tensor parallelism over two processes on the CPU answers as one process does."""

import json
import signal
import subprocess
import sys
import tempfile
from multiprocessing.connection import Listener
from pathlib import Path
from typing import Any

import pytest
import torch

from deployments import ranks
from deployments.load import load_pipeline
from deployments.ranks import _start
from tests.large.models import TEXTS, config, loaded
from tests.large.ranks_trial import SAMPLED, SEEDS
from tests.serve.cluster import ROOT

pytestmark = [pytest.mark.pipelines, pytest.mark.timeout(300)]
TWO: dict[str, Any] = {"tp_plan": "auto", "resources": {"num_gpus": 2}}


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


def test_what_was_started_is_ended_when_loading_fails(language_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other rank waits for this one by then, and would for minutes."""
    folder, started = Path(tempfile.mkdtemp()), []

    def start(*given: Any) -> Any:
        started.append(_start(*given))
        return started[-1]

    def fail(*_: Any) -> None:
        raise RuntimeError("no sums here")

    monkeypatch.setattr(tempfile, "mkdtemp", lambda **_: str(folder))
    monkeypatch.setattr(ranks, "_start", start)
    monkeypatch.setattr(ranks, "_join", fail)
    with pytest.raises(RuntimeError, match="no sums here"):
        ranks.load_over_ranks(config(language_model, **TWO), load_pipeline)
    assert [process.returncode for process in started] == [-signal.SIGKILL]
    assert not folder.exists()


def test_a_rank_ends_with_rank_0_also_while_it_waits_for_it(language_model: Path) -> None:
    key = b"secret"
    with (
        tempfile.TemporaryDirectory() as folder,
        Listener(str(Path(folder, "socket")), family="AF_UNIX", authkey=key) as listener,
        _start(config(language_model, **TWO), 1, Path(folder), key) as other,
    ):
        try:
            with listener.accept():  # it is about to join the ranks, of which rank 0 never is one
                assert other.stdin is not None
                other.stdin.close()
                assert other.wait(60) == 1
        finally:
            other.kill()


def test_a_lost_rank_ends_the_replica(found: dict[str, Any]) -> None:
    assert found["lost"] == ["RankLostError", True]
