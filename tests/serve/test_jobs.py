"""Jobs on a real Ray: the local pipeline's answers, each row once whatever is killed, and memory that stays bounded."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import ray
import soundfile

import graph
from deployments.config import ModelConfig
from graph.jobs.run import run
from graph.jobs.settings import Columns, Engine, Job, Pool
from tests.serve.cluster import ROOT, deploy, until
from tests.serve.local import local_pipeline
from tests.serve.served import case_of, served
from tests.tiny import checkpoint, samples
from tests.tiny.compare import difference

pytestmark = [pytest.mark.ray, pytest.mark.pipelines, pytest.mark.timeout(400)]

CLASSIFY, SPEECH, PICTURES = "text-classification-bert", "asr-whisper", "image-classification-vit"
TEXTS = [
    f"The city of {place} is bad for my {pet} {'and my house ' * (number % 9)}"
    for number in range(30)
    for place, pet in (("Paris", "dog"), ("London", "cat"))
]
SLOW = {"init": {"forward_s": 0.05}, "batch": {"max_items": 4}}


def model(name: str, checkpoints: Path, **more: Any) -> ModelConfig:
    case = case_of(name)
    given = {"name": case.id, "task": case.task, "model": str(checkpoint(case, checkpoints)), "init": case.init}
    return ModelConfig.model_validate({**given, "resources": {"num_cpus": 0.5}, **more})


def fake(**more: Any) -> ModelConfig:
    return ModelConfig.model_validate({"name": "fake", "task": "fake", "resources": {"num_cpus": 0.5}, **more})


def write_rows(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return str(path)


def output(folder: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(folder).to_pylist()
    return rows


@pytest.fixture(scope="module")
def server(url: str, checkpoints: Path) -> str:
    deploy(url, {"models": [served(case_of(CLASSIFY), checkpoints)]})
    return url


@pytest.fixture(params=["own workers", "http", "handle"])
def engine(request: pytest.FixtureRequest, server: str, checkpoints: Path) -> Engine:
    if request.param == "own workers":
        return Engine(model(CLASSIFY, checkpoints))
    return Engine(model(CLASSIFY, checkpoints), {}, server if request.param == "http" else "handle")


def test_rows_keep_their_columns_and_gain_the_local_answers(engine: Engine, tmp_path: Path, checkpoints: Path) -> None:
    rows = [{"id": number, "text": text, "k": number % 3 or None} for number, text in enumerate(TEXTS)]
    rows[7]["text"] = None
    source = write_rows(tmp_path / "in.jsonl", rows)
    with Path(source).open("a") as file:
        file.write("no JSON\n")
    columns = Columns("text", {"top_k": "k"}, "answer", "wrong")
    summary = run(Job((source,), str(tmp_path / "out"), engine, columns, Pool(1, 2), window=16))
    found = sorted(output(tmp_path / "out"), key=lambda row: (row["id"] is None, row["id"]))
    assert (summary.rows, summary.failed, len(found)) == (len(TEXTS) + 1, 2, len(TEXTS) + 1)
    local = local_pipeline(case_of(CLASSIFY), checkpoints)
    for row, made in zip(rows, found, strict=False):
        assert {name: made[name] for name in row} == row
        if row["text"] is None:
            assert made["answer"] is None
            assert "null in this row" in made["wrong"]
            continue
        assert made["wrong"] is None
        want = local(row["text"], top_k=row["k"]) if row["k"] is not None else local(row["text"])
        assert difference(want, made["answer"]) is None
    assert "not a JSON object" in found[-1]["wrong"]


def test_images_and_sounds_of_folders(tmp_path: Path, checkpoints: Path, server: str) -> None:
    for name in ("pictures", "sounds"):
        (tmp_path / name).mkdir()
    for number, picture in enumerate(samples.pictures()):
        picture.save(tmp_path / f"pictures/{number}.png")
    (tmp_path / "pictures/9.png").write_bytes(b"no picture")
    for number, sound in enumerate(samples.tones()):
        soundfile.write(tmp_path / f"sounds/{number}.wav", sound, 16000, "FLOAT")
    always = case_of(SPEECH).always
    run(Job((str(tmp_path / "pictures"),), str(tmp_path / "seen"), Engine(model(PICTURES, checkpoints))))
    run(Job((str(tmp_path / "sounds"),), str(tmp_path / "heard"), Engine(model(SPEECH, checkpoints), always)))
    seen = sorted(output(tmp_path / "seen"), key=lambda row: row["path"])
    assert seen.pop()["error"] is not None
    local = local_pipeline(case_of(PICTURES), checkpoints)
    for picture, row in zip(samples.pictures(), seen, strict=True):
        assert difference(local(picture), row["prediction"]) is None
    local = local_pipeline(case_of(SPEECH), checkpoints)
    heard = sorted(output(tmp_path / "heard"), key=lambda row: row["path"])
    for sound, row in zip(samples.tones(), heard, strict=True):
        assert row["prediction"] == local(sound, **always)


def test_a_ray_dataset_gains_the_local_answers(engine: Engine, checkpoints: Path) -> None:
    dataset = ray.data.from_items([{"id": number, "text": text} for number, text in enumerate(TEXTS)])
    config = engine.model.model_dump(include={"model", "init", "resources"}) if engine.url is None else {}
    named = config.pop("model", CLASSIFY)
    mapped = graph.map_dataset(
        dataset, engine.model.task, named, parameters={"top_k": 2}, replicas=(1, 2), window=16, url=engine.url, **config
    )
    found = sorted(mapped.take_all(), key=lambda row: row["id"])
    want = local_pipeline(case_of(CLASSIFY), checkpoints)(TEXTS, top_k=2)
    assert difference(want, [list(row["prediction"]) for row in found]) is None
    assert [row["text"] for row in found] == TEXTS
    assert {row["error"] for row in found} == {None}


def test_shards_and_a_limit_together_make_the_job(tmp_path: Path, server: str) -> None:
    source = write_rows(tmp_path / "in.jsonl", [{"id": number, "text": f"{number}"} for number in range(500)])
    for index in range(3):
        job = Job((source,), str(tmp_path / "out"), Engine(fake()), window=50, limit=321, shard=(index, 3))
        assert run(job).rows == 107
    assert sorted(row["id"] for row in output(tmp_path / "out")) == list(range(321))


def test_a_worker_that_is_killed_repeats_and_loses_no_row(tmp_path: Path, server: str) -> None:
    source = write_rows(tmp_path / "in.jsonl", [{"id": number, "text": f"{number}"} for number in range(600)])
    out, before = tmp_path / "out", _workers()
    with ThreadPoolExecutor(1) as killer:
        killed = killer.submit(_kill_worker, out, before)
        summary = run(Job((source,), str(out), Engine(fake(**SLOW)), window=40))
        assert killed.result() > 0
    assert summary.rows == 600
    assert Counter(row["id"] for row in output(out)) == Counter(range(600))


def _workers() -> set[int]:
    """Processes of the workers that Ray lists, those of jobs that have just ended too."""
    actors = ray._private.state.actors().values()
    alive = (actor for actor in actors if actor["State"] == "ALIVE")
    return {int(actor["Pid"]) for actor in alive if actor["ActorClassName"].startswith("MapWorker")}


def _kill_worker(out: Path, before: set[int]) -> int:
    """Kill the worker once it has written two parts; gives its process id."""
    until(lambda: len([*out.glob("part-*")]) >= 2, every_s=0.05)
    [pid] = _workers() - before
    os.kill(pid, signal.SIGKILL)
    return pid


def _command(source: str, out: Path, *more: str) -> list[str]:
    config = json.dumps(SLOW)
    return [
        sys.executable,
        "-m",
        "cluster.cli",
        "batch",
        "--task",
        "fake",
        "--config",
        config,
        "--window",
        "40",
        "--input",
        source,
        "--output",
        str(out),
        *more,
    ]


@pytest.fixture
def alone() -> Iterator[dict[str, Any]]:
    """How a command runs with a Ray of its own; what it leaves is ended."""
    started: list[subprocess.Popen[str]] = []
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "RAY_ADDRESS": "local"}

    def start(command: list[str]) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            text=True,
            start_new_session=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        started.append(process)
        return process

    yield {"start": start}
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def test_a_job_that_is_killed_goes_on_where_it_was(tmp_path: Path, alone: dict[str, Any]) -> None:
    source = write_rows(tmp_path / "in.jsonl", [{"id": number, "text": f"{number}"} for number in range(2000)])
    out = tmp_path / "out"
    first = alone["start"](_command(source, out))
    until(lambda: len([*out.glob("part-*")]) >= 5 or first.poll() is not None)
    assert first.poll() is None
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    there = {path: path.stat().st_mtime_ns for path in out.glob("part-*")}
    assert 5 <= len(there) < 50
    again = alone["start"](_command(source, out))
    said, _ = again.communicate(timeout=300)
    assert again.returncode == 0, said
    before = re.search(r"(\d+) of them written before", said)
    # what Ray's processes wrote before they saw that the driver was gone is there too
    assert before is not None, said
    assert 40 * len(there) <= int(before[1]) < 2000
    assert Counter(row["id"] for row in output(out)) == Counter(range(2000))
    assert {path: path.stat().st_mtime_ns for path in there} == there


_LARGE = """
import json, pathlib, ray, sys
from deployments.config import ModelConfig
from graph.jobs.run import run
from graph.jobs.settings import Engine, Job
ray.init(address="local", object_store_memory=80 * 2**20, include_dashboard=False, log_to_driver=False)
model = ModelConfig(name="fake", task="fake")
for name in ("small", "large"):
    job = Job((f"{sys.argv[1]}/{name}.jsonl",), f"{sys.argv[1]}/{name}", Engine(model), window=32)
    summary = run(job, shown=False)
    print("FIGURES", json.dumps([summary.rows, summary.failed, summary.peak_bytes]))
"""


def test_memory_is_bounded_whatever_the_size_of_the_input(tmp_path: Path, alone: dict[str, Any]) -> None:
    """Five times the object store goes through a worker, which never holds a third of it."""
    word = "w" * 200_000
    for name, count in (("small", 10), ("large", 2000)):
        with (tmp_path / f"{name}.jsonl").open("w") as file:
            file.writelines(json.dumps({"id": number, "text": word}) + "\n" for number in range(count))
    process = alone["start"]([sys.executable, "-c", _LARGE, str(tmp_path)])
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 0, said
    small, large = (json.loads(line[8:]) for line in said.splitlines() if line.startswith("FIGURES "))
    assert large[:2] == [2000, 0]
    assert large[2] - small[2] < 130 * 2**20


def test_a_dry_run_shows_ten_rows_and_writes_nothing(tmp_path: Path, alone: dict[str, Any]) -> None:
    source = write_rows(tmp_path / "in.jsonl", [{"id": number, "text": f"{number}"} for number in range(50)])
    process = alone["start"](_command(source, tmp_path / "out", "--dry-run"))
    said, _ = process.communicate(timeout=300)
    rows = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    assert [row["prediction"]["echo"] for row in rows] == [f"{number}" for number in range(10)]
    assert not (tmp_path / "out").exists()
