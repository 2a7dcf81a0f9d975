"""What is told of a model that loads: transformers' and the hub's own bars, seen from outside."""

import importlib
import json
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import _snapshot_download
from huggingface_hub.utils.tqdm import _get_progress_bar_context
from transformers.utils import logging

from deployments import progress
from deployments.progress import FOLDER, report, watched


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Everything that is written, in order."""
    monkeypatch.setenv(FOLDER, str(tmp_path))
    monkeypatch.setattr(progress, "_EVERY_S", 0)
    found: list[dict[str, Any]] = []
    replace = Path.replace

    def noted(self: Path, target: Path) -> Path:
        found.append(json.loads(self.read_text()))
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", noted)
    return found


def test_weights_are_counted_as_they_are_loaded(told: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]) -> None:
    with watched("m"):
        seen = list(logging.tqdm({"a": 1, "b": 2, "c": 3}.items(), desc="Loading weights"))
    assert seen == [("a", 1), ("b", 2), ("c", 3)]
    assert told[-1] == {"name": "m", "stage": "weights", "done": 3, "total": 3}
    assert [one["done"] for one in told] == sorted(one["done"] for one in told)
    assert capsys.readouterr().err == ""


def test_a_file_that_is_downloaded_is_counted_in_bytes(
    told: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    with watched("m"), _get_progress_bar_context(desc="one", log_level=20, total=1000, name="hub.http_get") as bar:
        bar.update(500)
        assert told[-1] == {"name": "m", "stage": "download", "done": 500, "total": 1000}
        bar.update(500)
    assert told[-1]["done"] == 1000
    assert capsys.readouterr().err == ""


def test_a_file_of_unknown_size_leaves_the_whole_unknown(told: list[dict[str, Any]]) -> None:
    with watched("m"), _get_progress_bar_context(desc="one", log_level=20) as bar:
        bar.update(7)
    assert told[-1] == {"name": "m", "stage": "download", "done": 7, "total": 0}


def test_bars_are_their_own_again_afterwards() -> None:
    hub = importlib.import_module("huggingface_hub.utils.tqdm")
    before = hub.tqdm, logging._tqdm_hook
    watching = watched("m")
    watching.__enter__()
    assert hub.tqdm is not before[0]
    error = RuntimeError("it could not be loaded")
    assert not watching.__exit__(type(error), error, None)
    assert (hub.tqdm, logging._tqdm_hook) == before
    assert _snapshot_download.hf_tqdm is before[0]


def test_nothing_is_written_where_nobody_watches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(FOLDER, raising=False)
    monkeypatch.chdir(tmp_path)
    report("m", "check")
    monkeypatch.setenv(FOLDER, str(tmp_path / "gone"))
    report("m", "check")
    assert list(tmp_path.iterdir()) == []
