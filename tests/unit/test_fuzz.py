"""A short, always equal run over what ``make fuzz`` runs for longer, and all that it has found."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.seeds import FOUND, seeds
from tests.fuzz.targets import TARGETS, check

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning:PIL"),
    pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning"),
]


@st.composite
def changed(draw: st.DrawFn, target: str) -> bytes:
    """A seed with a few bytes of it set, taken out, doubled, or put in from another seed."""
    data = bytearray(draw(st.sampled_from(seeds(target))))
    for _ in range(draw(st.integers(1, 6))):
        at, length = draw(st.integers(0, max(0, len(data) - 1))), draw(st.integers(1, 8))
        kind = draw(st.sampled_from(["set", "set", "set", "cut", "double", "splice", "extreme"]))
        if kind == "set":
            data[at : at + 1] = draw(st.binary(min_size=1, max_size=4))
        elif kind == "extreme":
            data[at : at + length] = draw(st.sampled_from([b"\0", b"\xff", b"\x7f", b"\x80"])) * length
        elif kind == "cut":
            del data[at : at + length]
        elif kind == "double":
            data[at:at] = data[at : at + length] * draw(st.integers(1, 50))
        else:
            other = draw(st.sampled_from(seeds(target)))
            data[at : at + length] = other[at : at + 8 * length]
    return bytes(data[: draw(st.sampled_from([len(data), len(data), len(data) // 2]))])


@pytest.mark.timeout(120)
@pytest.mark.parametrize("target", TARGETS)
def test_only_refusals_come_out(target: str) -> None:
    @settings(max_examples=150, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(changed(target))
    def run(data: bytes) -> None:
        check(target, data)

    run()


@pytest.mark.parametrize("target", TARGETS)
def test_every_seed_is_read_or_refused(target: str) -> None:
    assert seeds(target)
    for data in seeds(target):
        check(target, data)


@pytest.mark.timeout(30)
@pytest.mark.parametrize("path", sorted(FOUND.glob("*-*")), ids=lambda path: path.name)
def test_what_was_found_stays_mended(path: str) -> None:
    from pathlib import Path

    check(Path(path).name.partition("-")[0], Path(path).read_bytes())
