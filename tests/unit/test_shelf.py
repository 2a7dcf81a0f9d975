"""Which models a replica of a group holds: by bytes and by number, never one in use gone, each loaded once."""

import asyncio
import weakref
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from deployments import shelf as module
from deployments.errors import ModelLoadError, ModelUnavailableError
from deployments.held import Bounds
from deployments.shelf import Shelf


class Model:
    """A model of so many bytes."""

    def __init__(self, name: str, size: int) -> None:
        self.name, self.memory_bytes, self.closed = name, size, False

    async def close(self) -> None:
        self.closed = True


class World:
    """A shelf, and what is loaded onto it.

    Args:
        sizes: bytes of each model.
        expected: what is guessed of models that were never loaded.
    """

    def __init__(
        self, bounds: Bounds, sizes: dict[str, int], expected: dict[str, int] | None = None, patience_s: float = 30
    ) -> None:
        self.sizes, self.loads, self.gone = sizes, list[str](), list[str]()
        self.gates: dict[str, asyncio.Event] = {}
        self.errors: dict[str, Exception] = {}
        self.told: list[list[str]] = []
        self.shelf = Shelf(
            self._load, lambda name: (expected or {}).get(name, 0), self._changed, self._went, patience_s
        )
        self.shelf.rebound(bounds)

    async def _load(self, name: str) -> Model:
        self.loads.append(name)
        if name in self.gates:
            await self.gates[name].wait()
        if name in self.errors:
            raise self.errors[name]
        return Model(name, self.sizes[name])

    def _changed(self) -> None:
        self.told.append(self.shelf.names)

    async def _went(self, name: str) -> None:
        self.gone.append(name)

    async def ask(self, name: str) -> str:
        async with self.shelf.use(name) as model:
            assert not model.closed
            return str(model.name)

    async def settled(self) -> None:
        """When nothing of the shelf runs any more."""
        while self.shelf._tasks:
            await asyncio.gather(*self.shelf._tasks, return_exceptions=True)


Scene = Callable[[World], Coroutine[Any, Any, None]]
SIZES = {"a": 10, "b": 20, "c": 30, "huge": 100}


def play(scene: Scene, bounds: Bounds, **more: Any) -> World:
    async def main() -> World:
        world = World(bounds, SIZES, **more)
        async with asyncio.timeout(20):
            await scene(world)
            await world.settled()
        return world

    return asyncio.run(main())


async def turns(condition: Callable[[], bool]) -> None:
    """Let others run until the condition holds."""
    for _ in range(10_000):
        if condition():
            return
        await asyncio.sleep(0)
    pytest.fail("it never came to that")


def test_a_model_is_loaded_when_it_is_asked_for_and_kept() -> None:
    async def scene(world: World) -> None:
        assert [await world.ask(name) for name in "abab"] == [*"abab"]

    world = play(scene, Bounds(max_bytes=100))
    assert world.loads == ["a", "b"]
    assert [*world.shelf.held] == ["a", "b"]


def test_first_requests_at_once_load_once() -> None:
    async def scene(world: World) -> None:
        world.gates["a"] = asyncio.Event()
        asked = [asyncio.create_task(world.ask("a")) for _ in range(5)]
        await turns(lambda: world.loads == ["a"])
        assert world.shelf.state("a") == "loading"
        world.gates["a"].set()
        assert await asyncio.gather(*asked) == ["a"] * 5

    assert play(scene, Bounds(max_models=1)).loads == ["a"]


@pytest.mark.parametrize("bounds", [Bounds(max_bytes=60), Bounds(max_models=3), Bounds(max_bytes=60, max_models=3)])
def test_within_the_bounds_nothing_goes(bounds: Bounds) -> None:
    async def scene(world: World) -> None:
        for name in "abcabc":
            await world.ask(name)

    assert play(scene, bounds).gone == []


@pytest.mark.parametrize(
    ("bounds", "gone"),
    [(Bounds(max_models=2), ["b"]), (Bounds(max_bytes=59), ["b"]), (Bounds(max_bytes=30), ["b", "a"])],
)
def test_the_least_recently_used_go_until_the_new_one_fits(bounds: Bounds, gone: list[str]) -> None:
    async def scene(world: World) -> None:
        for name in "abac":
            await world.ask(name)

    world = play(scene, bounds)
    assert world.gone == gone
    assert "c" in world.shelf.held


def test_what_is_known_of_a_model_makes_room_before_it_loads() -> None:
    async def scene(world: World) -> None:
        await world.ask("c")
        await world.ask("a")
        await world.ask("b")  # c goes
        world.gates["c"] = asyncio.Event()
        asked = asyncio.create_task(world.ask("c"))
        await turns(lambda: world.loads.count("c") == 2)
        assert sum(model.memory_bytes for model in world.shelf.held.values()) + 30 <= 40
        world.gates["c"].set()
        await asked

    assert play(scene, Bounds(max_bytes=40)).gone[-1] == "b"


def test_the_size_of_the_files_makes_room_before_a_first_load() -> None:
    async def scene(world: World) -> None:
        await world.ask("a")
        world.gates["b"] = asyncio.Event()
        asked = asyncio.create_task(world.ask("b"))
        await turns(lambda: "b" in world.loads)
        assert world.gone == ["a"]
        world.gates["b"].set()
        await asked

    play(scene, Bounds(max_bytes=25), expected={"b": 20})


def test_one_in_use_stays_and_who_needs_its_room_waits() -> None:
    async def scene(world: World) -> None:
        async with world.shelf.use("a") as model:
            asked = asyncio.create_task(world.ask("b"))
            for _ in range(50):
                await asyncio.sleep(0)
            assert not asked.done()
            assert not model.closed
            assert world.gone == []
        assert await asked == "b"

    assert play(scene, Bounds(max_models=1)).gone == ["a"]


def test_no_idle_one_goes_in_vain_and_what_fits_is_loaded_meanwhile() -> None:
    async def scene(world: World) -> None:
        await world.ask("b")
        await world.ask("c")
        async with world.shelf.use("c"):
            waits = asyncio.create_task(world.ask("huge"))
            await world.ask("a")
            assert world.gone == []
            assert not waits.done()
        assert await waits == "huge"

    assert play(scene, Bounds(max_bytes=100), expected={"huge": 80}).gone[:2] == ["b", "c"]


def test_of_several_the_idle_one_goes_however_recent() -> None:
    async def scene(world: World) -> None:
        async with world.shelf.use("a"):
            await world.ask("b")
            await world.ask("c")
            assert [*world.shelf.held] == ["a", "c"]

    assert play(scene, Bounds(max_models=2)).gone == ["b"]


def test_who_finds_no_room_in_time_is_told_so_and_may_try_again() -> None:
    async def scene(world: World) -> None:
        async with world.shelf.use("a"):
            with pytest.raises(ModelUnavailableError, match="no room for b now") as caught:
                await world.ask("b")
            assert caught.value.retry_after_s == 5
            assert world.shelf.state("b") == "asleep"
        assert await world.ask("b") == "b"

    play(scene, Bounds(max_models=1), patience_s=0.01)


def test_one_that_is_larger_than_expected_sends_others_away_after_it_came() -> None:
    async def scene(world: World) -> None:
        await world.ask("a")
        await world.ask("c")
        await world.settled()
        assert [*world.shelf.held] == ["c"]

    assert play(scene, Bounds(max_bytes=35)).gone == ["a"]


def test_over_the_bound_as_long_as_all_are_in_use_and_not_after() -> None:
    async def scene(world: World) -> None:
        async with world.shelf.use("a"), world.shelf.use("c"):
            assert {*world.shelf.held} == {"a", "c"}
        await world.settled()
        assert [*world.shelf.held] == ["c"]

    play(scene, Bounds(max_bytes=35))


def test_one_that_is_too_large_is_refused_and_costs_its_neighbours_no_place_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_AGAIN_S", 0.0)

    async def scene(world: World) -> None:
        for _ in range(2):
            await world.ask("a")
            with pytest.raises(ModelUnavailableError):
                await world.ask("huge")
        assert "a replica of its group has" in world.shelf.record("huge").reason
        assert [*world.shelf.held] == ["a"]

    world = play(scene, Bounds(max_bytes=50))
    assert world.loads == ["a", "huge"]
    assert world.gone == ["huge"]


def test_one_that_cannot_load_fails_for_its_own_callers_and_is_left_alone_for_a_while() -> None:
    async def scene(world: World) -> None:
        await world.ask("a")
        world.errors["b"] = ModelLoadError("b: no such file")
        results = await asyncio.gather(world.ask("b"), world.ask("a"), world.ask("b"), return_exceptions=True)
        assert results[1] == "a"
        assert all(isinstance(results[index], ModelUnavailableError) for index in (0, 2))
        assert "no such file" not in str(results[0])
        with pytest.raises(ModelUnavailableError, match="could not be loaded") as caught:
            await world.ask("b")
        assert 0 < caught.value.retry_after_s <= 30
        assert (world.shelf.state("b"), world.shelf.record("b").reason) == ("failed", "b: no such file")

    assert play(scene, Bounds(max_models=3)).loads == ["a", "b"]


def test_it_is_tried_again_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_AGAIN_S", 0.0)

    async def scene(world: World) -> None:
        world.errors["b"] = RuntimeError("something of the server's insides")
        with pytest.raises(ModelUnavailableError):
            await world.ask("b")
        assert "insides" not in world.shelf.record("b").reason
        del world.errors["b"]
        assert await world.ask("b") == "b"
        assert (world.shelf.state("b"), world.shelf.record("b").reason) == ("ready", "")

    play(scene, Bounds(max_models=1))


def test_callers_beyond_the_bound_are_told_when_to_come_back() -> None:
    async def scene(world: World) -> None:
        world.gates["a"] = asyncio.Event()
        asked = [asyncio.create_task(world.ask("a")) for _ in range(2)]
        await turns(lambda: "a" in world.loads)
        with pytest.raises(ModelUnavailableError, match="2 requests wait for it already") as caught:
            await world.ask("a")
        assert caught.value.retry_after_s >= 1
        world.gates["a"].set()
        assert await asyncio.gather(*asked, world.ask("a"), world.ask("a")) == ["a"] * 4

    play(scene, Bounds(max_models=1, max_callers=2))


def test_a_caller_who_leaves_does_not_end_the_load_for_others() -> None:
    async def scene(world: World) -> None:
        world.gates["a"] = asyncio.Event()
        leaves, stays = (asyncio.create_task(world.ask("a")) for _ in range(2))
        await turns(lambda: "a" in world.loads)
        leaves.cancel()
        world.gates["a"].set()
        assert await stays == "a"
        assert world.shelf._places["a"].users == 0

    assert play(scene, Bounds(max_models=1)).loads == ["a"]


def test_routers_are_told_when_a_load_begins_and_when_a_model_goes() -> None:
    async def scene(world: World) -> None:
        await world.ask("a")
        await world.ask("b")

    told = play(scene, Bounds(max_models=1)).told
    assert told[0] == ["a"]
    assert told[-1] == ["b"]


def test_a_changed_model_is_loaded_anew_and_the_old_one_ends_its_work() -> None:
    async def scene(world: World) -> None:
        async with world.shelf.use("a") as old:
            world.shelf.drop("a")
            async with world.shelf.use("a") as new:
                assert new is not old
            assert not old.closed
        await world.settled()
        assert old.closed
        assert not new.closed

    assert play(scene, Bounds(max_models=2)).loads == ["a", "a"]


def test_one_dropped_while_it_loads_goes_when_it_has_answered() -> None:
    async def scene(world: World) -> None:
        world.gates["a"] = asyncio.Event()
        asked = asyncio.create_task(world.ask("a"))
        await turns(lambda: "a" in world.loads)
        world.shelf.drop("a")
        world.gates["a"].set()
        assert await asked == "a"
        await world.settled()
        assert world.shelf.names == []

    assert play(scene, Bounds(max_models=2)).gone == ["a"]


def test_smaller_bounds_send_models_away() -> None:
    async def scene(world: World) -> None:
        for name in "abc":
            await world.ask(name)
        world.shelf.rebound(Bounds(max_models=1))
        await world.settled()
        assert [*world.shelf.held] == ["c"]

    play(scene, Bounds(max_models=3))


def test_larger_bounds_let_in_who_waits() -> None:
    async def scene(world: World) -> None:
        async with world.shelf.use("a"):
            waits = asyncio.create_task(world.ask("b"))
            for _ in range(50):
                await asyncio.sleep(0)
            assert not waits.done()
            world.shelf.rebound(Bounds(max_models=2))
            assert await waits == "b"

    play(scene, Bounds(max_models=1))


def test_nothing_keeps_a_model_that_went() -> None:
    async def scene(world: World) -> None:
        async with world.shelf.use("a") as model:
            gone = weakref.ref(model)
        del model
        await world.ask("b")
        assert gone() is None

    play(scene, Bounds(max_models=1))
