"""A replica takes room for what it decodes and gives it back, however a request ends; so does a job."""

import asyncio
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from deployments.config import ModelConfig
from deployments.errors import InvalidInputError
from deployments.gate import Gate
from deployments.payload import Media, TaskRequest
from deployments.replica import ModelReplica
from deployments.room import Room
from graph.jobs.predict import LocalPredictor
from tests.unit.test_batch import _replica, runs  # noqa: F401 - fixtures
from tests.unit.test_room import PNG, Counted

IMAGE_BYTES = 100 * 100 * 4


def _ask(replica: ModelReplica, inputs: Any = PNG) -> "asyncio.Task[Any]":
    return asyncio.ensure_future(replica(TaskRequest(inputs)))


def _open(shut: Path) -> None:
    shut.unlink()


async def _until(holds: Any) -> None:
    while not holds():  # noqa: ASYNC110 - nothing announces it
        await asyncio.sleep(0.001)


@pytest.fixture
def shut(tmp_path: Path) -> Path:
    """A file; while it is there the model waits."""
    path = tmp_path / "shut"
    path.touch()
    return path


def _fake(shut: Path, room: Counted) -> ModelReplica:
    config = {"name": "m", "task": "fake", "init": {"gate": str(shut)}, "warm_up": False}
    return ModelReplica(config, {}, Gate(), room)


def test_requests_that_wait_for_the_model_are_not_all_decoded(runs: Any, shut: Path) -> None:  # noqa: F811
    async def main() -> None:
        room = Counted(IMAGE_BYTES)
        replica = _fake(shut, room)
        asked = [_ask(replica) for _ in range(8)]
        await _until(lambda: shut.read_text())
        begun, _ = await asyncio.wait(asked, timeout=0.2)  # for all of them, had they room
        assert not begun
        assert IMAGE_BYTES <= room.held <= 2 * IMAGE_BYTES
        _open(shut)
        for answer in await asyncio.gather(*asked):
            assert answer.output["echo"].size == (100, 100)
        assert room.held == 0
        assert room.peak <= 2 * IMAGE_BYTES
        await replica.close()

    runs(main())


def test_decoder_knows_what_the_call_asks_for(runs: Any, shut: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    """How many frames of a film are taken stands in the parameters."""
    given: list[Any] = []

    async def main() -> None:
        _open(shut)
        replica = _fake(shut, Counted(IMAGE_BYTES))
        decoder = replica._runner.decoder
        monkeypatch.setattr(replica._runner, "decoder", lambda asked: given.append(asked) or decoder(asked))
        await replica(TaskRequest(PNG, {"sleep_s": 0.0}))
        await replica.close()

    runs(main())
    assert given == [{"sleep_s": 0.0}]


def test_who_leaves_and_what_fails_give_their_room_back(runs: Any, shut: Path) -> None:  # noqa: F811
    async def main() -> None:
        room = Counted(IMAGE_BYTES)
        replica = _fake(shut, room)
        leaving = _ask(replica)
        await _until(lambda: shut.read_text())
        assert room.full
        leaving.cancel()
        await asyncio.wait([leaving])
        assert room.held == 0
        with pytest.raises(InvalidInputError):
            await _ask(replica, [PNG, Media(b"none", "image")])
        assert room.held == 0
        _open(shut)
        assert (await _ask(replica)).output["echo"].size == (100, 100)
        await replica.close()

    runs(main())


def test_files_of_a_job_wait_for_room_too() -> None:
    predictor = LocalPredictor(ModelConfig(name="m", task="fake", warm_up=False), {})
    room = predictor._runner.room = Room(1)
    room.take(1)
    rows: Any = SimpleNamespace(named=frozenset(), input=lambda _: [PNG], parameters=lambda _: {})
    found: list[Any] = []

    def answer() -> None:
        found.extend(predictor.submit(rows, 2, {})())

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    thread.join(0.2)
    assert thread.is_alive()
    assert found == []
    room.give_back(1)
    thread.join(60)
    assert [len(one["echo"]) for one in found] == [1, 1]
    assert not room.full
    predictor.close()
