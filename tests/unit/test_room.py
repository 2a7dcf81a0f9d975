"""Memory for decoded media: bounded over all requests, nobody waits for ever, and all of it is given back."""

import asyncio
import io
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image

from deployments.av_files import Film
from deployments.config import MediaLimits
from deployments.errors import InvalidInputError
from deployments.line import Line
from deployments.media import MediaDecoder, plain
from deployments.payload import Media
from deployments.room import Room
from deployments.threads import Threads
from deployments.work import Call, Work

RATE, SIDE = 16_000, 100
IMAGE_BYTES = SIDE * SIDE * 4


def _png() -> Media:
    buffer = io.BytesIO()
    Image.new("RGB", (SIDE, SIDE)).save(buffer, "PNG")
    return Media(buffer.getvalue(), "image")


def _wav(seconds: float) -> Media:
    buffer = io.BytesIO()
    soundfile.write(buffer, np.zeros(int(seconds * RATE), np.float32), RATE, "PCM_16", format="WAV")
    return Media(buffer.getvalue(), "audio")


PNG = _png()


class Counted(Room):
    """A room that remembers the most that was ever held."""

    def __init__(self, most: int) -> None:
        super().__init__(most)
        self.peak = 0

    @property
    def held(self) -> int:
        """Bytes that are held now."""
        return self._held

    def take(self, size: int) -> None:
        """See `Room.take`."""
        super().take(size)
        self.peak = max(self.peak, self._held)


def _decoder(room: Room) -> MediaDecoder:
    return MediaDecoder(RATE, MediaLimits(), room)


async def _nobody_has_begun(tasks: list[Any]) -> None:
    """Where one had, it would be through long before; nothing that is right depends on how long this waits."""
    begun, _ = await asyncio.wait(tasks, timeout=0.2)
    assert not begun


@pytest.mark.parametrize(
    ("media", "size"),
    [(PNG, IMAGE_BYTES), (_wav(0.5), RATE // 2 * 4), ([PNG, {"image": PNG}], 2 * IMAGE_BYTES), ("text", 0)],
    ids=["image", "sound", "several", "text"],
)
def test_what_is_decoded_is_counted_until_it_is_closed(media: Any, size: int) -> None:
    room = Counted(2**31)
    decoder = _decoder(room)
    decoder.decode(media)
    assert room.held == size
    decoder.close()
    assert room.held == 0
    decoder.close()
    assert room.held == 0


def test_sound_at_another_rate_is_counted() -> None:
    room = Counted(2**31)
    decoder = _decoder(room)
    found = decoder.decode({"raw": np.zeros(1000, np.float32), "sampling_rate": RATE // 2})
    assert room.held == found["raw"].nbytes > 4000
    decoder.close()
    assert room.held == 0


def test_what_fails_half_way_is_given_back() -> None:
    room = Counted(2**31)
    decoder = _decoder(room)
    with pytest.raises(InvalidInputError):
        decoder.decode([PNG, Media(b"none", "image")])
    assert room.held == IMAGE_BYTES
    decoder.close()
    assert room.held == 0


def test_what_is_decoded_for_one_who_left_is_not_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("deployments.media.check_film", lambda *_: Film(1.0, 1, 1))
    room = Counted(2**31)
    decoder = _decoder(room)
    decoder.close()  # as a thread goes on decoding
    decoder.decode([PNG, Media(b"film", "video")])
    assert room.held == 0
    assert list(tmp_path.iterdir()) == []


def test_many_large_images_are_never_all_decoded() -> None:
    """Thirty-two at once, with room for three: that, and what the two threads are at, is all that there ever is."""
    room = Counted(3 * IMAGE_BYTES)
    threads, model, answered = Threads(room), asyncio.Lock(), []

    async def ask(at: int) -> None:
        decoder = _decoder(room)
        try:
            image = await threads.decode(decoder, PNG, at % 2 == 0)
            async with model:
                await asyncio.sleep(0.005)  # slower than the decoding, so that without the bound much would wait
                answered.append(image.size)
        finally:
            decoder.close()

    async def run() -> None:
        async with asyncio.timeout(60):
            await asyncio.gather(*(ask(at) for at in range(32)))
        threads.close()

    asyncio.run(run())
    assert answered == [(SIDE, SIDE)] * 32
    assert room.held == 0
    assert room.peak <= 4 * IMAGE_BYTES


def test_image_larger_than_the_room_is_decoded_and_the_next_waits_for_it() -> None:
    room = Counted(1)

    async def run() -> None:
        threads, first, second = Threads(room), _decoder(room), _decoder(room)
        await threads.decode(first, PNG, False)
        waiting = asyncio.ensure_future(threads.decode(second, PNG, False))
        await _nobody_has_begun([waiting])
        first.close()
        async with asyncio.timeout(60):
            assert (await waiting).size == (SIDE, SIDE)
        second.close()
        threads.close()

    asyncio.run(run())
    assert (room.held, room.peak) == (0, IMAGE_BYTES)


def test_single_requests_have_the_room_before_a_list_that_came_first() -> None:
    done: list[str] = []

    async def run() -> None:
        room = Room(1)
        room.take(1)
        waits = Line(1, "test", room)
        asked = [asyncio.ensure_future(waits.run(True, done.append, f"list {at}")) for at in range(2)]
        await asyncio.sleep(0)
        asked += [asyncio.ensure_future(waits.run(False, done.append, f"single {at}")) for at in range(2)]
        await _nobody_has_begun(asked)
        await asyncio.to_thread(room.give_back, 1)  # from whatever thread
        async with asyncio.timeout(60):
            await asyncio.gather(*asked)
        waits.close()

    asyncio.run(run())
    assert done == ["single 0", "single 1", "list 0", "list 1"]


def test_who_leaves_while_waiting_for_room_takes_none_along() -> None:
    async def run() -> None:
        room = Room(1)
        room.take(1)
        waits = Line(2, "test", room)
        asked = [asyncio.ensure_future(waits.run(False, int, "7")) for _ in range(4)]
        await asyncio.sleep(0)
        asked[0].cancel()
        await asyncio.sleep(0)
        room.give_back(1)
        asked[1].cancel()  # maybe as its turn comes
        for task in asked[:2]:
            with suppress(asyncio.CancelledError):
                await task
        async with asyncio.timeout(60):
            assert await asyncio.gather(*asked[2:]) == [7, 7]
            both = threading.Barrier(2, timeout=30)  # passed by two threads at once only: both places are there again
            await asyncio.gather(waits.run(False, both.wait), waits.run(False, both.wait))
        waits.close()

    asyncio.run(run())


def test_text_waits_for_no_room() -> None:
    async def run() -> None:
        room = Room(1)
        room.take(1)
        threads = Threads(room)
        chat = [{"role": "user", "content": [{"type": "text", "text": "a"}], "n": 1.5, "last": None}]
        async with asyncio.timeout(60):
            assert await threads.decode(_decoder(room), chat, False) == chat
        threads.close()

    asyncio.run(run())


@pytest.mark.parametrize(
    "value", [PNG, [{"image": PNG}], Image.new("L", (1, 1)), {"raw": np.zeros(3)}, ["a"] * 2000, b"a", ("a",)]
)
def test_what_may_hold_media_is_not_plain(value: Any) -> None:
    assert not plain(value)


def test_thread_waits_for_room() -> None:
    room = Room(1)
    room.take(1)
    through = threading.Event()

    def work() -> None:
        room.wait()
        through.set()

    thread = threading.Thread(target=work)
    thread.start()
    assert not through.wait(0.1)
    room.give_back(1)
    assert through.wait(60)
    thread.join()


def test_closed_line_is_told_no_more() -> None:
    room = Room(1)
    waits = Line(1, "test", room)
    waits.close()
    assert room._listeners == []


def test_media_of_one_who_left_go_at_once() -> None:
    image = Image.new("L", (1, 1))
    work = Work([image], {}, calls=[Call(image, {}, {}, {})])
    work.leave()
    assert work.abandoned
    assert work.inputs is None
    assert work.calls[0].inputs is None
