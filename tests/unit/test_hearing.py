"""How often a transcript in the making is read again."""

from typing import Any

from deployments.hearing import Hearer
from deployments.work import Call, Work


class Pipe:
    """Speech recognition whose pieces are words; counts those that it joins."""

    joined = 0

    def postprocess(self, outputs: list[str], **_: Any) -> dict[str, Any]:
        """The words."""
        self.joined += len(outputs)
        return {"text": "".join(outputs)}


def test_a_long_sound_is_not_read_anew_for_each_piece() -> None:
    words = [f" word{place}" for place in range(2000)]
    call = Call(None, {}, {}, {}, outputs=[None] * len(words))
    pipe, work, told = Pipe(), Work(None, {}, calls=[call]), []
    hearer = Hearer(pipe)
    for place, word in enumerate(words):
        call.outputs[place] = word
        told += [event.text for event in hearer.more(work)]
        if place < 16:
            assert len(told) == place  # all but the newest
    assert len(told) > 50
    text = "".join(words)
    assert "".join(told) + hearer.last(work, {"text": text}).text == text
    assert pipe.joined < 20 * len(words)
